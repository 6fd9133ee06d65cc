"""GIF bytes of a clip drawn as palette indices: one palette for all, each frame only where it differs from the last.

Frames come back exactly, and equal frames stay frames of their own (one repeated pixel).
"""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from pipeline.data.gif import frame_delay_cs

LOOP_FOR_EVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
KEEP_LAST_FRAME = 1 << 2  # disposal method


def encode_indexed_gif(
    indices: np.ndarray,  # uint8 (F, H, W)
    palette: np.ndarray,  # uint8 (n, 3), n of 256 at most
    fps: float,
) -> bytes:
    """The clip as a looping GIF."""
    n_frames, height, width = indices.shape
    assert len(palette) <= 256, len(palette)
    bits = max(2, int(len(palette) - 1).bit_length())
    colours = np.zeros((1 << bits, 3), np.uint8)
    colours[: len(palette)] = palette
    parts = [
        struct.pack("<6sHHBBB", b"GIF89a", width, height, 0xF0 | (bits - 1), 0, 0),
        colours.tobytes(),
        LOOP_FOR_EVER,
    ]
    control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, KEEP_LAST_FRAME, frame_delay_cs(fps), 0, 0)
    strip = Image.fromarray(indices.reshape(n_frames * height, width))
    for f, (x0, y0, x1, y1) in enumerate([(0, 0, width, height), *_changes(indices)]):
        parts += [
            control,
            struct.pack("<BHHHHBB", 0x2C, x0, y0, x1 - x0, y1 - y0, 0, bits),
            strip.crop((x0, f * height + y0, x1, f * height + y1)).tobytes("gif", "L", bits, 0),
            b"\x00",
        ]
    return b"".join([*parts, b"\x3b"])


def _changes(indices: np.ndarray) -> list[tuple[int, int, int, int]]:
    """For each frame after the first, the box (x0, y0, x1, y1) outside which it agrees with the one before.

    The first pixel where they agree everywhere.
    """
    differs = indices[1:] != indices[:-1]
    x0, x1 = _ends(differs.any(axis=1))
    y0, y1 = _ends(differs.any(axis=2))
    return list(zip(x0.tolist(), y0.tolist(), x1.tolist(), y1.tolist(), strict=True))


def _ends(marked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of bool (F, n): the first place that is marked and the one after the last; 0 and 1 where none is."""
    any_ = marked.any(axis=1)
    first, last = marked.argmax(axis=1), marked.shape[1] - marked[:, ::-1].argmax(axis=1)
    return first, np.where(any_, last, 1)
