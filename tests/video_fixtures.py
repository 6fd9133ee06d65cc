"""Small videos in many codecs and shapes, encoded by the bundled ffmpeg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
H264: dict[str, Any] = {"vcodec": "libx264", "preset": "veryfast", "crf": 12, "pix_fmt": "yuv420p"}


def corners(n_frames: int, width: int = 128, height: int = 96) -> np.ndarray:
    """uint8 (n_frames, height, width, 3): red, green, blue and grey quadrants; the middle's grey is the frame's."""
    frames = np.zeros((n_frames, height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    frames[:, :top, :left] = (180, 30, 30)
    frames[:, :top, left:] = (30, 160, 30)
    frames[:, top:, :left] = (30, 30, 190)
    frames[:, top:, left:] = (150, 150, 150)
    greys = np.linspace(20, 235, n_frames).astype(np.uint8)
    rows, columns = slice(height // 4, -(height // 4)), slice(width // 4, -(width // 4))
    frames[:, rows, columns] = greys[:, None, None, None]
    return frames


def shown_index(square: np.ndarray, n_frames: int) -> int:
    """Which of `corners(n_frames)` a decoded square shows."""
    side = square.shape[0]
    grey = square[side * 7 // 16 : side * 9 // 16, side * 7 // 16 : side * 9 // 16].mean()
    return int(np.abs(np.linspace(20, 235, n_frames) - grey).argmin())


def numbered(n_frames: int, width: int = 160, height: int = 96) -> np.ndarray:
    """uint8 (n_frames, height, width, 3): eight bars, bar k white where bit k of the frame's number is set."""
    bits = np.arange(n_frames)[:, None] >> np.arange(8) & 1
    bars = np.repeat(16 + 219 * bits, width // 8, axis=1).astype(np.uint8)
    return np.broadcast_to(bars[:, None, :, None], (n_frames, height, width, 3)).copy()


def number_of(square: np.ndarray) -> int:
    """Which of the `numbered` frames a decoded square of 8, 16, 32 or 64 px shows."""
    side = square.shape[0]
    bars = square[side // 4 : -side // 4].mean(axis=(0, 2)).reshape(8, side // 8)
    return int(((bars[:, side // 32 : side // 8 - side // 32].mean(axis=1) > 127) << np.arange(8)).sum())


def encode(path: Path, frames: np.ndarray, fps: float = 10.0, filters: str = "null", **options: Any) -> Path:
    """Write frames with ffmpeg's options; `filters` is a filter chain."""
    _, height, width, _ = frames.shape
    stream = ffmpeg.input("pipe:", f="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=fps)
    run(stream.output(str(path), vf=filters, **options), frames.tobytes())
    return path


def remux(source: Path, path: Path, input_options: dict[str, Any] | None = None, **options: Any) -> Path:
    """Copy the stream into another container with other metadata."""
    run(ffmpeg.input(str(source), **(input_options or {})).output(str(path), c="copy", **options))
    return path


def run(stream: Any, data: bytes = b"") -> bytes:
    """Run an ffmpeg-python graph; its stdout."""
    try:
        return stream.run(cmd=FFMPEG, input=data, quiet=True, overwrite_output=True)[0]
    except ffmpeg.Error as error:
        raise AssertionError(error.stderr.decode()[-2000:]) from None
