"""One captioned clip, and its GIF bytes.

Frames are uint8 (F, H, W, C) here and in files. A GIF keeps 256 colours a frame and whole-centisecond delays; equal
consecutive frames, which encoders merge, come back by their duration, so a clip always returns as many frames as went in.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Clip:
    """A captioned video. `attributes` is empty for real video and the ground truth for a generated one."""

    key: str
    split: str
    captions: tuple[str, ...]
    frames: np.ndarray  # uint8 (F, H, W, 3)
    fps: float
    source: str
    attributes: dict[str, Any] = field(default_factory=dict)


def frame_delay_cs(fps: float) -> int:
    """The GIF delay, in whole 1/100 s, nearest to `fps`."""
    return max(2, round(100 / fps))


def encode_gif(frames: np.ndarray, fps: float) -> bytes:
    """GIF bytes of uint8 frames (F, H, W, 3), each with its own palette of up to 256 colours."""
    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3, frames.shape
    images = [Image.fromarray(frame).quantize(256, method=Image.Quantize.FASTOCTREE) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=10 * frame_delay_cs(fps),
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def decode_gif(data: bytes, n_frames: int) -> np.ndarray:
    """uint8 (n_frames, H, W, 3): merged frames are repeated by their duration, the last one is held."""
    frames: list[np.ndarray] = []
    with Image.open(io.BytesIO(data), formats=("GIF",)) as image:
        durations = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(int(image.info.get("duration", 0)))
    unit = min((d for d in durations if d > 0), default=1)
    if len(frames) < n_frames:
        unit = _frame_duration(durations, n_frames) or unit
        frames = [frame for frame, d in zip(frames, durations, strict=True) for _ in range(max(1, round(d / unit)))]
    return fit_frame_count(np.stack(frames), n_frames)


def _frame_duration(durations: list[int], n_frames: int) -> int:
    total = sum(durations)
    return round(total / n_frames) if total % n_frames == 0 else 0


def fit_frame_count(frames: np.ndarray, n_frames: int) -> np.ndarray:
    """Cut to, or hold the last frame up to, `n_frames`."""
    if len(frames) >= n_frames:
        return frames[:n_frames]
    return np.concatenate([frames, np.repeat(frames[-1:], n_frames - len(frames), axis=0)])
