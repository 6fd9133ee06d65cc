"""Clips as film strips: every frame of a clip in one image, side by side, as a data URI.

A page plays a strip by sliding it, so that all clips run together, can be paused and be looked at frame by frame.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.render.clips import contact_sheet

PALETTE = 256
PNG_LIMIT = 40_000  # bytes; a strip that needs more is a photograph, and stored as one


@dataclass(frozen=True)
class Strip:
    """A clip ready for the page."""

    uri: str
    frames: int
    width: int  # px of one frame
    height: int
    fps: float


def film_strip(frames: np.ndarray, fps: float) -> Strip:
    """uint8 (F, H, W, C) as a strip."""
    f, h, w, _ = frames.shape
    return Strip(image_uri(contact_sheet([frames], columns=f, gap=0)), f, w, h, fps)


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
