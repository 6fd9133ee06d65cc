"""Samples of the GAN to look at while it trains: the same prompts and seeds each time, at a fixed path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.clips import encode_gif
from pipeline.gan.generator import VideoGenerator
from pipeline.render import clip_grid, contact_sheet, write_image
from pipeline.tensors import to_frames
from pipeline.text import CaptionTable


@dataclass(frozen=True)
class GanPreview:
    """Where samples go while training: one for each prompt, seed k for prompt k, as a grid `columns` wide."""

    prompts: Sequence[str]
    columns: int
    fps: float
    folder: Path

    def write(self, network: VideoGenerator, texts: CaptionTable | None, step: int) -> Path:
        """latest.gif (all prompts), step-….png (a row of frames for the first ones) and prompts.txt."""
        text = texts.batch(self.prompts) if texts is not None else None
        with torch.no_grad():
            clips = to_frames(network.sample(text, self.prompts, range(len(self.prompts))))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_image(self.folder / f"step-{step:06d}.png", contact_sheet(list(clips[: 2 * self.columns])))
        (self.folder / "prompts.txt").write_text("\n".join(self.prompts) + "\n", encoding="utf-8")
        partial = self.folder / "latest.gif.partial"
        partial.write_bytes(encode_gif(clip_grid(clips, self.columns), self.fps))
        partial.replace(self.folder / "latest.gif")
        return self.folder / "latest.gif"
