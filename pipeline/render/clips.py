"""Clips as files that people open: GIF, MP4, PNG frames, NPY; and still images of many clips at once.

Frames are uint8 (F, H, W, C) with 1, 3 or 4 channels; files get RGB, alpha laid over white.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from einops import rearrange, repeat
from PIL import Image

from pipeline.data.gif import encode_gif
from pipeline.render.formats import FORMATS

MP4_SIDE = 256  # px; smaller clips are enlarged by whole factors, so that chroma subsampling spares their edges


def to_rgb(frames: np.ndarray) -> np.ndarray:
    """uint8 (…, H, W, 1 | 3 | 4) to uint8 (…, H, W, 3)."""
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


def frames_evenly(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` of (F, H, W, C), first and last included."""
    return frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]


def contact_sheet(clips: Sequence[np.ndarray], *, columns: int = 8, gap: int = 2, background: int = 255) -> np.ndarray:
    """A still of clips, one a row, `columns` of each clip's frames from first to last: uint8 (H', W', 3)."""
    rows = [frames_evenly(to_rgb(clip), min(columns, len(clip))) for clip in clips]
    height, width = rows[0].shape[1:3]
    sheet = np.full((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), background, np.uint8)
    for y, row in enumerate(rows):
        for x, frame in enumerate(row):
            sheet[y * (height + gap) :, x * (width + gap) :][:height, :width] = frame
    return sheet


def clip_grid(clips: np.ndarray, columns: int, *, gap: int = 2, background: int = 255) -> np.ndarray:
    """Clips (N, F, H, W, C) playing side by side: uint8 (F, H', W', 3); a last row that is not full is blank."""
    rgb = to_rgb(clips)
    n, f, h, w, _ = rgb.shape
    rows = -(-n // columns)
    padded = np.full((rows * columns, f, h + gap, w + gap, 3), background, np.uint8)
    padded[:n, :, :h, :w] = rgb
    grid = rearrange(padded, "(r q) f h w c -> f (r h) (q w) c", r=rows)
    return np.ascontiguousarray(grid[:, : grid.shape[1] - gap, : grid.shape[2] - gap])


def write_clip(path: Path, frames: np.ndarray, fps: float, format_: str) -> Path:
    """Write one clip as `path` with the format's suffix (png: a folder of frames); returns what was written."""
    if format_ not in FORMATS:
        raise ValueError(f"format {format_!r} is unknown; allowed: {', '.join(FORMATS)}")
    target = path if format_ == "png" else path.with_name(f"{path.name}.{format_}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if format_ == "gif":
        target.write_bytes(encode_gif(to_rgb(frames), fps))
    elif format_ == "mp4":
        write_mp4(target, frames, fps)
    elif format_ == "png":
        write_png_frames(target, frames)
    else:
        np.save(target, frames)
    return target


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a still, uint8 (H, W, 3), as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="PNG")


def write_png_frames(folder: Path, frames: np.ndarray) -> None:
    """Write frame-000.png … into a folder; alpha and grey are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).save(folder / f"frame-{index:03d}.png")


def write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write H.264 in yuv420p, which every browser plays; clips smaller than MP4_SIDE are enlarged."""
    import av

    rgb = to_rgb(frames)
    rgb = enlarge(rgb, max(1, MP4_SIDE // min(rgb.shape[1:3])))
    rgb = np.pad(rgb, ((0, 0), (0, rgb.shape[1] % 2), (0, rgb.shape[2] % 2), (0, 0)), mode="edge")  # H.264: even sides
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = rgb.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "medium"}
        for frame in rgb:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
