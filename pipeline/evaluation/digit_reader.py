"""A small network that names a handwritten digit in a crop, or says that there is none.

Crops are float32 (n, SIDE, SIDE) in [0, 1], white ink on black, cut by `digit_clips.cut_out`. Besides the ten digits it
learns an eleventh answer, "no digit", from crops that are torn, blurred or filled, so that it need not name what no
person could.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.evaluation.features import fit
from pipeline.params import JudgeParams

SIDE = 24  # px of a crop
NO_DIGIT = 10
SPOILT_SHARE = 0.15  # of a training batch that is made unreadable
TURN, SCALE, SHEAR, SHIFT = 0.25, 0.15, 0.2, 0.08  # rad, share, share, share of the crop: how people's hands differ
CHUNK = 1024


class DigitReader(nn.Module):
    """Crops (B, SIDE, SIDE) to logits (B, 11)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * (SIDE // 4) ** 2, 64),
            nn.ReLU(),
            nn.Linear(64, NO_DIGIT + 1),
        )

    def forward(self, crops: Tensor) -> Tensor:
        return self.layers(crops[:, None])


def train_digit_reader(crops: np.ndarray, digits: np.ndarray, judge: JudgeParams, device: torch.device) -> DigitReader:
    """Train on crops float32 (n, SIDE, SIDE) with their digits (n,), each visit turned, stretched and worn anew."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(judge.seed)
        reader = DigitReader().to(device)
        images, labels = torch.from_numpy(crops), torch.from_numpy(digits.astype(np.int64))
        generator = torch.Generator().manual_seed(judge.seed)

        def loss(index: Tensor) -> Tensor:
            batch, wanted = wear(images[index], labels[index], generator)
            return functional.cross_entropy(reader(batch.to(device)), wanted.to(device), label_smoothing=0.05)

        fit([reader], loss, len(crops), judge, desc="digit reader")
    return reader


@torch.no_grad()
def digit_log_probabilities(reader: DigitReader, crops: np.ndarray, device: torch.device) -> np.ndarray:
    """float32 (n, 11) of crops (n, SIDE, SIDE)."""
    images = torch.from_numpy(crops)
    parts = [reader(images[i : i + CHUNK].to(device)).log_softmax(-1).cpu() for i in range(0, len(images), CHUNK)]
    return torch.cat(parts).numpy() if parts else np.zeros((0, NO_DIGIT + 1), np.float32)


def wear(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Crops (B, SIDE, SIDE) as other hands and softer pictures would show them; some spoilt, and labelled so."""
    n = len(images)
    images = functional.grid_sample(
        images[:, None], functional.affine_grid(_affine(n, generator), [n, 1, SIDE, SIDE], align_corners=False),
        align_corners=False,
    )[:, 0]  # fmt: skip
    soft = torch.rand(n, 1, 1, generator=generator) * 0.7
    images = (1.0 - soft) * images + soft * _blur(images, 1)
    images = images * (0.7 + 0.3 * torch.rand(n, 1, 1, generator=generator))
    spoilt = torch.rand(n, generator=generator) < SPOILT_SHARE
    images = torch.where(spoilt[:, None, None], _spoil(images, generator), images)
    noise = 0.12 * torch.rand(n, 1, 1, generator=generator) * torch.randn(images.shape, generator=generator)
    return (images + noise).clamp(0.0, 1.0), torch.where(spoilt, NO_DIGIT, labels)


def _affine(n: int, generator: torch.Generator) -> Tensor:
    """Random affine maps (n, 2, 3)."""

    def spread(limit: float) -> Tensor:
        return limit * (2.0 * torch.rand(n, generator=generator) - 1.0)

    turn, shear = spread(TURN), spread(SHEAR)
    wide, high = 1.0 + spread(SCALE), 1.0 + spread(SCALE)
    cos, sin = torch.cos(turn), torch.sin(turn)
    rows = [wide * cos, shear - sin, 2.0 * spread(SHIFT), sin, high * cos, 2.0 * spread(SHIFT)]
    return torch.stack(rows, dim=1).view(n, 2, 3)


def _spoil(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crops torn into swapped quarters, blurred away, or filled."""
    half = SIDE // 2
    torn = torch.cat([images[:, half:], images[:, :half]], dim=1)
    torn = torch.cat([torn[:, :half], torch.roll(torn[:, half:], half, dims=2)], dim=1)
    blurred = _blur(images, 9)
    blob = (blurred > 0.25).float()
    kind = torch.randint(3, (len(images), 1, 1), generator=generator)
    return torch.where(kind == 0, torn, torch.where(kind == 1, blurred, blob))


def _blur(images: Tensor, times: int) -> Tensor:
    for _ in range(times):
        images = functional.avg_pool2d(images[:, None], 3, stride=1, padding=1)[:, 0]
    return images
