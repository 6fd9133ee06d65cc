"""Samples of the GAN to look at while it trains: the same prompts and seeds each time, at a fixed path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.gan.generator import VideoGenerator
from pipeline.training.preview import write_samples


@dataclass(frozen=True)
class GanPreview:
    """Where samples go while training: one for each prompt, seed k for prompt k, as a grid `columns` wide."""

    prompts: Sequence[str]
    columns: int
    fps: float
    folder: Path

    def write(self, network: VideoGenerator, step: int) -> Path:
        """Sample, and leave `write_samples`' files in `folder`."""
        with torch.no_grad():
            video = network.sample(self.prompts, range(len(self.prompts)))
        return write_samples(self.folder, step, video, self.prompts, columns=self.columns, fps=self.fps)
