"""Marks of single clips as numbers: shares with Wilson intervals, means, and the caption-shuffle control.

A mark sheet is what a judge gives one clip: a bool per attribute, `joint`, and a few floats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Marks = Mapping[str, bool | float]
Reading = TypeVar("Reading")
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """`right` of `clips`, with the 95 % Wilson interval."""

    right: int
    clips: int
    value: float
    low: float
    high: float


def wilson(right: int, clips: int, z: float = Z_95) -> Share:
    """Wilson's score interval (1927): honest near 0 and 1 and for few clips. Raises ValueError for none."""
    if not 0 <= right <= clips or clips == 0:
        raise ValueError(f"{right} right of {clips} clips: a share needs at least one clip")
    share = right / clips
    scale = 1.0 + z * z / clips
    middle = (share + z * z / (2 * clips)) / scale
    half = z / scale * math.sqrt(share * (1.0 - share) / clips + z * z / (4 * clips * clips))
    # At 0 and 1 the bound is the share itself, but for its last bit: never on the wrong side of it.
    return Share(right, clips, share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def attribute_shares(marks: Sequence[Marks]) -> dict[str, Share]:
    """Of each bool that every clip has a mark for."""
    names = [name for name, value in marks[0].items() if isinstance(value, bool)]
    return {name: wilson(sum(bool(sheet[name]) for sheet in marks), len(marks)) for name in names}


def float_means(marks: Sequence[Marks]) -> dict[str, float]:
    """Of each float, over the clips that have it."""
    names = dict.fromkeys(name for sheet in marks for name, value in sheet.items() if not isinstance(value, bool))
    return {name: float(np.mean([sheet[name] for sheet in marks if name in sheet])) for name in names}


def flat_marks(prefix: str, marks: Sequence[Marks], *, intervals: bool = True) -> dict[str, float]:
    """Metric keys of a set of marks: `prefix.colour`, `prefix.colour_low`, `prefix.speed_error` …"""
    flat: dict[str, float] = {}
    for name, share in attribute_shares(marks).items():
        flat[f"{prefix}.{name}"] = share.value
        if intervals:
            flat |= {f"{prefix}.{name}_low": share.low, f"{prefix}.{name}_high": share.high}
    return flat | {f"{prefix}.{name}": value for name, value in float_means(marks).items()}


def derangement(n: int, seed: int) -> np.ndarray:
    """(n,) a seeded shuffle in which nothing keeps its place: one random cycle. Raises ValueError for n below 2."""
    if n < 2:
        raise ValueError(f"{n} prompts cannot be shuffled; the control needs at least 2")
    order = np.random.default_rng(seed).permutation(n)
    shuffled = np.empty(n, np.int64)
    shuffled[order] = np.roll(order, 1)
    return shuffled


def exact_chance(
    readings: Sequence[Reading],
    wanted: Sequence[Any],
    mark: Callable[[Reading, Any], Marks],
    *,
    reading_key: Callable[[Reading], Hashable],
    wanted_key: Callable[[Any], Hashable],
) -> dict[str, float]:
    """What the control gives on average over all derangements: each reading against every other clip's wishes.

    Exact, not sampled. Readings (and wishes) of equal key get equal marks, so each pair of keys is judged once.
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
            for name, value in mark(reading, each).items():
                if isinstance(value, bool):
                    totals[name] += weight * value
    n = len(readings) * (len(readings) - 1)
    return {name: total / n for name, total in totals.items()}
