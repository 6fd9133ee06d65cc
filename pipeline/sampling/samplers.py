"""From noise to data: samplers as free functions of one signature, `sample_x(denoise, x, times, *, generators)`.

`denoise` predicts x0 and knows its alpha and sigma, so each sampler serves flow and the beta schedules. `times` falls
from 1 (pure noise), or a little less, to 0. Stochastic samplers draw each sample's noise from its own generator, on the
CPU: neither the batch size nor the device changes a sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Generator, Tensor

from pipeline.sampling.guidance import VideoNetwork, guided_denoiser

if TYPE_CHECKING:
    from pipeline.config.models import SamplingParams
    from pipeline.diffusion.process import Diffusion
    from pipeline.text.captions import TextBatch

Callback = Callable[[int, int, Tensor], None]  # steps done, of how many, x0_pred


class Denoiser(Protocol):
    """(x_t (B, ...), t scalar tensor) -> x0_pred, with the schedule it was made for."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor: ...

    def alpha(self, t: Tensor) -> Tensor: ...

    def sigma(self, t: Tensor) -> Tensor: ...


class Sampler(Protocol):
    """Noise (B, ...) to data of its shape."""

    def __call__(
        self,
        denoise: Denoiser,
        x: Tensor,  # (B, ...) unit noise
        times: Tensor,  # (steps + 1,) falling to 0
        *,
        generators: Sequence[Generator] = (),  # one per sample where the sampler adds noise; else unused
        callback: Callback | None = None,
    ) -> Tensor: ...


def sample_euler(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generators: Sequence[Generator] = (),
    callback: Callback | None = None,
) -> Tensor:
    """First order along the straight line from x0_pred to eps_pred; the same as DDIM with eta 0."""
    return _walk(partial(_first_order, denoise), denoise, x, times, callback)


