"""Animated WebP: libav decodes its pictures one by one, and they are laid on the canvas here (RFC 9649, 2.7.1).

Times are in ms. The canvas is transparent at first: the file's background colour is a hint that
players ignore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter

from pipeline.transcode.decoding.clock import Pictures
from pipeline.transcode.decoding.picture_files import riff_chunks
from pipeline.transcode.decoding.probe import decoded, decoder_of
from pipeline.transcode.decoding.spec import ClipError
from pipeline.transcode.decoding.squares import FULL

ALPHA = 0x10  # a flag of the VP8X chunk
COVERS, VANISHES = 0x02, 0x01  # flags of a picture: laid down without blending; wiped off when its time is over
UNSAID_MS = 100  # what players make of a delay of 0


@dataclass(frozen=True)
class _Part:
    """One picture of an animation: a rectangle of the canvas."""

    left: int
    top: int
    width: int
    height: int
    duration: int
    flags: int
    webp: bytes  # as a file of its own


class WebpAnimation:
    """Canvas and pictures of an animated WebP. Raises ClipError: damaged."""

    def __init__(self, data: bytes) -> None:
        chunks = list(riff_chunks(data, 12, 8 + int.from_bytes(data[4:8], "little")))
        header = chunks[0][1]
        self.width, self.height = (1 + _int24(data, header + place) for place in (4, 7))
        self._parts = [_part(data, start, end) for kind, start, end in chunks if kind == b"ANMF"]
        if not self._parts:
            raise ClipError("truncated", "an animated WebP without one picture")
        ends = np.cumsum([part.duration or UNSAID_MS for part in self._parts]).tolist()
        self._codec, self._reformatter = decoder_of("webp"), VideoReformatter()
        self.pictures = Pictures((0, *ends[:-1]), ends[-1], in_order=False)

    def canvases(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each picture's time and the canvas as it then looks, uint8 (height, width, 4); the next one changes it."""
        canvas = np.zeros((self.height, self.width, 4), np.uint8)
        for time, part in zip(self.pictures.times, self._parts, strict=True):
            canvas_part = canvas[part.top : part.top + part.height, part.left : part.left + part.width]
            pixels = self._pixels(part)
            if canvas_part.shape != pixels.shape:
                raise ClipError("damaged", "a picture of the animation does not lie on its canvas")
            canvas_part[:] = pixels if part.flags & COVERS else blend(pixels, canvas_part)
            assert time is not None
            yield time, canvas
            if part.flags & VANISHES:
                canvas_part[:] = 0

    def _pixels(self, part: _Part) -> np.ndarray:
        """uint8 (height, width, 4)."""
        pictures = decoded(self._codec, Packet(part.webp))
        if not pictures:
            raise ClipError("damaged", "a picture of the animation cannot be decoded")
        even = _evened(pictures[0])
        rgba = self._reformatter.reformat(even, format="rgba", interpolation=FULL, dst_color_range="JPEG", threads=1)
        return rgba.to_ndarray()[: part.height, : part.width]


def _evened(picture: VideoFrame) -> VideoFrame:
    """Of even sides where its colours are coded at half of them: libav stretches the colours of odd ones by a pixel."""
    width, height = picture.width + picture.width % 2, picture.height + picture.height % 2
    if picture.format.is_rgb or (width, height) == (picture.width, picture.height):
        return picture
    even = VideoFrame(width, height, picture.format.name)
    even.color_range, even.colorspace = picture.color_range, picture.colorspace
    for plane, wider in zip(picture.planes, even.planes, strict=True):
        _rows(wider)[: plane.height, : plane.width] = _rows(plane)[:, : plane.width]
    return even


def _rows(plane: VideoPlane) -> np.ndarray:
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[arg-type]


def blend(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """uint8 RGBA over RGBA, both with straight alpha."""
    above = over[..., 3:].astype(np.float32) / 255
    below = under[..., 3:].astype(np.float32) / 255 * (1 - above)
    alpha = above + below
    colour = (over[..., :3] * above + under[..., :3] * below) / np.maximum(alpha, 1e-9)
    return np.rint(np.concatenate([colour, 255 * alpha], axis=-1)).astype(np.uint8)


def _part(data: bytes, start: int, end: int) -> _Part:
    """Of an ANMF chunk: its header of 16 bytes, then the chunks of a still."""
    left, top, width, height, duration = (_int24(data, start + place) for place in (0, 3, 6, 9, 12))
    still = data[start + 16 : end]
    if still[:4] == b"ALPH":  # a file with alpha beside the colours says so first
        size = bytes([ALPHA, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
        still = b"VP8X" + len(size).to_bytes(4, "little") + size + still
    webp = b"RIFF" + (4 + len(still)).to_bytes(4, "little") + b"WEBP" + still
    return _Part(2 * left, 2 * top, 1 + width, 1 + height, duration, data[start + 15], webp)


def _int24(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 3], "little")
