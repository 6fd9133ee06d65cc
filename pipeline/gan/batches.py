"""Batches of the GAN: real clips, their captions as word indices, and hard negatives of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Real clips and their captions as the networks read them."""

    video: Tensor  # (B, C, F, H, W) in [-1, 1]
    text: Tensor  # int64 (B, L), word indices
    captions: Sequence[str]
    negatives: Tensor  # int64 (B, R, L): hard negatives of the captions; R may be 0
    negatives_mask: Tensor  # bool (B, R): where there is such a caption

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.video.to(device),
            self.text.to(device),
            self.captions,
            self.negatives.to(device),
            self.negatives_mask.to(device),
        )

    def same(self) -> Tensor:
        """bool (B, B): which captions are equal."""
        index = {caption: number for number, caption in enumerate(dict.fromkeys(self.captions))}
        numbers = torch.tensor([index[caption] for caption in self.captions], device=self.video.device)
        return numbers[:, None] == numbers[None]


def make_batch(
    video: Tensor,
    captions: Sequence[str],
    negatives: Sequence[Sequence[str]],  # of each caption: `count`, or none
    count: int,
    to_indices: Callable[[Sequence[str]], Tensor],  # captions to int64 (n, L)
) -> Batch:
    """A batch, its captions and their hard negatives indexed together."""
    filled = [negative for own, found in zip(captions, negatives, strict=True) for negative in found or [own] * count]
    text, b = to_indices([*captions, *filled]), len(captions)
    mask = torch.tensor([[bool(found)] * count for found in negatives], dtype=torch.bool)
    return Batch(video, text[:b], captions, text[b:].reshape(b, count, *text.shape[1:]), mask)
