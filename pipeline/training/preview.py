"""Samples to look at while a model trains: the same prompts and seeds each time, by the EMA weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.config.models import SamplingParams
from pipeline.data.gif import encode_gif
from pipeline.diffusion.process import Diffusion
from pipeline.model_io.tensors import to_frames
from pipeline.render.clips import clip_grid, contact_sheet, write_image
from pipeline.sampling.samplers import sample_video
from pipeline.text.captions import TextBatch


@dataclass(frozen=True)
class Preview:
    """One sample for each prompt, seed k for prompt k, as a grid `columns` wide."""

    prompts: Sequence[str]
    text: TextBatch | None
    columns: int
    shape: tuple[int, int, int, int]  # (C, F, H, W)
    fps: float
    sampling: SamplingParams
    folder: Path

    def write(self, network: nn.Module, diffusion: Diffusion, device: torch.device, step: int) -> Path:
        """Sample, and leave `write_samples`' files in `folder`."""
        video = sample_video(
            network,
            diffusion,
            self.text,
            self.sampling,
            seeds=range(len(self.prompts)),
            shape=self.shape,
            device=device,
        )
        return write_samples(self.folder, step, video, self.prompts, columns=self.columns, fps=self.fps)


def write_samples(
    folder: Path,
    step: int,
    video: Tensor,  # (B, C, F, H, W) in [-1, 1], one for each prompt
    prompts: Sequence[str],
    *,
    columns: int,
    fps: float,
) -> Path:
    """latest.gif (all samples), step-….png (a row of frames for the first ones) and prompts.txt; returns the GIF."""
    clips = to_frames(video)
    folder.mkdir(parents=True, exist_ok=True)
    write_image(folder / f"step-{step:06d}.png", contact_sheet(list(clips[: 2 * columns])))
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    partial = folder / "latest.gif.partial"
    partial.write_bytes(encode_gif(clip_grid(clips, columns), fps))
    partial.replace(folder / "latest.gif")
    return folder / "latest.gif"
