"""Training of the digit classifier: each visit to a crop shows it turned, stretched, worn, and sometimes unreadable."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config.params import JudgeParams
from pipeline.judge.features import fit
from pipeline.judge.oracles.digit_classifier import NO_DIGIT, SIDE, DigitReader

SPOILT_SHARE = 0.08  # of a training batch that is made unreadable
CLEAN_SHARE = 0.4  # of a training batch that stays as crisp as the generator draws: else crisp comes to mean spoilt
TURN, SCALE, SHEAR, SHIFT = 0.25, 0.15, 0.2, 0.08  # rad, share, share, share of the crop: how people's hands differ
BEND = 0.06  # standard deviation, of half the crop, by which the nodes of a 5 x 5 net are moved
PEN = 0.7  # of a pixel's neighbourhood: how much thicker or thinner a stroke may become
LR_TIMES, STEPS_TIMES = 3.0, 1.5  # of judge.lr and judge.steps: a small network takes larger steps, and cheap ones


def train_digit_reader(crops: np.ndarray, digits: np.ndarray, judge: JudgeParams, device: torch.device) -> DigitReader:
    """Train on crops float32 (n, SIDE, SIDE) with their digits (n,), each visit turned, stretched and worn anew."""
    own = judge.model_copy(update={"lr": LR_TIMES * judge.lr, "steps": round(STEPS_TIMES * judge.steps)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(judge.seed)
        reader = DigitReader().to(device)
        images, labels = torch.from_numpy(crops), torch.from_numpy(digits.astype(np.int64))
        generator = torch.Generator().manual_seed(judge.seed)

        def loss(index: Tensor) -> Tensor:
            batch, wanted = wear(images[index], labels[index], generator)
            return functional.cross_entropy(reader(batch.to(device)), wanted.to(device), label_smoothing=0.05)

        fit([reader], loss, len(crops), own, desc="digit reader")
    return reader


def wear(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Crops (B, SIDE, SIDE) as other hands and pens and softer pictures would show them; some spoilt, and labelled so.

    What is spoilt is worn afterwards like the rest, so that only its form tells.
    """
    n = len(images)

    def share() -> Tensor:
        return torch.rand(n, 1, 1, generator=generator)

    images = _other_pen(_other_hand(images, generator), 2.0 * share() - 1.0)
    spoilt = share() < SPOILT_SHARE
    images = torch.where(spoilt, _spoil(images, labels, generator), images)
    worn = (share() >= CLEAN_SHARE) * share()
    soft = 0.7 * worn * share()
    images = (1.0 - soft) * images + soft * _blur(images, 1)
    images = images * (1.0 - 0.3 * worn * share())
    noise = 0.12 * worn * share() * torch.randn(images.shape, generator=generator)
    return (images + noise).clamp(0.0, 1.0), torch.where(spoilt[:, 0, 0], NO_DIGIT, labels)


def _other_hand(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turned, stretched, shifted and bent."""
    n = len(images)
    grid = functional.affine_grid(_affine(n, generator), [n, 1, SIDE, SIDE], align_corners=False)
    nodes = BEND * torch.randn(n, 2, 5, 5, generator=generator)
    bend = functional.interpolate(nodes, (SIDE, SIDE), mode="bicubic", align_corners=True)
    return functional.grid_sample(images[:, None], grid + bend.permute(0, 2, 3, 1), align_corners=False)[:, 0]


def _other_pen(images: Tensor, thicker: Tensor) -> Tensor:
    """Strokes thicker (1) or thinner (-1) by up to PEN, in (B, 1, 1)."""
    fat = functional.max_pool2d(images[:, None], 3, stride=1, padding=1)[:, 0]
    thin = -functional.max_pool2d(-images[:, None], 3, stride=1, padding=1)[:, 0]
    return images + PEN * (thicker.clamp(min=0.0) * (fat - images) + (-thicker).clamp(min=0.0) * (thin - images))


def _affine(n: int, generator: torch.Generator) -> Tensor:
    """Random affine maps (n, 2, 3)."""

    def spread(limit: float) -> Tensor:
        return limit * (2.0 * torch.rand(n, generator=generator) - 1.0)

    turn, shear = spread(TURN), spread(SHEAR)
    wide, high = 1.0 + spread(SCALE), 1.0 + spread(SCALE)
    cos, sin = torch.cos(turn), torch.sin(turn)
    rows = [wide * cos, shear - sin, 2.0 * spread(SHIFT), sin, high * cos, 2.0 * spread(SHIFT)]
    return torch.stack(rows, dim=1).view(n, 2, 3)


def _spoil(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Crops torn into swapped quarters, blurred away, or filled; a 1 only torn, for else it is still a 1."""
    half = SIDE // 2
    torn = torch.cat([images[:, half:], images[:, :half]], dim=1)
    torn = torch.cat([torn[:, :half], torch.roll(torn[:, half:], half, dims=2)], dim=1)
    blurred = _blur(images, 9)
    blob = (blurred > 0.25).float()
    kind = torch.randint(3, (len(images),), generator=generator) * (labels != 1)
    kind = kind[:, None, None]
    return torch.where(kind == 0, torn, torch.where(kind == 1, blurred, blob))


def _blur(images: Tensor, times: int) -> Tensor:
    for _ in range(times):
        images = functional.avg_pool2d(images[:, None], 3, stride=1, padding=1)[:, 0]
    return images
