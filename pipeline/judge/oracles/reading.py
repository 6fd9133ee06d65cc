"""A clip as an oracle reads it: the things it shows, each attribute a word or "unclear", and what both oracles share.

An oracle sees pixels alone. Nothing in this folder imports the generators (synthetic/): outlines, colours and limits
are stated here once more, so that a mistake in drawing cannot make its own reading right. Tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.judge.oracles.motion import UNCLEAR
from pipeline.judge.oracles.tracking import Track

LEAST_FRAMES = 4
AGREEMENT = 0.75  # share of a thing's frames that must show its shape, and its colour
MAX_LEFTOVER = 0.12  # share of the foreground that belongs to nothing, beyond which the count is unclear


@dataclass(frozen=True)
class ObjectReading:
    """One thing. Fields are a word, or "unclear"."""

    motion: str
    speed: str  # slow | normal | fast | none (of a thing that has no speed) | unclear
    speed_px: float  # px per frame along the path, at the clip's own resolution and frame count
    presence: float  # share of the frames that show it
    identity: float  # share of its frames with the thing's own shape and colour (a digit: its own value)
    shape: str = UNCLEAR
    colour: str = UNCLEAR  # of the first quarter, where the colour changes
    colour_to: str = ""  # of the last quarter, where the colour changes
    size: str = UNCLEAR
    radius_px: float = 0.0
    digit: int | None = None


@dataclass(frozen=True)
class Reading:
    """A clip. `count` is -1 where it cannot be told."""

    objects: tuple[ObjectReading, ...]
    count: int
    background: str
    flicker: float  # share of the frames that don't show as many things as the clip holds
    empty: float  # share of the frames that show nothing at all
    n_frames: int
    height: int


def check_frames(frames: np.ndarray) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) < LEAST_FRAMES:
        raise ValueError(
            f"a clip of shape {frames.shape} and type {frames.dtype} cannot be read; "
            f"the oracles take uint8 (frames, height, width, 3) with at least {LEAST_FRAMES} frames"
        )


def clear_count(things: Sequence[ObjectReading], leftover: float) -> int:
    """Number of things in a clip; -1 where one of them comes and goes, or foreground is left over."""
    steady = all(thing.presence >= AGREEMENT for thing in things)
    return len(things) if steady and leftover <= MAX_LEFTOVER else -1


def flicker(blob_frames: np.ndarray, count: int, n_frames: int) -> float:
    """Share of the frames whose number of blobs is not `count`; 1 where there is nothing."""
    if count == 0:
        return 1.0
    return float((np.bincount(blob_frames, minlength=n_frames) != count).mean())


def at_every_frame(thing: Track, values: np.ndarray, n_frames: int) -> np.ndarray:
    """Values (m, …) at the frames of a track, filled in linearly at the others."""
    if len(thing.frames) == n_frames:
        return values
    every = np.arange(n_frames)
    columns = values.reshape(len(values), -1)
    filled = np.stack([np.interp(every, thing.frames, column) for column in columns.T], axis=1)
    return filled.reshape(n_frames, *values.shape[1:])


def empty_share(blob_frames: np.ndarray, n_frames: int) -> float:
    """Share of the frames without a blob."""
    return 1.0 - len(np.unique(blob_frames)) / n_frames
