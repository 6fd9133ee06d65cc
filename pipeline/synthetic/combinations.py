"""Combinations of attributes: those that never occur in train, and the one that each clip shows.

The held-out ones are a balanced, seeded choice: each value of each attribute loses about the same share of its
combinations and keeps `LEAST_SEEN` at least. Clips go round after round over all combinations of their split, each
round in its own seeded order: all have equally many clips (give or take one), and a clip never depends on how many
others are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np

from pipeline.config.data import SyntheticParams

LEAST_SEEN = 2  # combinations that each value keeps in train, once anything is held out

SPLITS = ("train", "val", "held_out", "reworded")
T = TypeVar("T")
Combination = tuple[str, ...]


@dataclass(frozen=True)
class CombinationSplit:
    """The combinations of train, val and reworded, and those kept for held_out."""

    seen: tuple[Combination, ...]
    held_out: tuple[Combination, ...]


def hold_out(
    every: Sequence[Combination],
    params: SyntheticParams,
    *,
    section: str,  # of params.yaml, for the error
    attributes: Sequence[str],  # what each place of a combination is
) -> CombinationSplit:
    """Hold out `held_out_share` of `every`. Raises ValueError where that would starve a value of train."""
    share = params.held_out_share
    wanted = round(share * len(every))
    order = np.random.default_rng([params.seed, 1]).permutation(len(every))
    left = [every[i] for i in order]
    totals = Counter((place, value) for item in every for place, value in enumerate(item))
    lost: Counter[tuple[int, str]] = Counter()
    lost_pairs: Counter[tuple[tuple[int, str], ...]] = Counter()
    held: list[Combination] = []
    while len(held) < wanted:
        able = [item for item in left if all(_spare(totals, lost, value) for value in enumerate(item))]
        if not able:
            raise ValueError(_starved(totals, lost, share, len(held), section, attributes))
        chosen = min(able, key=lambda item: _cost(item, totals, lost, lost_pairs))
        held.append(chosen)
        left.remove(chosen)
        lost.update(enumerate(chosen))
        lost_pairs.update(combinations(enumerate(chosen), 2))
    out = set(held)
    return CombinationSplit(
        tuple(item for item in every if item not in out), tuple(item for item in every if item in out)
    )


def _spare(totals: Counter[tuple[int, str]], lost: Counter[tuple[int, str]], value: tuple[int, str]) -> bool:
    return totals[value] - lost[value] > LEAST_SEEN


def _cost(
    item: Combination,
    totals: Counter[tuple[int, str]],
    lost: Counter[tuple[int, str]],
    lost_pairs: Counter[tuple[tuple[int, str], ...]],
) -> tuple[float, float, int]:
    """The worst share lost by its values, then the sum of shares, then how often its pairs are gone already."""
    shares = [(lost[value] + 1) / totals[value] for value in enumerate(item)]
    pairs = sum(lost_pairs[pair] for pair in combinations(enumerate(item), 2))
    return max(shares), sum(shares), pairs


def _starved(
    totals: Counter[tuple[int, str]],
    lost: Counter[tuple[int, str]],
    share: float,
    held: int,
    section: str,
    attributes: Sequence[str],
) -> str:
    place, value = next(key for key in sorted(totals) if not _spare(totals, lost, key))
    kept = totals[place, value] - lost[place, value]
    return (
        f"{section}.held_out_share={share} starves {attributes[place]} {value!r}: after {held} held-out combinations "
        f"it has {kept} left and needs {LEAST_SEEN} in train; lower the share (0.0: none) or add values"
    )


def key_of(split: str, index: int) -> str:
    """The key of one clip."""
    return f"{split}-{index:06d}"


def clip_seed(seed: int, split: str, index: int) -> int:
    """The seed of one clip, from which alone its picture is drawn."""
    return int(np.random.SeedSequence([seed, SPLITS.index(split), index]).generate_state(1)[0])


def pick(items: Sequence[T], seed: int, split: str, index: int, *, stream: int = 0) -> T:
    """The item of clip `index`: every item once in each round of len(items) clips."""
    round_, place = divmod(index, len(items))
    order = np.random.default_rng([seed, 2, SPLITS.index(split), stream, round_]).permutation(len(items))
    return items[int(order[place])]
