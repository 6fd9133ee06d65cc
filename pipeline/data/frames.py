"""Frames as arrays, uint8 (F, H, W, C): their channels, their size, and a choice of them."""

from __future__ import annotations

import numpy as np
from einops import repeat


def to_rgb(frames: np.ndarray) -> np.ndarray:
    """uint8 (…, H, W, 1 | 3 | 4) to uint8 (…, H, W, 3); alpha is laid over white."""
    channels = frames.shape[-1]
    if channels == 1:
        return np.repeat(frames, 3, axis=-1)
    if channels == 3:
        return frames
    assert channels == 4, frames.shape
    alpha = frames[..., 3:].astype(np.float32) / 255.0
    return np.round(frames[..., :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)


def enlarge(frames: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel of (…, H, W, C) as a factor × factor square."""
    return repeat(frames, "... h w c -> ... (h a) (w b) c", a=factor, b=factor)


def even_indices(n_frames: int, count: int) -> np.ndarray:
    """int (count,): `count` of `n_frames` frames at even steps, first and last included."""
    return np.linspace(0, n_frames - 1, count).round().astype(int)


def frames_evenly(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` of (F, H, W, C), first and last included."""
    return frames[even_indices(len(frames), count)]