def sample_heun(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generators: Sequence[Generator] = (),
    callback: Callback | None = None,
) -> Tensor:
    """Second order, two evaluations a step but the last (Karras et al. 2022, algorithm 1).

    It runs in the coordinates in which each schedule is flow: y = x / (alpha + sigma), u = sigma / (alpha + sigma).
    """

    def update(x: Tensor, x0_pred: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        total, total_next = (denoise.alpha(s) + denoise.sigma(s) for s in (t, t_next))  # scalars
        u, u_next = denoise.sigma(t) / total, denoise.sigma(t_next) / total_next
        y = x / total  # (B, ...)
        slope = (y - x0_pred) / u
        y_next = y + (u_next - u) * slope
        if u_next > 0:
            slope_next = (y_next - denoise(y_next * total_next, t_next)) / u_next
            y_next = y + (u_next - u) * (slope + slope_next) / 2
        return y_next * total_next

    return _walk(update, denoise, x, times, callback)


def sample_ddim(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generators: Sequence[Generator] = (),
    callback: Callback | None = None,
    eta: float = 0.0,  # share of the ancestral noise; 0: deterministic
) -> Tensor:
    """Song et al. 2021, equations 12 and 16, in any alpha and sigma."""

    def update(x: Tensor, x0_pred: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        eps_pred = (x - denoise.alpha(t) * x0_pred) / denoise.sigma(t)  # (B, ...)
        noise_std = eta * posterior(denoise, t, t_next).variance.sqrt()  # scalar
        eps_share = (denoise.sigma(t_next) ** 2 - noise_std**2).clamp(min=0.0).sqrt()
        return _add_noise(denoise.alpha(t_next) * x0_pred + eps_share * eps_pred, noise_std, generators)

    return _walk(update, denoise, x, times, callback)


def sample_ddpm(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generators: Sequence[Generator] = (),
    callback: Callback | None = None,
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2): each step draws from the posterior at x0_pred."""

    def update(x: Tensor, x0_pred: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        step_back = posterior(denoise, t, t_next)
        return _add_noise(step_back.x0_share * x0_pred + step_back.x_share * x, step_back.variance.sqrt(), generators)

    return _walk(update, denoise, x, times, callback)


def sample_dpmpp_2m(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generators: Sequence[Generator] = (),
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order for one evaluation a step.

    Its clock, the log-SNR, is infinite where alpha or sigma is 0; a step that touches such an end is of first order.
    """
    previous, h_previous = x, math.inf  # of the step before; the first step has none

    def update(x: Tensor, x0_pred: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        nonlocal previous, h_previous
        h = _log_snr(denoise, t_next) - _log_snr(denoise, t)
        ahead = x0_pred
        if math.isfinite(h) and math.isfinite(h_previous):
            ahead = x0_pred + (h / (2 * h_previous)) * (x0_pred - previous)
        previous, h_previous = x0_pred, h
        return _first_order(denoise, x, ahead, t, t_next)

    return _walk(update, denoise, x, times, callback)


def sample_lcm(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    generators: Sequence[Generator] = (),
    callback: Callback | None = None,
) -> Tensor:
    """Each step forgets its noise and noises x0_pred anew (Song et al. 2023, algorithm 1; Luo et al. 2023).

    Made for consistency models. Other models gain by it where steps are few, as what a step got wrong is noised over.
    Their x0_pred is a mean, so at any number of steps what it draws varies less than the data.
    """

    def update(x: Tensor, x0_pred: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        return _add_noise(denoise.alpha(t_next) * x0_pred, denoise.sigma(t_next), generators)

    return _walk(update, denoise, x, times, callback)


SAMPLERS: dict[str, Sampler] = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "euler": sample_euler,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
    "lcm": sample_lcm,
}


@torch.no_grad()
def sample_video(
    model: VideoNetwork,
    diffusion: Diffusion,
    text: TextBatch | None,  # one caption a sample; None: the null caption
    sampling: SamplingParams,
    *,
    seeds: Sequence[int],  # one per sample
    shape: tuple[int, int, int, int],  # (C, F, H, W)
    device: torch.device | str,
    negative: TextBatch | None = None,
    given: Tensor | None = None,  # (B, C, K, H, W) in [-1, 1]: their first frames, of a network that takes frames
    callback: Callback | None = None,
) -> Tensor:
    """(B, C, F, H, W) float32 in [-1, 1], one sample a seed. The network has to be in eval mode."""
    assert not getattr(model, "training", False), "call model.eval() before sampling"
    if text is not None and len(text) != len(seeds):
        raise ValueError(f"{len(text)} captions for {len(seeds)} seeds: give one seed for each caption")
    text, negative = (None if each is None else each.to(device) for each in (text, negative))
    given = None if given is None else given.to(device)
    denoise = guided_denoiser(model, diffusion, text, sampling, negative, given)
    generators = seeded_generators(seeds)
    x = draw_noise(generators, shape).to(device)  # (B, C, F, H, W)
    times = diffusion.times(sampling.num_inference_steps, sampling.shift, sampling.t_start)  # (steps + 1,)
    if sampling.t_start < 1.0:  # noise alone, at the strength that it has there
        x = x * diffusion.sigma(times[0]).to(x)
    return build_sampler(sampling)(denoise, x, times, generators=generators, callback=callback)


def build_sampler(sampling: SamplingParams) -> Sampler:
    """The sampler that `sampling` names, with its eta bound."""
    if sampling.sampler == "ddim":
        return partial(sample_ddim, eta=sampling.eta)
    return SAMPLERS[sampling.sampler]


@dataclass(frozen=True)
class Posterior:
    """q(x_next | x_t, x0) = N(x0_share x0 + x_share x_t, variance), scalar tensors."""

    x0_share: Tensor
    x_share: Tensor
    variance: Tensor


def posterior(denoise: Denoiser, t: Tensor, t_next: Tensor) -> Posterior:
    """Ho et al. 2020, equation 7, in any alpha and sigma."""
    ratio = denoise.alpha(t) / denoise.alpha(t_next)
    power, power_next = denoise.sigma(t) ** 2, denoise.sigma(t_next) ** 2
    fresh = (power - ratio**2 * power_next).clamp(min=0.0)  # noise that the step from t_next to t added
    return Posterior(denoise.alpha(t_next) * fresh / power, ratio * power_next / power, power_next * fresh / power)


def seeded_generators(seeds: Sequence[int]) -> list[Generator]:
    """One generator on the CPU for each seed, in 0 to 2^32 - 1: it drops higher bits."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw_noise(generators: Sequence[Generator], shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """(B, *shape) unit noise on the CPU, each sample from its own generator."""
    return torch.stack([torch.randn(*shape, generator=each, dtype=dtype) for each in generators])


def draw_noise_like(x: Tensor, generators: Sequence[Generator]) -> Tensor:
    """Unit noise of the shape, type and device of x (B, ...), each sample from its own generator."""
    assert len(generators) == len(x), f"{len(generators)} generators for {len(x)} samples"
    return draw_noise(generators, x.shape[1:], x.dtype).to(x.device)


def _walk(
    update: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],  # (x, x0_pred, t, t_next) -> x at t_next
    denoise: Denoiser,
    x: Tensor,
    times: Tensor,
    callback: Callback | None,
) -> Tensor:
    """Denoise and update from each time to the next."""
    for step, (t, t_next) in enumerate(pairwise(times), start=1):  # scalars
        x0_pred = denoise(x, t)  # (B, ...)
        x = update(x, x0_pred, t, t_next)
        if callback is not None:
            callback(step, len(times) - 1, x0_pred)
    return x


def _first_order(denoise: Denoiser, x: Tensor, x0_pred: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """Keep the noise, replace the signal: alpha' x0_pred + sigma' eps_pred, with no division by alpha."""
    shrink = denoise.sigma(t_next) / denoise.sigma(t)
    return shrink * x + (denoise.alpha(t_next) - shrink * denoise.alpha(t)) * x0_pred


def _add_noise(x: Tensor, std: Tensor, generators: Sequence[Generator]) -> Tensor:
    """x (B, ...) with fresh noise of a scalar std; where std is 0, nothing is drawn."""
    return x + std * draw_noise_like(x, generators) if std > 0 else x


def _log_snr(denoise: Denoiser, t: Tensor) -> float:
    return float(torch.log(denoise.alpha(t)) - torch.log(denoise.sigma(t)))
