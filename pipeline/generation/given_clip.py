"""A stranger's picture or clip as frames for a model to go on from.

It is decoded where transcode decodes: in a process of its own, which may crash, hang or fill memory without harm. Only
the GIF that this process made of it is opened here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.config.params import load_params
from pipeline.data.gif import decode_gif
from pipeline.model_io.clip_decoding import ClipShape, fit_clip
from pipeline.model_io.model_card import ModelCard
from pipeline.runtime.code import ROOT
from pipeline.transcode.child import ClipAnswer
from pipeline.transcode.decoding.spec import FrameSpec, rgb_of
from pipeline.transcode.workers import Limits, decoders, transcode_file

LIMITS = Limits(time_s=60.0, memory_gb=4.0)
FITS = {"crop": "its middle square", "pad": "all of it, with black bars", "stretch": "all of it, stretched"}


@dataclass(frozen=True)
class Fitting:
    """The way of a picture of any size to the model's square, and what shows through where it is transparent."""

    fit: Literal["crop", "pad", "stretch"] = "crop"
    background: str = "white"

    def said(self, path: Path, card: ModelCard) -> str:
        """A line about what was done to a file."""
        return f"note: {path}: {FITS[self.fit]} at {card.resolution} x {card.resolution} px (transcode.fit {self.fit})"


def standing_fitting() -> Fitting:
    """Fitting of the repository's params.yaml, by which clips are transcoded; away from it, a crop on white."""
    if not (ROOT / "params.yaml").is_file():
        return Fitting()
    params = load_params(ROOT / "params.yaml").transcode
    return Fitting(params.fit, params.background)


def read_first_frame(path: Path, card: ModelCard, fitting: Fitting) -> np.ndarray:
    """A picture, or a clip's first, as uint8 (1, H, W, C) of the model's shape. Raises ValueError, one line."""
    answer = _decoded(path, card, fitting, frames=1, span="whole")
    if not answer.gif:
        raise ValueError(
            f"--first-frame {path}: no picture ({answer.reason}: {answer.detail}); give a PNG or JPEG file"
        )
    return _frames(answer, card, 1)


def read_last_frames(path: Path, card: ModelCard, fitting: Fitting) -> np.ndarray:
    """A clip's last K frames at the model's rate, uint8 (K, H, W, C), K the most that it was trained for and they fill.

    Raises ValueError, one line, where the file is no clip.
    """
    answer = ClipAnswer()
    for count in reversed(card.given_frames):
        answer = _decoded(path, card, fitting, frames=count, span="last")
        if answer.gif:
            return _frames(answer, card, count)
        if answer.reason != "short":
            break
    raise ValueError(f"--continue {path}: no clip ({answer.reason}: {answer.detail}); give a GIF or a video file")


def _decoded(
    path: Path, card: ModelCard, fitting: Fitting, *, frames: int, span: Literal["whole", "last"]
) -> ClipAnswer:
    if not path.is_file():
        return ClipAnswer(reason="missing", detail="no such file")
    spec = FrameSpec(
        frames=frames,
        resolution=card.resolution,
        span=span,
        duration_s=frames / card.fps,
        fit=fitting.fit,
        background=rgb_of(fitting.background),
    )
    with decoders():
        return transcode_file(path, spec, card.fps, LIMITS)


def _frames(answer: ClipAnswer, card: ModelCard, count: int) -> np.ndarray:
    return fit_clip(decode_gif(answer.gif, count), ClipShape(count, card.resolution, card.channels))
