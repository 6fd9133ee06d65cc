"""Words of a prompt that no train caption had, and prompts unlike the train captions, told before anything is drawn.

A word is weighed by the text encoder in its place in the sentence: how far the sentence moves without it, and whether a
known word in its place brings the sentence back. An encoder only knows which words occur in like sentences: it takes
opposites for neighbours ("lazily" is near "quickly") and knows little of colours and shapes. The notes say so by naming
several neighbours, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from pipeline.text.vocabulary import words_of

Encode = Callable[[Sequence[str]], Tensor]  # N sentences to their vectors, (N, D)

HEAVY = 0.1  # 1 - cosine between the sentence and the sentence without the word, from which a word carries meaning
NEAR = 0.3  # share of that distance which a known word has to make good to be called near
BAND = 0.1  # of that share, below the nearest word's, in which others are named beside it
NEIGHBOURS = 3
LARGEST_VOCABULARY = 1000  # words; above it neighbours are not looked up, one sentence each
LISTED_WORDS = 150  # a vocabulary of at most this many words is listed
DETAILED_PROMPTS = 10  # with unknown words; the rest are counted


@dataclass(frozen=True)
class UnknownWord:
    """A word without a train caption. `weight`: how far the sentence moves without it, from 0 (not at all) to 1."""

    word: str
    weight: float
    near: tuple[str, ...]  # known words that do about the same in its place, the nearest first

    @property
    def is_heavy(self) -> bool:
        """Whether it probably spoils the clip: it carries meaning, and no known word carries the same."""
        return self.weight >= HEAVY and not self.near


def unknown_words(prompt: str, vocabulary: Sequence[str]) -> list[str]:
    """The distinct words of a prompt that are not in the vocabulary, in order."""
    known = set(vocabulary)
    return [word for word in dict.fromkeys(words_of(prompt)) if word not in known]


def weigh_words(prompt: str, vocabulary: Sequence[str], encode: Encode) -> list[UnknownWord]:
    """Weight and neighbours of each unknown word of a prompt, by the vectors of sentences with other words in place."""
    words, found = words_of(prompt), []
    candidates = vocabulary if len(vocabulary) <= LARGEST_VOCABULARY else ()
    for word in unknown_words(prompt, vocabulary):
        place = words.index(word)
        without = [*words[:place], *words[place + 1 :]]
        if not without:  # a sentence of one word: all that it says
            return [UnknownWord(word, 1.0, ())]
        others = [[*words[:place], known, *words[place + 1 :]] for known in candidates]
        vectors = encode([" ".join(sentence) for sentence in (words, without, *others)])
        alone, *likeness = F.cosine_similarity(vectors[1:], vectors[:1]).tolist()
        made_good = {known: (cos - alone) / (1 - alone) for known, cos in zip(candidates, likeness, strict=True)}
        found.append(UnknownWord(word, 1 - alone, _nearest(made_good)))
    return found


def _nearest(made_good: dict[str, float]) -> tuple[str, ...]:
    ranked = sorted(made_good, key=lambda known: -made_good[known])
    if not ranked or made_good[ranked[0]] < NEAR:
        return ()
    return tuple(known for known in ranked[:NEIGHBOURS] if made_good[known] >= made_good[ranked[0]] - BAND)


def word_notes(prompts: Sequence[str], vocabulary: Sequence[str], encode: Encode | None) -> list[str]:
    """Lines about unknown words, then the known ones. `encode` None: the model reads unknown words as nothing.

    A line that begins with "warning" names words that probably spoil the clip; other words are in notes.
    """
    strange = [prompt for prompt in prompts if vocabulary and unknown_words(prompt, vocabulary)]
    notes: list[str] = []
    for prompt in strange[:DETAILED_PROMPTS]:
        if encode is None:
            names = ", ".join(unknown_words(prompt, vocabulary))
            notes.append(f'warning: "{prompt}": no train caption had {names}: read as nothing')
        else:
            notes += _lines(prompt, weigh_words(prompt, vocabulary, encode))
    if len(strange) > DETAILED_PROMPTS:
        notes.append(f"note: {len(strange) - DETAILED_PROMPTS} more prompts have words that no train caption had")
    return [*notes, known_words(vocabulary)] if notes else []


def _lines(prompt: str, weighed: Sequence[UnknownWord]) -> list[str]:
    heavy = [each.word for each in weighed if each.is_heavy]
    light = [f"{each.word}{_like(each)}" for each in weighed if not each.is_heavy]
    lines = []
    if heavy:
        lines.append(f'warning: "{prompt}": no train caption had {", ".join(heavy)}; the clip may not show it')
    if light:
        lines.append(f'note: "{prompt}": no train caption had {", ".join(light)}')
    return lines


def _like(each: UnknownWord) -> str:
    return f" (near {', '.join(each.near)})" if each.near else " (which says little)"


def known_words(vocabulary: Sequence[str]) -> str:
    if len(vocabulary) > LISTED_WORDS:
        return f"note: this model knows {len(vocabulary)} words; its model.json lists them (vocabulary)"
    return f"note: this model knows {', '.join(vocabulary)}"
