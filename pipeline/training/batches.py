"""A training step's tensors: clips, captions and draws of this process's positions, ready for the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.diffusion.noise import Draws, DropShares, draw_step, noise_of_seeds, noise_on_device
from pipeline.diffusion.process import Diffusion
from pipeline.model_io.tensors import to_model
from pipeline.text.captions import CaptionTable, TextBatch
from pipeline.training.feed import ClipFeed


@dataclass(frozen=True)
class Prepared:
    """A micro-batch as the feeding thread left it: floats for a CPU, pinned bytes for a GPU."""

    frames: Tensor  # float32 (b, C, F, H, W), or uint8 (b, F, H, W, C)
    eps: Tensor | None  # drawn on the GPU where None
    seeds: np.ndarray
    text: TextBatch | None
    draws: Draws
    position: int  # of its first clip in the global batch


@dataclass(frozen=True)
class MicroBatch:
    """On the device: x0 and eps (b, C, F, H, W)."""

    x0: Tensor
    eps: Tensor
    t: Tensor
    text: TextBatch | None
    drops: dict[str, Tensor]  # the network's arguments drop_text, drop_pooled, focus_present, where asked for
    position: int


def preparer(
    feed: ClipFeed,
    texts: CaptionTable | None,
    diffusion: Diffusion,
    shares: DropShares,
    positions: list[slice],
    device: torch.device,
) -> Callable[[int], list[Prepared]]:
    """A function from step to its micro-batches, for `prefetch`."""

    def prepare(step: int) -> list[Prepared]:
        return [_prepare(step, part) for part in positions]

    def _prepare(step: int, part: slice) -> Prepared:
        clips = feed.batch(step, part.start, part.stop)
        draws = draw_step(
            diffusion,
            shares,
            seed=feed.seed,
            step=step,
            batch_size=feed.batch_size,
            start=part.start,
            stop=part.stop,
        )
        text = None if texts is None else texts.batch(clips.captions)
        if device.type != "cpu":
            return Prepared(clips.frames.pin_memory(), None, clips.seeds, text, draws, part.start)
        x0 = to_model(clips.frames).contiguous()
        return Prepared(x0, noise_of_seeds(clips.seeds, tuple(x0.shape[1:])), clips.seeds, text, draws, part.start)

    return prepare


def to_device(prepared: Prepared, device: torch.device) -> MicroBatch:
    frames, draws = prepared.frames.to(device, non_blocking=True), prepared.draws
    x0 = to_model(frames).contiguous() if prepared.eps is None else frames
    eps = noise_on_device(prepared.seeds, tuple(x0.shape[1:]), device) if prepared.eps is None else prepared.eps
    drops = {
        "drop_text": draws.drop_text if prepared.text is not None else None,
        "drop_pooled": draws.drop_pooled if prepared.text is not None else None,
        "focus_present": draws.focus_present,
    }
    return MicroBatch(
        x0=x0,
        eps=eps,
        t=draws.t.to(device),
        text=None if prepared.text is None else prepared.text.to(device),
        drops={name: drop.to(device) for name, drop in drops.items() if drop is not None},
        position=prepared.position,
    )
