"""Shares of signal and noise at diffusion time t in [0, 1]: x_t = alpha(t) x0 + sigma(t) eps.

Two dialects with one face. Flow is the straight line from data to noise. The cosine schedule is a table of DDPM's: its
betas, alphas_cumprod and integer steps stay in this module, and step k of a table of n is t = (k + 1) / n outside it.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Generator, Tensor

from pipeline.config.models import DiffusionParams

BETA_MAX = 0.999  # Nichol & Dhariwal 2021, section 3.2: no singularity at t = 1


class Schedule(Protocol):
    """alpha and sigma take t of any shape and return its shape and type."""

    def alpha(self, t: Tensor) -> Tensor: ...

    def sigma(self, t: Tensor) -> Tensor: ...

    def velocity_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) of v = a eps - b x0."""
        ...

    def sample_t(self, n: int, generator: Generator) -> Tensor:
        """(n,) training times, on the generator's device, one out of each n-th part of their distribution."""
        ...


class FlowSchedule:
    """x_t = (1 - t) x0 + t eps, with logit-normal training times (Esser et al. 2024, equation 19)."""

    def __init__(self, t_mean: float, t_std: float) -> None:
        self.t_mean, self.t_std = t_mean, t_std

    def alpha(self, t: Tensor) -> Tensor:
        return 1.0 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def velocity_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), torch.ones_like(t)

    def sample_t(self, n: int, generator: Generator) -> Tensor:
        normal = torch.special.ndtri(_spread_quantiles(n, generator))
        return torch.sigmoid(self.t_mean + self.t_std * normal).float()


class BetaSchedule:
    """Variance preserving, from a table of betas; between two steps alphas_cumprod is linear in t."""

    def __init__(self, betas: Tensor) -> None:
        self.betas = betas.double()
        self.alphas_cumprod = torch.cumprod(1.0 - self.betas, dim=0)
        self._from_zero = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod])

    def alpha(self, t: Tensor) -> Tensor:
        return self._signal_power(t).sqrt().to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        return (1.0 - self._signal_power(t)).sqrt().to(t.dtype)

    def velocity_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.alpha(t), self.sigma(t)  # Salimans & Ho 2022, appendix D

    def sample_t(self, n: int, generator: Generator) -> Tensor:
        steps = len(self.betas)
        return ((_spread_quantiles(n, generator) * steps).floor() + 1).float() / steps

    def _signal_power(self, t: Tensor) -> Tensor:
        """alpha(t)^2 in float64: alphas_cumprod, and 1 at t = 0."""
        table, steps = self._from_zero.to(t.device), len(self.betas)
        place = t.double() * steps
        left = place.floor().clamp(0, steps - 1)
        low, high = table[left.long()], table[left.long() + 1]
        return low + (place - left) * (high - low)


def cosine_betas(steps: int) -> Tensor:
    """Nichol & Dhariwal 2021, equation 17."""
    u = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    signal = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1.0 - signal[1:] / signal[:-1]).clamp(max=BETA_MAX)


def build_schedule(diffusion: DiffusionParams) -> Schedule:
    """The schedule of a params section."""
    if diffusion.schedule == "flow":
        return FlowSchedule(diffusion.t_mean, diffusion.t_std)
    return BetaSchedule(cosine_betas(diffusion.num_train_timesteps))


def _spread_quantiles(n: int, generator: Generator) -> Tensor:
    """(n,) float64 in [0, 1): evenly spread from one random start, in random order (Kingma et al. 2021, appendix I.1).

    Each is uniform by itself, and together they cover every noise level in each step: its loss varies less.
    """
    device = generator.device
    start = torch.rand(1, generator=generator, device=device, dtype=torch.float64)
    order = torch.randperm(n, generator=generator, device=device)
    return (start + order) / n
