"""Rivals of a caption: captions of the set that differ from it in one word ("a red square …", "a red circle …").

Captions drawn at random differ in several words at once, so a judge can tell them apart by the easiest and never learns
the others. A rival leaves it one word to go by. Found in the text alone: what a clip was drawn from is not asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from pipeline.text.vocabulary import words_of


class Rivals:
    """The rivals of each caption, by the word that differs."""

    def __init__(self, captions: Iterable[str]) -> None:
        ordered = sorted(set(captions))
        words = [words_of(caption) for caption in ordered]
        self._slots: dict[str, list[list[str]]] = {caption: [] for caption in ordered}  # each list holds itself too
        for place in range(max(map(len, words), default=0)):
            groups: defaultdict[str, dict[str, str]] = defaultdict(dict)
            for caption, said in zip(ordered, words, strict=True):
                if place < len(said):
                    groups[" ".join([*said[:place], "\n", *said[place + 1 :]])].setdefault(said[place], caption)
            for group in groups.values():
                if len(group) > 1:
                    alike = list(group.values())
                    for caption in alike:
                        self._slots[caption].append(alike)

    def slots(self, caption: str) -> list[list[str]]:
        """For each word that can differ, the rivals that differ in it."""
        return [[other for other in alike if other != caption] for alike in self._slots.get(caption, [])]

    def draw(self, caption: str, count: int, rng: np.random.Generator) -> list[str]:
        """`count` rivals, each differing in another word as far as there are enough; none where there is none."""
        slots = self.slots(caption)
        if not slots:
            return []
        turns = rng.permutation(len(slots))
        chosen = [slots[turns[number % len(slots)]] for number in range(count)]
        return [slot[rng.integers(len(slot))] for slot in chosen]
