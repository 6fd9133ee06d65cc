"""Interpolation of two clips: both are noised to the same t with the same noise, mixed, and denoised under a caption.

With one noise for both, the mixture is exactly as noisy as the network expects at t, whatever the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.config.models import SamplingParams
from pipeline.diffusion.process import Diffusion
from pipeline.sampling.guidance import VideoNetwork, guided_denoiser
from pipeline.sampling.samplers import build_sampler, draw_noise_like, seeded_generators

if TYPE_CHECKING:
    from pipeline.text.captions import TextBatch


@torch.no_grad()
def interpolate_clips(
    model: VideoNetwork,
    diffusion: Diffusion,
    text: TextBatch | None,  # one caption a sample; None: the null caption
    first: Tensor,  # (B, C, F, H, W) in [-1, 1]
    second: Tensor,
    sampling: SamplingParams,
    *,
    weights: Sequence[float],  # one per sample: 0 is first, 1 is second
    t: float,  # in (0, 1): how much is forgotten before it is drawn anew
    seeds: Sequence[int],  # one per sample; the same seed along a row of weights makes it smooth
) -> Tensor:
    """(B, C, F, H, W) in [-1, 1], after Ho et al. 2020, section 4.4. The network has to be in eval mode."""
    assert not getattr(model, "training", False), "call model.eval() before sampling"
    if not 0.0 < t < 1.0:
        raise ValueError(f"t={t}: interpolation needs 0 < t < 1 (at 1 nothing of the clips is left)")
    if first.shape != second.shape:
        raise ValueError(f"clips of {tuple(first.shape)} and {tuple(second.shape)}: give two of one shape")
    if not len(weights) == len(seeds) == len(first):
        raise ValueError(f"{len(weights)} weights and {len(seeds)} seeds for {len(first)} clips: give one for each")
    if min(weights) < 0.0 or max(weights) > 1.0:
        raise ValueError(f"weights={list(weights)}: a weight is in [0, 1] (0: the first clip, 1: the second)")
    if text is not None and len(text) != len(first):
        raise ValueError(f"{len(text)} captions for {len(first)} clips: give one for each")

    generators = seeded_generators(seeds)
    mixed = torch.lerp(first, second, torch.tensor(weights).to(first).reshape(-1, 1, 1, 1, 1))  # (B, C, F, H, W)
    start = torch.tensor(t, dtype=torch.float64)
    x_t = diffusion.add_noise(mixed, draw_noise_like(mixed, generators), start)
    times = start * diffusion.times(sampling.num_inference_steps, sampling.shift)
    denoise = guided_denoiser(model, diffusion, None if text is None else text.to(first.device), sampling)
    return build_sampler(sampling)(denoise, x_t, times, generators=generators)
