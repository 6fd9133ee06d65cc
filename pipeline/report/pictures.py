"""Clips as data URIs: film strips, which the page plays by sliding them, and contact sheets.

A strip is every frame of a clip in one image, side by side, so that all clips run together, can be paused and be looked
at frame by frame.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.shards import read_rows
from pipeline.render.clips import contact_sheet
from pipeline.report.gather import Run

PALETTE = 256
PNG_LIMIT = 40_000  # bytes; a strip that needs more is a photograph, and stored as one
SHEET_CLIPS = 8
SHEET_FRAMES = 8


@dataclass(frozen=True)
class Strip:
    """A clip ready for the page."""

    uri: str
    frames: int
    width: int  # px of one frame
    height: int
    fps: float


@dataclass(frozen=True)
class Sheet:
    """A set's first clips, one a row."""

    title: str
    about: str
    uri: str
    captions: list[str]


def film_strip(frames: np.ndarray, fps: float) -> Strip:
    """uint8 (F, H, W, C) as a strip."""
    f, h, w, _ = frames.shape
    return Strip(image_uri(contact_sheet([frames], columns=f, gap=0)), f, w, h, fps)


def contact_sheets(shards: Path, run: Run) -> Iterator[Sheet]:
    """The first clips of each of the run's sets."""
    for name in run.sets:
        rows = list(read_rows(shards / name, limit=SHEET_CLIPS))
        clips = [row.frames() for row in rows]
        about = f"{rows[0].n_frames} frames at {rows[0].fps:g} fps, {clips[0].shape[1]} px"
        captions = [row.captions[0] for row in rows]
        yield Sheet(run.set_title(name), about, image_uri(contact_sheet(clips, columns=SHEET_FRAMES)), captions)


def image_uri(image: np.ndarray) -> str:
    """uint8 (H, W, 3) as a data URI: PNG of up to 256 colours, WebP where that is large."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    data = _encoded(picture.quantize(PALETTE, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE), "PNG")
    if len(data) <= PNG_LIMIT:
        return _uri(data, "image/png")
    return _uri(_encoded(picture, "WEBP", quality=90, method=4), "image/webp")


def _encoded(picture: Image.Image, format_: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=format_, **({"optimize": True} if format_ == "PNG" else options))
    return buffer.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
