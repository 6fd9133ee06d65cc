"""Hard negatives of a caption: captions of the set that differ in one word ("a red square …", "a red circle …").

Captions drawn at random differ in several words at once, so a discriminator can tell them apart by the easiest and
never learns the others. A hard negative leaves it one word to go by. Found in the text alone, not in how a clip was
drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from pipeline.text.vocabulary import words_of


class HardNegatives:
    """The hard negatives of each caption, by the position of the word that differs."""

    def __init__(self, captions: Iterable[str]) -> None:
        ordered = sorted(set(captions))
        words = [words_of(caption) for caption in ordered]
        self._groups: dict[str, list[list[str]]] = {caption: [] for caption in ordered}  # each holds the caption too
        for position in range(max(map(len, words), default=0)):
            by_rest: defaultdict[str, dict[str, str]] = defaultdict(dict)  # the other words to {word: caption}
            for caption, own in zip(ordered, words, strict=True):
                if position < len(own):
                    rest = " ".join([*own[:position], "\n", *own[position + 1 :]])
                    by_rest[rest].setdefault(own[position], caption)
            for by_word in by_rest.values():
                if len(by_word) > 1:
                    group = list(by_word.values())
                    for caption in group:
                        self._groups[caption].append(group)

    def by_position(self, caption: str) -> list[list[str]]:
        """For each word that can differ, the captions that differ in it."""
        return [[other for other in group if other != caption] for group in self._groups.get(caption, [])]

    def draw(self, caption: str, count: int, rng: np.random.Generator) -> list[str]:
        """`count` captions, each differing in another word as far as there are enough; empty where there is none."""
        by_position = self.by_position(caption)
        if not by_position:
            return []
        turns = rng.permutation(len(by_position))
        chosen = [by_position[turns[number % len(by_position)]] for number in range(count)]
        return [captions[rng.integers(len(captions))] for captions in chosen]
