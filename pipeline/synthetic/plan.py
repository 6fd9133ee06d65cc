"""Which meaning clip `index` of a split has: round after round over all combinations, each in its own seeded order.

So combinations have equally many clips (give or take one) and a clip never depends on how many others are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

SPLITS = ("train", "val", "held_out", "reworded")
T = TypeVar("T")


def clip_seed(seed: int, split: str, index: int) -> int:
    """The seed of one clip, from which alone its picture is drawn."""
    return int(np.random.SeedSequence([seed, SPLITS.index(split), index]).generate_state(1)[0])


def pick(items: Sequence[T], seed: int, split: str, index: int, *, stream: int = 0) -> T:
    """The item of clip `index`: every item once in each round of len(items) clips."""
    round_, place = divmod(index, len(items))
    order = np.random.default_rng([seed, 2, SPLITS.index(split), stream, round_]).permutation(len(items))
    return items[int(order[place])]
