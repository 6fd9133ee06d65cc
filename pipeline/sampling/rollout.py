"""Clips longer than those that a model was trained on: windows of the trained length, each going on from the last one.

A window is given the last frames of the one before, as many as the model was trained for at most, and is drawn from
noise of its own by (seed, window). Only the newest window is held, so a clip's length costs time alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.models import SamplingParams
from pipeline.model_io.model_card import ModelCard
from pipeline.sampling.video_model import SEED_MAX, VideoModel, check_given

if TYPE_CHECKING:
    from pipeline.sampling.samplers import Callback
    from pipeline.text.captions import TextBatch


@dataclass(frozen=True)
class Windows:
    """Windows of `length` frames, of which all but the first repeat the last `overlap` frames of the one before."""

    count: int
    length: int
    overlap: int


def plan_windows(card: ModelCard, frames: int) -> Windows:
    """The windows of a clip of `frames` frames. Raises ValueError, one line, where no number of them makes it."""
    length = card.frames
    if frames == length:
        return Windows(1, length, 0)
    if frames > length and not card.given_frames:
        raise ValueError(
            f"{frames} frames do not fit: this model makes {length}, and was not trained to go on from given ones "
            "(train.given_frames, as the preset frames sets it); give at most that"
        )
    overlap = card.given_frames[-1] if card.given_frames else 0
    new = length - overlap  # frames that each further window adds
    more, rest = divmod(frames - length, new)
    if frames < length or rest:
        near = f"{frames - rest} or {frames - rest + new}" if frames > length else str(length)
        raise ValueError(
            f"{frames} frames are no whole number of windows: this model makes {length}, and {new} more by each "
            f"further window; give {near}"
        )
    return Windows(1 + more, length, overlap)


def window_seed(seed: int, window: int) -> int:
    """The seed of a window, the first one's being the clip's own: its frames are those of the short clip."""
    if window == 0:
        return seed
    return int(np.random.SeedSequence([seed, window]).generate_state(1, np.uint32)[0]) % (SEED_MAX + 1)


def roll_out(
    model: VideoModel,
    captions: Sequence[str],
    seeds: Sequence[int],  # one per caption
    frames: int,
    *,
    given: np.ndarray | None = None,  # uint8 (B, K, H, W, C): the clips' first frames
    text: TextBatch | None = None,  # the captions' vectors, where they are at hand
    sampling: SamplingParams | None = None,  # None: the model's own
    negative: Sequence[str] | None = None,
    callback: Callback | None = None,
) -> Iterator[np.ndarray]:
    """New frames uint8 (B, n, H, W, C), window by window; the first holds the given ones. `frames` frames in all.

    Raises ValueError where windows do not make as many, or the model was not trained for it.
    """
    windows = plan_windows(model.card, frames)
    if given is not None:
        check_given(model.card, given)
    text = model.encode(captions) if text is None else text
    for window in range(windows.count):
        clips = model.sample(
            captions,
            [window_seed(seed, window) for seed in seeds],
            text=text,
            sampling=sampling,
            negative=negative,
            given=given,
            callback=callback,
        )
        yield clips if window == 0 else clips[:, windows.overlap :]
        given = clips[:, windows.length - windows.overlap :]
