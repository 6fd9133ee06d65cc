"""Captions as vectors for the GAN: a word embedding that is trained with it.

The vocabulary is the sorted words of the train captions and is saved with the model. A word outside it is `<unk>`: a
zero vector that is never trained, so that an unknown word says nothing instead of something wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.config.training import TrainGanParams
from pipeline.text.vocabulary import words_of

TEXT_DIM = 128  # of a caption's features


class Vocabulary:
    """Words to indices: 0 is padding, 1 is `<unk>`, then the words in sorted order."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(sorted(set(words)))
        self._index = {word: index for index, word in enumerate(self.words, start=2)}

    def __len__(self) -> int:
        return len(self.words) + 2

    def indices(self, captions: Sequence[str]) -> Tensor:
        """int64 (B, longest caption), padded with 0. Raises ValueError on a caption without words."""
        rows = [[self._index.get(word, 1) for word in words_of(caption)] for caption in captions]
        for row, caption in zip(rows, captions, strict=True):
            if not row:
                raise ValueError(f"caption {caption!r} has no words; write a prompt such as 'a red circle moving left'")
        longest = max(map(len, rows), default=1)
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.long)


class WordEmbedding(nn.Module):
    """indices (B, L) to (B, width): the mean of the trained word vectors, or, where `window` is more than one word, the
    maximum of a convolution over them ("from left to right" is not "from right to left"; arXiv:1408.5882)."""

    def __init__(self, words: int, width: int, window: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(words - 2, width))  # padding and <unk> stay zero: no row of theirs
        self.phrase = nn.Conv1d(width, width, window, padding="same") if window > 1 else None

    def forward(self, indices: Tensor) -> Tensor:
        known = (indices >= 2).unsqueeze(-1)  # (B, L, 1)
        vectors = self.table[(indices - 2).clamp(min=0)] * known  # (B, L, width)
        real = (indices >= 1).unsqueeze(-1)  # (B, L, 1)
        if self.phrase is None:
            return vectors.sum(1) / real.sum(1).clamp(min=1)
        phrases = self.phrase(vectors.transpose(1, 2)).transpose(1, 2)  # (B, L, width)
        return phrases.masked_fill(~real, float("-inf")).amax(1)


class TextEncoder(nn.Module):
    """A caption's word indices (B, L) to features (B, TEXT_DIM).

    It is trained with the discriminators, on real clips beside their captions, and not by the generator's loss.
    """

    def __init__(self, params: TrainGanParams, words: int) -> None:
        super().__init__()
        self.source = WordEmbedding(words, params.word_dim, params.word_window)
        self.mix = nn.Sequential(nn.LayerNorm(params.word_dim), nn.Linear(params.word_dim, TEXT_DIM), nn.SiLU())

    def forward(self, text: Tensor) -> Tensor:
        return self.mix(self.source(text))
