"""Samples of a diffusion network in training: what its stage hands to the loop, which knows no sampler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.config.models import DiffusionParams, SamplingParams
from pipeline.config.training import LoopParams
from pipeline.diffusion.process import Diffusion
from pipeline.sampling.samplers import sample_video
from pipeline.text.captions import CaptionTable
from pipeline.training.preview import Draw


def draw_by(
    sampling: SamplingParams,
    diffusion: DiffusionParams,
    params: LoopParams,
    texts: CaptionTable,
    device: torch.device,
) -> Draw:
    """A function from a network and prompts to their samples (B, C, F, H, W), seed k for prompt k."""

    def draw(network: nn.Module, prompts: Sequence[str]) -> Tensor:
        return sample_video(
            network,
            Diffusion(diffusion),
            texts.batch(prompts),
            sampling,
            seeds=range(len(prompts)),
            shape=(params.channels, params.frames, params.resolution, params.resolution),
            device=device,
        )

    return draw
