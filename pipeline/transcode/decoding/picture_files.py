"""GIF, PNG, JPEG and WebP files: which one it is by its first bytes, and whether its end is there.

libav shows what is left of a file that was cut; here it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pipeline.transcode.decoding.spec import ClipError

Kind = Literal["gif", "png", "apng", "jpeg", "webp", "animated webp"]
PNG = b"\x89PNG\r\n\x1a\n"
WEBP_ANIMATION = 0x02  # a flag of the VP8X chunk
JPEG_END, JPEG_SCAN = 0xD9, 0xDA
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # but those inside a scan: stuffing and restarts
GIF_PICTURE, GIF_EXTENSION, GIF_END = 0x2C, 0x21, 0x3B


def picture_kind(head: bytes) -> Literal["gif", "png", "jpeg", "webp"] | None:
    """By the first 12 bytes; None: no picture file."""
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:8] == PNG:
        return "png"
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def is_animated(data: bytes) -> bool:
    """Of a PNG or WebP."""
    if data[:8] == PNG:
        kinds = (kind for kind, _, _ in _png_chunks(data))
        return next((kind for kind in kinds if kind in (b"acTL", b"IDAT")), b"") == b"acTL"
    return data[12:16] == b"VP8X" and bool(data[20] & WEBP_ANIMATION)


def refuse_cut(data: bytes) -> None:
    """Raises ClipError where the file ends before its picture does."""
    is_whole = {"gif": _gif_is_whole, "png": _png_is_whole, "jpeg": _jpeg_is_whole, "webp": _webp_is_whole}
    kind = picture_kind(data)
    assert kind is not None
    if not is_whole[kind](data):
        raise ClipError("truncated", f"the {kind} file ends before its picture does ({len(data)} bytes are there)")


def riff_chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, and where its contents lie."""
    while start + 8 <= end:
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], start + 8, min(end, start + 8 + size)
        start += 8 + size + size % 2


def _webp_is_whole(data: bytes) -> bool:
    return 8 + int.from_bytes(data[4:8], "little") <= len(data)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    start = len(PNG)
    while start + 12 <= len(data):
        size = int.from_bytes(data[start : start + 4])
        yield data[start + 4 : start + 8], start + 8, start + 8 + size
        start += 12 + size


def _png_is_whole(data: bytes) -> bool:
    return any(kind == b"IEND" for kind, _, _ in _png_chunks(data))


def _jpeg_is_whole(data: bytes) -> bool:
    place = 2
    while (found := JPEG_MARKER.search(data, place)) is not None:
        marker, place = found[1][0], found.end()
        if marker == JPEG_END:
            return True
        place += int.from_bytes(data[place : place + 2])  # what follows a scan's own header is searched
    return False


def _gif_is_whole(data: bytes) -> bool:
    place = 13 + _gif_table(data[10:11])
    while place < len(data):
        kind = data[place]
        if kind == GIF_END:
            return True
        if kind == GIF_PICTURE:
            place += 10 + _gif_table(data[place + 9 : place + 10]) + 1
        elif kind == GIF_EXTENSION:
            place += 2
        else:
            place += 1  # padding, as decoders see it
            continue
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
    return False


def _gif_table(packed: bytes) -> int:
    """Bytes of a colour table, by the flags that announce it."""
    return 3 << (packed[0] & 7) + 1 if packed and packed[0] & 0x80 else 0
