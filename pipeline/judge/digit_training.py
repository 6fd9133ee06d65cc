"""Training of the digit classifier, with augmentation: crops warped, thickened, softened, and some made unreadable."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config.evaluation import JudgeParams
from pipeline.judge.features import fit
from pipeline.judge.oracles.digit_classifier import NO_DIGIT, SIDE, DigitReader

NON_DIGIT_SHARE = 0.08  # of a training batch that is made unreadable
CLEAN_SHARE = 0.4  # of a training batch that stays as crisp as the generator draws: else crisp comes to mean "no digit"
TURN, SCALE, SHEAR, SHIFT = 0.25, 0.15, 0.2, 0.08  # rad, share, share, share of the crop: how people's hands differ
BEND = 0.06  # standard deviation, of half the crop, by which the nodes of a 5 x 5 net are moved
PEN = 0.7  # of a pixel's neighbourhood: how much thicker or thinner a stroke may become
LR_TIMES, STEPS_TIMES = 3.0, 1.5  # of judge.lr and judge.steps: a small network takes larger steps, and cheap ones


def train_digit_reader(crops: np.ndarray, digits: np.ndarray, params: JudgeParams, device: torch.device) -> DigitReader:
    """Train on crops float32 (n, SIDE, SIDE) with their digits (n,), augmented anew at each visit."""
    own = params.model_copy(update={"lr": LR_TIMES * params.lr, "steps": round(STEPS_TIMES * params.steps)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        reader = DigitReader().to(device)
        images, labels = torch.from_numpy(crops), torch.from_numpy(digits.astype(np.int64))
        generator = torch.Generator().manual_seed(params.seed)

        def loss(index: Tensor) -> Tensor:
            batch, wanted = augment(images[index], labels[index], generator)
            return functional.cross_entropy(reader(batch.to(device)), wanted.to(device), label_smoothing=0.05)

        fit([reader], loss, len(crops), own, desc="digit reader")
    return reader


def augment(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Crops (B, SIDE, SIDE) as other writers, pens and softer pictures would show them; some unreadable, labelled so.

    The unreadable ones are softened afterwards like the rest, so that only their form tells.
    """
    n = len(images)

    def share() -> Tensor:
        return torch.rand(n, 1, 1, generator=generator)

    images = stroke_width(warp(images, generator), 2.0 * share() - 1.0)
    ruined = share() < NON_DIGIT_SHARE
    images = torch.where(ruined, make_non_digits(images, labels, generator), images)
    wear = (share() >= CLEAN_SHARE) * share()
    soft = 0.7 * wear * share()
    images = (1.0 - soft) * images + soft * _blur(images, 1)
    images = images * (1.0 - 0.3 * wear * share())
    noise = 0.12 * wear * share() * torch.randn(images.shape, generator=generator)
    return (images + noise).clamp(0.0, 1.0), torch.where(ruined[:, 0, 0], NO_DIGIT, labels)


def warp(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crops turned, stretched, shifted and bent."""
    n = len(images)
    grid = functional.affine_grid(_affine(n, generator), [n, 1, SIDE, SIDE], align_corners=False)
    nodes = BEND * torch.randn(n, 2, 5, 5, generator=generator)
    bend = functional.interpolate(nodes, (SIDE, SIDE), mode="bicubic", align_corners=True)
    return functional.grid_sample(images[:, None], grid + bend.permute(0, 2, 3, 1), align_corners=False)[:, 0]


def stroke_width(images: Tensor, thicker: Tensor) -> Tensor:
    """Crops with strokes thicker (1) or thinner (-1) by up to PEN; `thicker` is (B, 1, 1)."""
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


def make_non_digits(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
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
