"""Tensors of a training step on their way to the device: clips, captions, noise and draws of some positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.diffusion.noise import Draws, noise_of_seeds, noise_on_device
from pipeline.model_io.tensors import to_model
from pipeline.text.captions import TextBatch
from pipeline.training.feed import ClipBatch


@dataclass(frozen=True)
class MicroBatch:
    """On the device: x0 and eps (b, C, F, H, W), t (b,)."""

    x0: Tensor
    eps: Tensor
    t: Tensor
    text: TextBatch
    drops: dict[str, Tensor]  # bool (b,): the network's drop_text, drop_pooled, focus_present, where asked for


@dataclass(frozen=True)
class HostBatch:
    """A micro-batch as the feeding thread left it: floats and noise for a CPU, pinned bytes for a GPU."""

    frames: Tensor  # float32 (b, C, F, H, W), or uint8 (b, F, H, W, C)
    eps: Tensor | None  # drawn on the GPU where None
    seeds: np.ndarray  # int64 (b,), of the noise
    text: TextBatch
    draws: Draws

    def to(self, device: torch.device) -> MicroBatch:
        frames = self.frames.to(device, non_blocking=True)
        x0 = to_model(frames).contiguous() if self.eps is None else frames
        eps = noise_on_device(self.seeds, tuple(x0.shape[1:]), device) if self.eps is None else self.eps
        drops = {
            "drop_text": self.draws.drop_text,
            "drop_pooled": self.draws.drop_pooled,
            "focus_present": self.draws.focus_present,
        }
        return MicroBatch(
            x0=x0,
            eps=eps,
            t=self.draws.t.to(device),
            text=self.text.to(device),
            drops={name: drop.to(device) for name, drop in drops.items() if drop is not None},
        )


def make_host_batch(
    clips: ClipBatch,
    text: TextBatch,
    draws: Draws,
    device: torch.device,  # where it will go
) -> HostBatch:
    if device.type != "cpu":
        return HostBatch(clips.frames.pin_memory(), None, clips.seeds, text, draws)
    x0 = to_model(clips.frames).contiguous()
    return HostBatch(x0, noise_of_seeds(clips.seeds, tuple(x0.shape[1:])), clips.seeds, text, draws)
