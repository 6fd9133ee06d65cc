"""A first frame that shows one thing and a caption that names another: which of the two wins?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.evaluation.given.first_frame import FirstFrames, draw_first_frames, identity, is_same
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import PromptSet
from pipeline.evaluation.shares import flat_share, wilson_share
from pipeline.judge.judge import Judge


def contradictions(prompts: PromptSet, seed: int) -> tuple[PromptSet, list[int]]:
    """Clips with the caption of another of the same motion and speed, whose thing shares nothing with theirs.

    Returns the prompts, with the real clips and attributes of their frames, and the row of each one's caption. Clips
    that have no such other are left out, as are those of several things.
    """
    rng, rows, said = np.random.default_rng(seed), [], []
    things = [each["objects"][0] if len(each["objects"]) == 1 else None for each in prompts.attributes]
    for row, thing in enumerate(things):
        others = [place for place, other in enumerate(things) if thing and other and _contradicts(thing, other)]
        if others:
            rows.append(row)
            said.append(others[int(rng.integers(len(others)))])
    chosen = PromptSet(
        "contradicted",
        [prompts.captions[row] for row in said],
        [prompts.attributes[row] for row in rows],
        [prompts.keys[row] for row in rows],
        prompts.real[rows],
        seed,
    )
    return chosen, said


def _contradicts(thing: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    same_way = all(thing.get(name) == other.get(name) for name in ("motion", "speed"))
    return same_way and all(mine != theirs for mine, theirs in zip(identity(thing), identity(other), strict=True))


def contradiction_metrics(
    sampler: PromptSampler, judge: Judge, prompts: PromptSet, seed: int
) -> tuple[dict[str, Any], FirstFrames | None]:
    """Metrics `contradicted.*`: shares of clips that show the frame's thing, and the caption's; the rest is neither."""
    asked, said = contradictions(prompts, seed)
    if not said:
        return {}, None
    drawn = draw_first_frames(sampler, judge, asked)
    frame = sum(is_same(reading, each) for reading, each in zip(drawn.readings, asked.attributes, strict=True))
    named = [prompts.attributes[row] for row in said]
    caption = sum(is_same(reading, each) for reading, each in zip(drawn.readings, named, strict=True))
    motion = sum(bool(scores["motion"]) for scores in drawn.scores)
    metrics: dict[str, Any] = {"contradicted.clips": len(said)}
    for name, right in (("frame_wins", frame), ("caption_wins", caption), ("motion", motion)):
        metrics |= flat_share(f"contradicted.{name}", wilson_share(right, len(said)))
    return metrics, drawn
