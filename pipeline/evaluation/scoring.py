"""Samples of one set of prompts, read by the judge and scored against what the prompts ask for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from pipeline.data.frames import to_rgb
from pipeline.evaluation.prompt_sampler import Samples
from pipeline.evaluation.prompts import PromptSet
from pipeline.evaluation.shares import attribute_shares, flat_scores, wilson_share
from pipeline.judge.judge import Judge
from pipeline.judge.label_readers import Label, score_label
from pipeline.judge.oracles.reading import Reading
from pipeline.judge.oracles.score_reading import Scores
from pipeline.judge.oracles.world.score import is_single
from pipeline.runtime.parallel import run_on_cores
from pipeline.runtime.progress import Progress


class Oracle(Protocol):
    """Reader and scorer of a drawn set's clips: the set's judge, or its oracle alone."""

    def read(self, frames: np.ndarray) -> Reading: ...

    def score_reading(self, reading: Reading, attributes: Mapping[str, Any]) -> Scores: ...


@dataclass(frozen=True)
class EvaluatedPrompts:
    """A model's samples for one set of prompts, read and scored.

    Readings are of drawn sets, labels of own clips that have some; without either there are no scores.
    """

    prompts: PromptSet
    samples: Samples
    readings: list[Reading]
    scores: list[Scores]  # of own clips {} where one cannot be scored
    labels: list[Label] = field(default_factory=list)


def evaluate_prompts(judge: Judge, prompts: PromptSet, samples: Samples) -> EvaluatedPrompts:
    """Read and score samples, where the prompts have attributes."""
    if judge.readers:
        labels = judge.read_labels(to_rgb(samples.frames))
        right = [score_label(*pair, judge.card.in_play) for pair in zip(labels, prompts.attributes, strict=True)]
        return EvaluatedPrompts(prompts, samples, [], right, labels)
    if not has_attributes(prompts):
        return EvaluatedPrompts(prompts, samples, [], [])
    readings = read_clips(judge, samples.frames)
    return EvaluatedPrompts(prompts, samples, readings, score_readings(judge, readings, prompts.attributes))


def kind_metrics(evaluated: EvaluatedPrompts) -> dict[str, float]:
    """Metrics of a drawn set's prompts of one kind: shares by attribute, and how many clips fail."""
    kind, scores = evaluated.prompts.kind, evaluated.scores
    counts = {f"{kind}.clips": len(scores), f"{kind}.failures": sum(not each["joint"] for each in scores)}
    return flat_scores(kind, scores) | counts


def has_attributes(prompts: PromptSet) -> bool:
    return bool(prompts.attributes[0].get("objects"))


def read_clips(judge: Oracle, frames: np.ndarray) -> list[Reading]:
    """Readings of uint8 (N, F, H, W, C), on all cores."""
    with Progress(total=len(frames), desc="read clips") as bar:

        def read(clip: np.ndarray) -> Reading:
            reading = judge.read(clip)
            bar.update()
            return reading

        return run_on_cores([partial(read, clip) for clip in to_rgb(frames)])


def score_readings(judge: Oracle, readings: Sequence[Reading], attributes: Sequence[Mapping[str, Any]]) -> list[Scores]:
    """Each reading against the attributes that were asked for."""
    return [judge.score_reading(reading, wanted) for reading, wanted in zip(readings, attributes, strict=True)]


def accuracy_table(evaluated: EvaluatedPrompts) -> list[dict[str, Any]]:
    """A row per attribute ("all") and per value of it that the prompts ask for, of single-object clips."""
    kind, scores = evaluated.prompts.kind, evaluated.scores
    rows = [share_row(kind, name, "all", scores) for name in attribute_shares(scores)]
    wanted = [each["objects"][0] if is_single(each) else {} for each in evaluated.prompts.attributes]
    for name in ("shape", "colour", "digit", "motion", "size", "speed"):
        values = dict.fromkeys(thing[name] for thing in wanted if thing.get(name) is not None)
        for value in sorted(values, key=str) if len(values) > 1 else ():
            clips = [
                clip for clip, thing in zip(scores, wanted, strict=True) if thing.get(name) == value and name in clip
            ]
            if clips:
                rows.append(share_row(kind, name, str(value), clips))
    return rows


def share_row(kind: str, name: str, value: str, scores: Sequence[Scores]) -> dict[str, Any]:
    """A row of the accuracy table: how many of the clips have an attribute right."""
    share = wilson_share(sum(bool(clip[name]) for clip in scores), len(scores))
    counts = {"right": share.right, "clips": share.clips, "share": share.value, "low": share.low, "high": share.high}
    return {"kind": kind, "attribute": name, "value": value, **counts}


def speed_between_real(attributes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Difference between the speeds of two real clips that the same words describe: a caption says no more than that.

    The mean of |a - b| / b over all ordered pairs of single-object clips of one motion and speed word; a model that
    only reads its caption has this speed error when it draws as the set does. Empty where no two clips are alike.
    """
    alike: defaultdict[tuple[Any, Any], list[float]] = defaultdict(list)
    for each in attributes:
        thing = each["objects"][0]
        if is_single(each) and thing["speed_px"] > 0.0:
            alike[thing["motion"], thing.get("speed")].append(thing["speed_px"])
    total, pairs = 0.0, 0
    for speeds in (np.array(group) for group in alike.values()):
        total += float((np.abs(speeds[:, None] - speeds) / speeds).sum())
        pairs += len(speeds) * (len(speeds) - 1)
    return {"real_pairs.speed_error": total / pairs} if pairs else {}


def in_words(reading: Reading) -> dict[str, str]:
    """A reading as the report says it: attribute to words, several things joined by "and"."""
    said: dict[str, str] = {}
    for name in ("colour", "shape", "digit", "size", "motion", "speed"):
        values = [getattr(thing, name) for thing in reading.objects]
        if any(value not in (None, "unclear") for value in values):
            said[name] = " and ".join(str(value) for value in values)
    return said or {"nothing": "clear"}
