"""Losses of the GAN: hinge or BCE on logits, mismatched captions as negatives, lazy R1, and a text-video contrast."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AdversarialLoss = Literal["hinge", "bce"]


def discriminator_loss(kind: AdversarialLoss, real: Tensor, fake: Tensor, mismatched: Tensor | None) -> Tensor:
    """Logits (B,) to a scalar. Real clips under other captions share the negatives' half (arXiv:1605.05396, eq. of
    algorithm 1); `mismatched` is None where the params ask for none, and may be empty."""
    negative = _as_negative(kind, fake).mean()
    if mismatched is not None and len(mismatched):
        negative = (negative + _as_negative(kind, mismatched).mean()) / 2
    return _as_positive(kind, real).mean() + negative


def generator_loss(kind: AdversarialLoss, fake: Tensor) -> Tensor:
    """Logits (B,) to a scalar: the non-saturating loss, or hinge's linear one."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def _as_positive(kind: AdversarialLoss, logits: Tensor) -> Tensor:
    return F.relu(1 - logits) if kind == "hinge" else F.softplus(-logits)


def _as_negative(kind: AdversarialLoss, logits: Tensor) -> Tensor:
    return F.relu(1 + logits) if kind == "hinge" else F.softplus(logits)


def r1_penalty(logits: Tensor, inputs: list[Tensor]) -> Tensor:
    """Half the mean squared gradient of real logits in their inputs (arXiv:1801.04406, eq. 9)."""
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return 0.5 * torch.stack([gradient.flatten(1).square().sum(1).mean() for gradient in gradients]).sum()


def contrastive_loss(
    video: Tensor,  # (B, D), unit vectors
    text: Tensor,  # (B, D)
    same: Tensor,  # bool (B, B): captions that are equal are no negatives
    negatives: Tensor | None = None,  # (B, R, D): of captions that only their own clip is compared with
    negatives_mask: Tensor | None = None,  # bool (B, R): which of them there are
    temperature: float = 0.1,
) -> Tensor:
    """Contrast of videos and captions in the batch (InfoNCE, both ways; arXiv:2101.04702 uses it in both
    networks). A clip is also compared with its own negatives."""
    logits = video @ text.T / temperature  # (B, B)
    others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = logits.masked_fill(others, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    offered = logits
    if negatives is not None and negatives_mask is not None:
        near = torch.einsum("bd,brd->br", video, negatives) / temperature  # (B, R)
        offered = torch.cat([logits, near.masked_fill(~negatives_mask, float("-inf"))], dim=1)
    return (F.cross_entropy(offered, target) + F.cross_entropy(logits.T, target)) / 2
