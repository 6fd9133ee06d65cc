"""Random numbers of a training step beside the choice of clips: times, noise, dropped captions, given frames."""

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
class GivenShares:
    """Share of the clips that are given first frames, how many (one of `counts`), and how noisy at most, over t."""

    counts: tuple[int, ...]
    share: float
    noise: float


@dataclass(frozen=True)
class GivenDraws:
    """First frames of some positions that the network is given; each (b,)."""

    count: Tensor  # int64; 0: none
    noise_std: Tensor  # float32, in the pixels' [-1, 1]

    def at(self, positions: slice) -> GivenDraws:
        """Those of some positions."""
        return GivenDraws(self.count[positions], self.noise_std[positions])


@dataclass(frozen=True)
class Draws:
    """Of some positions of a step's batch; each (b,)."""

    t: Tensor  # float32
    drop_text: Tensor  # bool
    drop_pooled: Tensor | None  # bool; None: a network that is not asked to
    focus_present: Tensor | None  # bool; None: likewise
    given: GivenDraws | None = None  # None: a network that is not given frames

    def at(self, positions: slice) -> Draws:
        """Those of some positions."""
        pooled, focus = (None if each is None else each[positions] for each in (self.drop_pooled, self.focus_present))
        given = None if self.given is None else self.given.at(positions)
        return Draws(self.t[positions], self.drop_text[positions], pooled, focus, given)


def draw_step(
    diffusion: Diffusion,
    shares: DropShares,
    given: GivenShares | None = None,  # None: no clip is given any of its frames
    *,
    seed: int,
    step: int,
    batch_size: int,
) -> Draws:
    """Those of a step's whole global batch: who trains which part of it changes no position's draw."""
    generator = torch.Generator().manual_seed(derive_seed(seed, step, DRAW_STREAM))
    t = diffusion.sample_t(batch_size, generator)
    u = torch.rand(3, batch_size, generator=generator)
    return Draws(
        t=t,
        drop_text=u[0] < shares.text,
        drop_pooled=u[1] < shares.pooled if shares.pooled else None,
        focus_present=u[2] < shares.focus if shares.focus else None,
        given=None if given is None else _draw_given(given, t, generator),  # last: the draws above stay what they are
    )


def _draw_given(shares: GivenShares, t: Tensor, generator: torch.Generator) -> GivenDraws:
    """Noise is even between none and `shares.noise` t.

    A given frame that is clean at each t is copied: the more so the less x_t says, until nothing moves (Zhao et al.
    2024, arXiv 2406.15735, who noise it the more the higher t). Levels down to none are among the draws, for samples
    go on from clean frames, or from the model's own.
    """
    u = torch.rand(3, len(t), generator=generator)
    counts = torch.tensor(shares.counts)[(u[1] * len(shares.counts)).long()]
    return GivenDraws(torch.where(u[0] < shares.share, counts, 0), shares.noise * t * u[2])


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
