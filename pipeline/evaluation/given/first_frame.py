"""A model that is given the first frame of a real clip: is what it shows kept, and moved as the caption says?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data.frames import to_rgb
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import PromptSet
from pipeline.evaluation.scoring import read_clips, score_readings
from pipeline.evaluation.shares import flat_share, wilson_share
from pipeline.evaluation.shuffle_control import derangement
from pipeline.judge.judge import Judge
from pipeline.judge.oracles.foreground import MIN_DISTANCE, background_distance, find_palette
from pipeline.judge.oracles.reading import Reading
from pipeline.judge.oracles.score_reading import Scores

IDENTITY = ("shape", "colour", "digit")  # of a thing, by which it is the same in another frame
PLACE_WITHIN_PX = 1.0
EITHER_WAY = ("bounce", "zigzag")  # motions that a caption lets begin one way or the other


@dataclass(frozen=True)
class FirstFrames:
    """Samples of prompts with the first frames of their real clips given, read and scored."""

    prompts: PromptSet
    frames: np.ndarray  # uint8 (N, F, H, W, 3)
    readings: list[Reading]
    scores: list[Scores]
    given: int  # frames, at least


def draw_first_frames(sampler: PromptSampler, judge: Judge, prompts: PromptSet) -> FirstFrames:
    """Samples that go on from the fewest frames that the model was trained for: one, as a rule."""
    assert sampler.sampling is not None, "a GAN is given no frames"
    given = sampler.model.card.given_frames[0]
    sampling = sampler.sampling.model_copy(update={"given_frames": given})
    frames = to_rgb(sampler.sample(prompts, sampling=sampling, desc=f"sample {prompts.kind}, first frame given").frames)
    readings = read_clips(judge, frames)
    return FirstFrames(prompts, frames, readings, score_readings(judge, readings, prompts.attributes), given)


def first_frame_metrics(drawn: FirstFrames, judge: Judge, seed: int) -> dict[str, Any]:
    """Metrics `first_frame.*`, beside the same clips held against other ones' frames and captions, and real clips.

    `kept`: the thing of the given frame is there, alone and itself, and in the first frame that is drawn it stands
    within a pixel of where the real clip has it. `motion` and `joint` are of the whole clip, as the oracle reads it.
    """
    prompts = drawn.prompts
    order = derangement(len(prompts), seed)
    others = [prompts.attributes[place] for place in order]
    real = read_clips(judge, prompts.real)
    places = [place_error(drawn, row, row) for row in range(len(prompts))]
    metrics: dict[str, Any] = {"first_frame.clips": len(prompts), "first_frame.given": drawn.given}
    metrics |= _shares("first_frame", drawn.readings, drawn.scores, prompts.attributes, places)
    metrics["first_frame.place_px"] = float(np.median(places))
    metrics |= _shares(
        "first_frame_shuffled",
        drawn.readings,
        score_readings(judge, drawn.readings, others),
        others,
        [place_error(drawn, row, int(other)) for row, other in enumerate(order)],
    )
    still_there = [0.0] * len(prompts)
    scores = score_readings(judge, real, prompts.attributes)
    return metrics | _shares("first_frame_real", real, scores, prompts.attributes, still_there)


def _shares(
    prefix: str,
    readings: Sequence[Reading],
    scores: Sequence[Scores],
    wanted: Sequence[Mapping[str, Any]],
    places: Sequence[float],  # px
) -> dict[str, float]:
    kept = [
        is_same(reading, each) and place <= PLACE_WITHIN_PX
        for reading, each, place in zip(readings, wanted, places, strict=True)
    ]
    found = flat_share(f"{prefix}.kept", wilson_share(sum(kept), len(kept)))
    for name in ("motion", "speed", "joint"):
        if name in scores[0]:
            right = sum(bool(each[name]) for each in scores)
            found |= flat_share(f"{prefix}.{name}", wilson_share(right, len(scores)))
    return found


def identity(thing: Mapping[str, Any]) -> tuple[Any, ...]:
    """A true object's identity."""
    return tuple(thing[name] for name in IDENTITY if name in thing)


def is_same(reading: Reading, wanted: Mapping[str, Any]) -> bool:
    """Whether a clip shows the things of a frame: as many, each with its shape and colour, or its digit."""
    things = wanted["objects"]
    names = [name for name in IDENTITY if name in things[0]]
    read = sorted(str([getattr(thing, name) for name in names]) for thing in reading.objects)
    return reading.count == len(things) and read == sorted(str(list(identity(thing))) for thing in things)


def place_error(drawn: FirstFrames, row: int, other: int) -> float:
    """Distance in px, in the first frame that is drawn, from where the real clip `other` has its things."""
    at = drawn.given
    now = centre(drawn.frames[row], at)
    before, after = centre(drawn.prompts.real[other], at - 1), centre(drawn.prompts.real[other], at)
    right = [after]
    things = drawn.prompts.attributes[other]["objects"]
    if len(things) == 1 and things[0]["motion"].startswith(EITHER_WAY):
        right.append(2 * before - after)
    return min(float(np.linalg.norm(now - place)) for place in right)


def centre(frames: np.ndarray, at: int) -> np.ndarray:
    """(2,) x and y in px of all that stands out of the background in one frame of uint8 (F, H, W, 3); far off: nothing.

    Pixels weigh by how much of them is covered, so that edges between pixels count.
    """
    (distance,) = background_distance(frames[at : at + 1], find_palette(frames).colours)
    weight = np.where(distance > MIN_DISTANCE, distance, 0.0).astype(np.float64)
    if not weight.any():
        return np.full(2, 10.0 * sum(distance.shape))
    y, x = np.indices(distance.shape)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
