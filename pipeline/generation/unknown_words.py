"""Words of a prompt that no train caption had, and prompts unlike the train captions, told before anything is drawn.

A word is told by its meaning, never by its spelling: by the distance of its vector from those that the taught words
have in its place in the sentence, and by how far the network's reading of the sentence moves without it. An encoder
only knows which words occur in like sentences: it takes opposites for neighbours ("earthwards" is near "rightwards")
and knows little of colours and shapes. The notes say so by naming several neighbours, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.text.captions import Encoder, TextBatch
from pipeline.text.vocabulary import words_of

# Chosen on 60 words that no caption had, eight clips of each read by the oracle; on 59 others 95 % of the spoilt clips
# are warned of, and 63 % of those warned of are spoilt (docs/LOG.md, 2026-11-28).
NEAR = 0.64  # cosine to the nearest taught word's vector, from which a word is taken for one of them
HEAVY = 0.3  # the network's reading moves by so much of its length without the word: then it says something
BAND = 0.05  # below the nearest word's cosine, in which others are named beside it
NEIGHBOURS = 3
LARGEST_VOCABULARY = 1000  # words; above it neighbours are not looked up, one sentence each
LISTED_WORDS = 150  # a vocabulary of at most this many words is listed
DETAILED_PROMPTS = 10  # with unknown words; the rest are counted


@dataclass(frozen=True)
class Reader:
    """A model's two views of sentences: the encoder's vectors, and what the network takes from them (N, D)."""

    encoder: Encoder
    read: Callable[[TextBatch], Tensor]


@dataclass(frozen=True)
class UnknownWord:
    """A word without a train caption. `weight`: how far the reading moves without it, in lengths of the reading."""

    word: str
    weight: float
    near: tuple[str, ...]  # known words with like vectors in its place, the nearest first

    @property
    def is_heavy(self) -> bool:
        """Whether it probably spoils the clip: it says something, and no known word says the same."""
        return self.weight >= HEAVY and not self.near


def unknown_words(prompt: str, vocabulary: Sequence[str]) -> list[str]:
    """The distinct words of a prompt that are not in the vocabulary, in order."""
    known = set(vocabulary)
    return [word for word in dict.fromkeys(words_of(prompt)) if word not in known]


def weigh_words(prompt: str, vocabulary: Sequence[str], reader: Reader) -> list[UnknownWord]:
    """Weight and neighbours of each unknown word of a prompt, in its place in the sentence."""
    words, found = words_of(prompt), []
    candidates = list(vocabulary) if len(vocabulary) <= LARGEST_VOCABULARY else []
    for word in unknown_words(prompt, vocabulary):
        place = words.index(word)
        without = [*words[:place], *words[place + 1 :]]
        if not without:  # a sentence of one word: all that it says
            without = [word]
        in_place = [word, *candidates]
        sentences = [[*words[:place], each, *words[place + 1 :]] for each in in_place]
        text = reader.encoder.encode_together([" ".join(sentence) for sentence in (*sentences, without)])
        own, *others = _vectors_at(text, words[:place], in_place, reader.encoder)
        cosines = {
            known: float(F.cosine_similarity(own, each, dim=0)) for known, each in zip(candidates, others, strict=True)
        }
        whole, rest = reader.read(text.select(torch.tensor([0, len(sentences)])))
        weight = float((whole - rest).norm() / whole.norm()) if without != [word] else 1.0
        found.append(UnknownWord(word, weight, _nearest(cosines)))
    return found


def _vectors_at(text: TextBatch, before: Sequence[str], words: Sequence[str], encoder: Encoder) -> list[Tensor]:
    """(D,) for each of the words: the mean of its tokens in its sentence, which begins with the words `before`."""
    frame, *lengths = (len(ids) for ids in encoder.token_ids(["", *before, *words]))
    pieces = [length - frame for length in lengths]
    start = frame // 2 + sum(pieces[: len(before)])  # as many framing tokens stand before as after
    return [text.tokens[row, start : start + n].mean(0) for row, n in enumerate(pieces[len(before) :])]


def _nearest(cosines: dict[str, float]) -> tuple[str, ...]:
    ranked = sorted(cosines, key=lambda known: -cosines[known])
    if not ranked or cosines[ranked[0]] < NEAR:
        return ()
    return tuple(known for known in ranked[:NEIGHBOURS] if cosines[known] >= cosines[ranked[0]] - BAND)


def word_notes(prompts: Sequence[str], vocabulary: Sequence[str], reader: Reader | None) -> list[str]:
    """Lines about unknown words, then the known ones. `reader` None: the model reads unknown words as nothing.

    A line that begins with "warning" names words that probably spoil the clip; other words are in notes.
    """
    strange = [prompt for prompt in prompts if vocabulary and unknown_words(prompt, vocabulary)]
    notes: list[str] = []
    for prompt in strange[:DETAILED_PROMPTS]:
        if reader is None:
            names = ", ".join(unknown_words(prompt, vocabulary))
            notes.append(f'warning: "{prompt}": no train caption had {names}: read as nothing')
        else:
            notes += _lines(prompt, weigh_words(prompt, vocabulary, reader))
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
