"""GIF bytes of a clip drawn as palette indices: one palette for all, each frame only where it differs from the last.

Frames come back exactly, and equal frames stay frames of their own (one repeated pixel).
"""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from pipeline.clips import frame_delay_cs

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
    for f in range(n_frames):
        x0, y0, x1, y1 = (0, 0, width, height) if f == 0 else _changed(indices[f - 1], indices[f])
        image = Image.fromarray(indices[f, y0:y1, x0:x1])
        parts += [
            control,
            struct.pack("<BHHHHBB", 0x2C, x0, y0, x1 - x0, y1 - y0, 0, bits),
            image.tobytes("gif", "L", bits, 0),
            b"\x00",
        ]
    return b"".join([*parts, b"\x3b"])


def _changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1) outside which two frames agree; the first pixel where they agree everywhere."""
    differs = before != after
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
