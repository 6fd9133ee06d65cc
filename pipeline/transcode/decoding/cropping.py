"""Cropping that a container asks for: Matroska's PixelCrop elements, MP4's `clap` box. libav reads it, PyAV hides it.

(RFC 9559, 5.1.4.1.28.12; ISO/IEC 14496-12, 12.1.4. Cropping inside the coded stream is the decoder's.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from mmap import mmap

EBML, SEGMENT, CLUSTER, TRACKS, TRACK, VIDEO = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xE0
PIXEL_CROP = {0x54CC: "left", 0x54DD: "right", 0x54BB: "top", 0x54AA: "bottom"}
VISUAL_ENTRY = 78  # bytes of a sample entry before its boxes; width and height are at 24


@dataclass(frozen=True)
class Crop:
    """Pixels cut from each side of the coded picture, before it is turned."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0


def container_crop(data: bytes | mmap, track: int) -> Crop | None:
    """The margins that the container cuts from the pictures of its `track`-th track, counted from 0; None: nothing."""
    if data[:4] == EBML.to_bytes(4):
        crop = _matroska_crop(data, track)
    elif data[4:8] == b"ftyp":
        crop = _clean_aperture(data, track)
    else:
        return None
    return crop if crop != Crop() else None


def _matroska_crop(data: bytes | mmap, track: int) -> Crop:
    for segment in _elements(data, 0, len(data), SEGMENT):
        for tracks in _elements(data, *segment, TRACKS):
            entries = list(_elements(data, *tracks, TRACK))
            for video in _elements(data, *entries[track], VIDEO) if track < len(entries) else ():
                return Crop(
                    **{
                        side: int.from_bytes(data[start:end])
                        for id_, side in PIXEL_CROP.items()
                        for start, end in _elements(data, *video, id_)
                    }
                )
    return Crop()


def _elements(data: bytes | mmap, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Places of the contents of the EBML elements of one id. Clusters end the search: tracks come before them."""
    while start < end:
        length = 9 - data[start].bit_length()
        id_ = int.from_bytes(data[start : start + length])
        start += length
        if length > 4 or start >= end or not data[start] or id_ == CLUSTER:
            return
        length = 9 - data[start].bit_length()
        size = int.from_bytes(data[start : start + length]) & ((1 << 7 * length) - 1)
        start += length
        unknown = size == (1 << 7 * length) - 1
        stop = end if unknown else min(end, start + size)
        if id_ == wanted:
            yield start, stop
        start = stop


def _clean_aperture(data: bytes | mmap, track: int) -> Crop:
    path = (0, len(data))
    for kind, place in ((b"moov", 0), (b"trak", track), (b"mdia", 0), (b"minf", 0), (b"stbl", 0), (b"stsd", 0)):
        path = _box(data, path, kind, place)
    entry = path[0] + 16  # after the count of sample entries and the first one's size and kind
    start, end = _box(data, (entry + VISUAL_ENTRY, path[1]), b"clap")
    if end - start < 32:
        return Crop()
    coded_width, coded_height = struct.unpack_from(">2H", data, entry + 24)
    numbers = struct.unpack_from(">8i", data, start)
    width, height, right, down = (a / (b or 1) for a, b in zip(numbers[::2], numbers[1::2], strict=True))
    left, top = int((coded_width - width) / 2 + right), int((coded_height - height) / 2 + down)
    return Crop(left, coded_width - int(width) - left, top, coded_height - int(height) - top)


def _box(data: bytes | mmap, path: tuple[int, int], wanted: bytes, place: int = 0) -> tuple[int, int]:
    """The `place`-th box of a kind, counted from 0; an empty one where there is none."""
    return next(islice(_boxes(data, *path, wanted), place, None), (0, 0))


def _boxes(data: bytes | mmap, start: int, end: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Places of the contents of the boxes of one kind."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and start + 16 <= end:
            (size,), body = struct.unpack_from(">Q", data, body), start + 16
        stop = min(end, start + size) if size else end
        if size and size < body - start:
            return
        if kind == wanted:
            yield body, stop
        start = stop
