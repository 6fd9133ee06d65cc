"""Validation loss by noise level: the same clips, captions, noise and levels each time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config.training import TrainParams
from pipeline.diffusion.noise import noise_of_seeds
from pipeline.diffusion.process import Diffusion
from pipeline.model_io.clip_dataset import (
    VALIDATION_SPLITS,
    index_split,
    split_names,
    validation_split,
)
from pipeline.model_io.clip_decoding import ClipShape, decode_block
from pipeline.model_io.seeds import NOISE_STREAM, derive_seed
from pipeline.model_io.tensors import to_model
from pipeline.text.captions import CaptionTable, TextBatch

log = logging.getLogger("t2v")

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # of t: dense where a video's structure is settled
MAX_CLIPS = 128


@dataclass(frozen=True)
class ValidationRow:
    step: int
    t: float  # noise level, 1 is pure noise
    loss: float  # as in training
    x0_mse: float  # mean squared error of x0_pred in [-1, 1] units, comparable between objectives


@dataclass(frozen=True)
class Validation:
    """Clips uint8 (N, F, H, W, C) and their captions."""

    frames: np.ndarray
    text: TextBatch | None
    batch_size: int
    levels: Sequence[float] = LEVELS

    @torch.no_grad()
    def measure(
        self,
        network: nn.Module,  # in eval mode
        diffusion: Diffusion,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
        step: int,
    ) -> list[ValidationRow]:
        """One row a level. Noise is drawn on the CPU: the same on each device."""
        totals = torch.zeros(len(self.levels), 2, dtype=torch.float64)
        for start in range(0, len(self.frames), self.batch_size):
            numbers = torch.arange(start, min(start + self.batch_size, len(self.frames)))
            x0 = to_model(self.frames[start : start + self.batch_size]).contiguous()
            seeds = np.array([derive_seed(int(number), NOISE_STREAM) for number in numbers])
            eps = noise_of_seeds(seeds, tuple(x0.shape[1:])).to(device)
            text = None if self.text is None else self.text.select(numbers).to(device)
            for row, level in enumerate(self.levels):
                with autocast():
                    totals[row] += _errors(network, diffusion, x0.to(device), eps, text, level)
        means = (totals / len(self.frames)).tolist()
        return [ValidationRow(step, level, *mean) for level, mean in zip(self.levels, means, strict=True)]


def open_validation(shards: Path, params: TrainParams, texts: CaptionTable) -> Validation | None:
    """Up to MAX_CLIPS clips of the validation split; None, with a log line, where the set has none."""
    split = validation_split(split_names(shards))
    if split is None:
        log.info("%s has no split of %s: no validation loss", shards, ", ".join(VALIDATION_SPLITS))
        return None
    index = index_split(shards, split, texts.index)
    count = min(MAX_CLIPS, len(index.keys))
    needed = [block for block in index.blocks if block.first < count]
    shape = ClipShape(params.frames, params.resolution, params.channels)
    frames = np.concatenate([decode_block(block, shape) for block in needed])[:count]
    text = texts.batch([captions[0] for captions in index.captions[:count]])
    return Validation(frames, text, params.batch_size)


def _errors(
    network: nn.Module, diffusion: Diffusion, x0: Tensor, eps: Tensor, text: TextBatch | None, level: float
) -> Tensor:
    """(2,) float64: the sums over samples of the loss and of the squared error of x0_pred."""
    t = torch.full((len(x0),), level, device=x0.device)
    x_t = diffusion.add_noise(x0, eps, t)
    model_output = network(x_t, t, text).float()
    loss = diffusion.loss(model_output, x0, eps, x_t, t)
    squared = (diffusion.to_x0(model_output, x_t, t) - x0).square().flatten(1).mean(1)
    return torch.stack([loss.double().sum(), squared.double().sum()]).cpu()
