"""Which combinations of attributes never occur in train: every value is seen there, the combination is not.

A balanced, seeded choice: each value of each attribute loses about the same share of its combinations, and none is left
with fewer than `LEAST_SEEN`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.config.params import SyntheticParams

LEAST_SEEN = 2  # combinations that each value keeps in train, once anything is held out

Combination = tuple[str, ...]


@dataclass(frozen=True)
class Parting:
    """The combinations of train, val and reworded, and those kept for held_out."""

    seen: tuple[Combination, ...]
    held_out: tuple[Combination, ...]


def part(
    every: Sequence[Combination],
    params: SyntheticParams,
    *,
    section: str,  # of params.yaml, for the error
    attributes: Sequence[str],  # what each place of a combination is
) -> Parting:
    """Hold out `held_out_share` of `every`. Raises ValueError where that would starve a value of train."""
    share = params.held_out_share
    wanted = round(share * len(every))
    if share > 0 and wanted == 0:
        raise ValueError(
            f"{section}.held_out_share={share} of {len(every)} combinations is less than one; "
            "raise it, add values, or set it to 0.0"
        )
    if params.held_out_clips and not wanted:
        raise ValueError(f"{section}.held_out_share=0.0 holds nothing out; set {section}.held_out_clips to 0 as well")
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
    return Parting(tuple(item for item in every if item not in out), tuple(item for item in every if item in out))


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
