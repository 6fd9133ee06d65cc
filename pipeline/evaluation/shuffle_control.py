"""The caption-shuffle control: the same samples scored against other prompts, once and as the exact mean over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from pipeline.evaluation.scoring import EvaluatedPrompts, Oracle
from pipeline.evaluation.shares import flat_scores
from pipeline.judge.oracles.reading import Reading
from pipeline.judge.oracles.score_reading import Scores

WORD_FIELDS = ("shape", "colour", "colour_to", "size", "digit", "motion", "speed")  # what of a thing decides its scores
Read = TypeVar("Read")


def shuffle_control(judge: Oracle, evaluated: EvaluatedPrompts, seed: int) -> dict[str, float]:
    """Metrics `caption_shuffle.*`; none for fewer than two prompts. Of kinds of scene, without the exact mean."""
    attributes = evaluated.prompts.attributes
    if len(attributes) < 2:
        return {}
    order = derangement(len(attributes), seed)
    others = [attributes[index] for index in order]
    scores = [judge.score_reading(*pair) for pair in zip(evaluated.readings, others, strict=True)]
    flat = {key: value for key, value in flat_scores("caption_shuffle", scores).items() if _is_share(key, scores[0])}
    if "kind" in attributes[0]:  # clips of many kinds: hardly two are alike, and most pairs are of two kinds
        return flat
    chance = exact_chance(
        evaluated.readings,
        attributes,
        judge.score_reading,
        reading_key=reading_key,
        wanted_key=attributes_key,
    )
    return flat | {f"caption_shuffle.{name}_chance": value for name, value in chance.items()}


def _is_share(key: str, scores: Scores) -> bool:
    name = key.partition(".")[2].removesuffix("_low").removesuffix("_high")
    return isinstance(scores.get(name), bool)


def derangement(n: int, seed: int) -> np.ndarray:
    """(n,) a seeded shuffle in which nothing keeps its place: one random cycle. Raises ValueError for n below 2."""
    if n < 2:
        raise ValueError(f"{n} prompts cannot be shuffled; the control needs at least 2")
    order = np.random.default_rng(seed).permutation(n)
    shuffled = np.empty(n, np.int64)
    shuffled[order] = np.roll(order, 1)
    return shuffled


def exact_chance(
    readings: Sequence[Read],
    wanted: Sequence[Any],
    score: Callable[[Read, Any], Scores],
    *,
    reading_key: Callable[[Read], Hashable],
    wanted_key: Callable[[Any], Hashable],
) -> dict[str, float]:
    """The control's mean over all derangements: each reading against every other clip's wishes, n of at least 2.

    Exact, not sampled. Readings (and wishes) of equal key get equal scores, so each pair of keys is scored once.
    """
    pairs = Counter(zip(map(reading_key, readings), map(wanted_key, wanted), strict=True))
    read = {reading_key(reading): reading for reading in readings}
    wish = {wanted_key(each): each for each in wanted}
    n_read = Counter(map(reading_key, readings))
    n_wish = Counter(map(wanted_key, wanted))
    totals: Counter[str] = Counter()
    for r, reading in read.items():
        for w, each in wish.items():
            weight = n_read[r] * n_wish[w] - pairs[r, w]  # pairs of a clip with its own wish don't count
            for name, value in score(reading, each).items():
                if isinstance(value, bool):
                    totals[name] += weight * value
    n = len(readings) * (len(readings) - 1)
    return {name: total / n for name, total in totals.items()}


def reading_key(reading: Reading) -> tuple[Any, ...]:
    """All of a reading that decides its scores."""
    things = sorted(str(tuple(getattr(thing, name) for name in WORD_FIELDS)) for thing in reading.objects)
    return reading.count, reading.background, *things


def attributes_key(attributes: Mapping[str, Any]) -> tuple[Any, ...]:
    """All of a clip's attributes that decides a reading's scores."""
    things = sorted(str(tuple(thing.get(name) for name in WORD_FIELDS)) for thing in attributes["objects"])
    return attributes.get("background"), *things
