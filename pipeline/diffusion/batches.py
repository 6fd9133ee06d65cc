"""Tensors of a training step on their way to the device: clips, captions, noise and draws of some positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.diffusion.noise import Draws, GivenDraws, noise_of_seeds, noise_on_device
from pipeline.diffusion.unet.unet3d import given_mask
from pipeline.model_io.seeds import GIVEN_STREAM, derive_seed
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
    given: dict[str, Tensor]  # the network's given (b, C, F, H, W) and num_given (b,); empty: it is given no frames

    @property
    def asked(self) -> Tensor | None:
        """(b, 1, F, 1, 1): 1 for frames that the loss is of, the others being given; None: all.

        A given frame stands in the sample as it is, so the network's own drawing of it would go nowhere. Each frame
        that is asked for weighs the same, whatever is given beside it.
        """
        if not self.given:
            return None
        return (~given_mask(self.given["num_given"], self.x0.shape[2])).to(self.x0.dtype)[:, None, :, None, None]


@dataclass(frozen=True)
class HostBatch:
    """A micro-batch as the feeding thread left it: floats and noise for a CPU, pinned bytes for a GPU."""

    frames: Tensor  # float32 (b, C, F, H, W), or uint8 (b, F, H, W, C)
    eps: Tensor | None  # drawn on the GPU where None
    seeds: np.ndarray  # int64 (b,), of the noise
    text: TextBatch
    draws: Draws
    given: Tensor | None  # float32 (b, C, F, H, W); made on the GPU where None, or not at all

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
            given=self._given(x0),
        )

    def _given(self, x0: Tensor) -> dict[str, Tensor]:
        if self.draws.given is None:
            return {}
        frames = given_frames(x0, self.draws.given, self.seeds) if self.given is None else self.given
        return {"given": frames, "num_given": self.draws.given.count.to(x0.device)}


def make_host_batch(
    clips: ClipBatch,
    text: TextBatch,
    draws: Draws,
    device: torch.device,  # where it will go
) -> HostBatch:
    if device.type != "cpu":
        return HostBatch(clips.frames.pin_memory(), None, clips.seeds, text, draws, None)
    x0 = to_model(clips.frames).contiguous()
    given = None if draws.given is None else given_frames(x0, draws.given, clips.seeds)
    return HostBatch(x0, noise_of_seeds(clips.seeds, tuple(x0.shape[1:])), clips.seeds, text, draws, given)


def given_frames(x0: Tensor, draws: GivenDraws, seeds: np.ndarray) -> Tensor:
    """(b, C, F, H, W): the first frames of x0 that are given, with their noise; 0 where none is."""
    given = torch.zeros_like(x0)
    for row, (count, std) in enumerate(zip(draws.count.tolist(), draws.noise_std.tolist(), strict=True)):
        if count == 0:
            continue
        given[row, :, :count] = x0[row, :, :count]
        if std > 0.0:
            seed = np.array([derive_seed(int(seeds[row]), GIVEN_STREAM)])
            given[row, :, :count] += std * noise_on_device(seed, tuple(given[row, :, :count].shape), x0.device)[0]
    return given
