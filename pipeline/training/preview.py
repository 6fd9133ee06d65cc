"""Samples to look at while a model trains: the same prompts and seeds each time, by the averaged weights.

No output follows from them, so nothing of this module, nor of the sampler that it is given, counts as training's code.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.config.training import LoopParams
from pipeline.data.gif import encode_gif
from pipeline.model_io.clip_dataset import index_split, split_names, validation_split
from pipeline.model_io.tensors import to_frames
from pipeline.render.clips import clip_grid, contact_sheet, write_image
from pipeline.runtime.files import write_bytes, write_text

Draw = Callable[[Any, Sequence[str]], Tensor]  # a network in eval mode and B prompts to (B, C, F, H, W) in [-1, 1]


@dataclass(frozen=True)
class Preview:
    """A sample for each prompt, seed k for prompt k, as a grid `columns` wide."""

    prompts: Sequence[str]
    columns: int
    fps: float
    folder: Path  # for what there is to look at
    draw: Draw

    def write(self, network: Any, step: int) -> Path:
        """Sample, and leave in samples/: latest.gif (all of them), step-….png (a row of frames each, of the first ones)
        and prompts.txt. Returns the GIF."""
        samples = self.folder / "samples"
        clips = to_frames(self.draw(network, self.prompts))
        write_image(samples / f"step-{step:06d}.png", contact_sheet(list(clips[: 2 * self.columns])))
        write_text(samples / "prompts.txt", "\n".join(self.prompts) + "\n")
        latest = samples / "latest.gif"
        write_bytes(latest, encode_gif(clip_grid(clips, self.columns), self.fps))
        return latest


def open_preview(
    shards: Path,
    params: LoopParams,
    draw: Draw,
    folder: Path,  # for what there is to look at
    *,
    known: Container[str] | None = None,  # captions that have vectors; None: all
) -> Preview:
    """num_sample_rows squared prompts, half of them of held-out combinations where the set has such."""
    names, count = split_names(shards), params.num_sample_rows**2
    unseen = index_split(shards, "held_out", known).prompts(count // 2) if "held_out" in names else []
    seen = index_split(shards, validation_split(names) or "train", known)
    prompts = seen.prompts(count - len(unseen)) + unseen
    return Preview(prompts, params.num_sample_rows, seen.playback_fps(params.frames), folder, draw)
