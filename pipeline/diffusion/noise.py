"""Random numbers of a training step beside the choice of clips: times, noise, dropped captions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pipeline.diffusion.process import Diffusion
from pipeline.model_io.seeds import DRAW_STREAM, derive_seed


@dataclass(frozen=True)
class DropShares:
    """Shares of the batch: captions replaced by the null caption, pooled vectors hidden, time attention stilled."""

    text: float
    pooled: float
    focus: float


@dataclass(frozen=True)
class Draws:
    """Of some positions of a step's batch; each (b,)."""

    t: Tensor  # float32
    drop_text: Tensor  # bool
    drop_pooled: Tensor | None  # bool; None: a network that is not asked to
    focus_present: Tensor | None  # bool; None: likewise

    def at(self, positions: slice) -> Draws:
        """Those of some positions."""
        pooled, focus = (None if each is None else each[positions] for each in (self.drop_pooled, self.focus_present))
        return Draws(self.t[positions], self.drop_text[positions], pooled, focus)


def draw_step(diffusion: Diffusion, shares: DropShares, *, seed: int, step: int, batch_size: int) -> Draws:
    """Those of a step's whole global batch: who trains which part of it changes no position's draw."""
    generator = torch.Generator().manual_seed(derive_seed(seed, step, DRAW_STREAM))
    t = diffusion.sample_t(batch_size, generator)
    u = torch.rand(3, batch_size, generator=generator)
    return Draws(
        t=t,
        drop_text=u[0] < shares.text,
        drop_pooled=u[1] < shares.pooled if shares.pooled else None,
        focus_present=u[2] < shares.focus if shares.focus else None,
    )


@cache
def _normal_quantiles() -> Tensor:
    """The 65,536 mid-quantiles of the unit normal, scaled to variance 1; they end at ±4.3."""
    table = torch.special.ndtri((torch.arange(65536, dtype=torch.float64) + 0.5) / 65536)
    return (table / table.square().mean().sqrt()).float()


def noise_of_seeds(seeds: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """(len(seeds), *shape) unit noise on the CPU, each sample by its own seed.

    16 random bits look up a quantile of the normal: a third of the time of torch.randn, which at 64 px was a fifth of
    a training step on two cores.
    """
    count = int(np.prod(shape))
    out = torch.empty(len(seeds), count)
    for row, seed in zip(out, seeds, strict=True):
        words = np.random.Generator(np.random.SFC64(int(seed))).integers(2**64, size=-(-count // 4), dtype=np.uint64)
        index = torch.from_numpy(words.view(np.uint16)[:count]).int()
        torch.index_select(_normal_quantiles(), 0, index, out=row)
    return out.view(len(seeds), *shape)


def noise_on_device(seeds: np.ndarray, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The same contract drawn where the network is; another device gives other noise."""
    if device.type == "cpu":
        return noise_of_seeds(seeds, shape)
    out = torch.empty(len(seeds), *shape, device=device)
    generator = torch.Generator(device)
    for sample, seed in zip(out, seeds, strict=True):
        sample.normal_(generator=generator.manual_seed(int(seed)))
    return out
