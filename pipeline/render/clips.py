"""Clips as files that people open: GIF, MP4, PNG frames, NPY; and still images of many clips at once.

Frames are uint8 (F, H, W, C) with 1, 3 or 4 channels; files get RGB, alpha laid over white.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont

from pipeline.data.frames import enlarge, frames_evenly, to_rgb
from pipeline.data.gif import encode_gif
from pipeline.render.formats import FORMATS
from pipeline.runtime.files import whole_file, write_bytes

MP4_SIDE = 256  # px; smaller clips are enlarged by whole factors, so that chroma subsampling spares their edges
EXACT = "threads=1:cpu-independent=1"  # of x264
GREY = 216  # between the frames of a contact sheet
FONT_PX, LINE_PX = 12, 15


def contact_sheet(
    clips: Sequence[np.ndarray],  # uint8 (F, H, W, C); sizes and lengths may differ
    *,
    columns: int = 8,
    gap: int = 2,
    captions: Sequence[Sequence[str]] = (),  # lines of text under each clip
) -> np.ndarray:
    """A still of clips, one a row, up to `columns` frames of each from first to last: uint8 (H', W', 3)."""
    strips = [_strip(to_rgb(clip), min(columns, len(clip)), gap) for clip in clips]
    lines = [list(text) for text in captions] or [[] for _ in strips]
    heights = [strip.shape[0] + LINE_PX * len(text) for strip, text in zip(strips, lines, strict=True)]
    width = max(columns * (clip.shape[2] + gap) - gap for clip in clips)
    sheet = Image.new("RGB", (width, sum(heights) + gap * (len(strips) - 1)), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for strip, text, height in zip(strips, lines, heights, strict=True):
        sheet.paste(Image.fromarray(strip), (0, top))
        for number, line in enumerate(text):
            draw_line(draw, (2, top + strip.shape[0] + LINE_PX * number), line, width - 4, FONT_PX)
        top += height + gap
    return np.asarray(sheet)


def _strip(rgb: np.ndarray, count: int, gap: int) -> np.ndarray:
    """`count` frames side by side, a grey line between them, for many clips are white at their edges."""
    _, height, width, _ = rgb.shape
    strip = np.full((height, count * (width + gap) - gap, 3), GREY, np.uint8)
    for place, frame in enumerate(frames_evenly(rgb, count)):
        strip[:, place * (width + gap) :][:, :width] = frame
    return strip


def draw_line(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],  # px, left and top
    text: str,
    width: int,  # px
    font_px: int,
    colour: tuple[int, int, int] = (0, 0, 0),
) -> None:
    """Write a line of text, cut by an ellipsis where it is wider than `width`."""
    font = ImageFont.load_default(font_px)
    shown, kept = text, len(text)
    while kept and draw.textlength(shown, font=font) > width:
        kept -= 1
        shown = text[:kept].rstrip() + "…"
    draw.text(place, shown, fill=colour, font=font)


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
        write_bytes(target, encode_gif(to_rgb(frames), fps))
    elif format_ == "mp4":
        write_mp4(target, frames, fps)
    elif format_ == "png":
        write_png_frames(target, frames)
    else:
        np.save(target, frames)
    return target


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a still, uint8 (H, W, 3), as PNG."""
    with whole_file(path) as partial:
        Image.fromarray(image).save(partial, format="PNG")


def write_png_frames(folder: Path, frames: np.ndarray) -> None:
    """Write frame-000.png … into a folder; alpha and grey are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).save(folder / f"frame-{index:03d}.png")


def write_mp4(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write frames (H, W, C), each once, as H.264 in yuv420p, which every browser plays; small ones are enlarged.

    One thread, the same choices on each CPU and no date: the same frames give the same bytes by one version of x264.
    """
    import av

    exact = {"movflags": "faststart", "fflags": "+bitexact"}
    with whole_file(path) as partial, av.open(str(partial), "w", format="mp4", options=exact) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "medium", "flags": "+bitexact", "x264-params": EXACT}
        for number, frame in enumerate(map(_playable, frames)):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _playable(frame: np.ndarray) -> np.ndarray:
    """RGB with sides of at least MP4_SIDE px, and even, which H.264 wants."""
    rgb = to_rgb(frame)
    rgb = enlarge(rgb, max(1, MP4_SIDE // min(rgb.shape[:2])))
    return np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
