"""What a run needs out of its inputs: the set's folder, the embeddings table and the params sections."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.config.models import SamplingParams, UnetParams
from pipeline.config.training import TrainParams
from pipeline.diffusion.unet.unet3d import UNet3D, build_unet
from pipeline.diffusion.validation import MAX_CLIPS, Validation
from pipeline.model_io.clip_dataset import (
    VALIDATION_SPLITS,
    ClipShape,
    SplitIndex,
    decode_block,
    index_split,
    open_clips,
    split_names,
    validation_split,
)
from pipeline.text.captions import CaptionTable
from pipeline.training.feed import ClipFeed
from pipeline.training.preview import Preview

log = logging.getLogger("t2v")

STD_MIN = 1e-3  # of a caption dimension that hardly varies


def clip_shape(params: TrainParams) -> ClipShape:
    return ClipShape(params.frames, params.resolution, params.channels)


def open_feed(folder: Path, params: TrainParams, texts: CaptionTable | None) -> ClipFeed:
    """The train split's feed; clips without a caption in the table are left out, and counted in the log."""
    known = None if texts is None else texts.index
    clips = open_clips(folder, "train", clip_shape(params), ram_budget_gb=params.ram_budget_gb, known=known)
    log.info(
        "%s: %d train clips %s%s",
        folder,
        len(clips),
        "in memory" if clips.window == 0 else f"streamed through {2 * clips.window} of them",
        f", {clips.index.dropped} left out for want of a known caption" if clips.index.dropped else "",
    )
    return ClipFeed(clips, batch_size=params.batch_size, seed=params.seed, flip=params.flip)


def start_network(unet: UnetParams, params: TrainParams, texts: CaptionTable, index: SplitIndex) -> UNet3D:
    """The network as `params.seed` starts it, with the statistics of the train captions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        network = build_unet(
            unet,
            frames=params.frames,
            resolution=params.resolution,
            channels=params.channels,
            text_width=texts.info.width,
        )
    network.set_text_statistics(*text_statistics(texts, index.distinct_captions()))
    return network


def text_statistics(texts: CaptionTable, captions: list[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pooled mean and deviation, token mean and deviation, each (D,), over distinct captions and their real tokens."""
    pooled, tokens = _Moments(texts.info.width), _Moments(texts.info.width)
    for start in range(0, len(captions), 1024):
        batch = texts.batch(captions[start : start + 1024])
        pooled.add(batch.pooled)
        tokens.add(batch.tokens[batch.mask])
    return *pooled.result(), *tokens.result()


class _Moments:
    """Mean and deviation of rows, block by block, in float64."""

    def __init__(self, width: int) -> None:
        self.count, self.total = 0, torch.zeros(2, width, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        self.count += len(rows)
        self.total += torch.stack([rows.double().sum(0), rows.double().square().sum(0)])

    def result(self) -> tuple[Tensor, Tensor]:
        mean, square = self.total / self.count
        return mean.float(), (square - mean.square()).clamp(min=0.0).sqrt().float().clamp(min=STD_MIN)


def open_validation(folder: Path, params: TrainParams, texts: CaptionTable | None) -> Validation | None:
    """Up to MAX_CLIPS clips of the validation split; None, with a log line, where the set has none."""
    split = validation_split(split_names(folder))
    if split is None:
        log.info("%s has no split of %s: no validation loss", folder, ", ".join(VALIDATION_SPLITS))
        return None
    index = index_split(folder, split, None if texts is None else texts.index)
    count = min(MAX_CLIPS, len(index.keys))
    needed = [block for block in index.blocks if block.first < count]
    frames = np.concatenate([decode_block(block, clip_shape(params)) for block in needed])[:count]
    text = None if texts is None else texts.batch([captions[0] for captions in index.captions[:count]])
    return Validation(frames, text, params.batch_size)


def open_preview(
    folder: Path, params: TrainParams, sampling: SamplingParams, texts: CaptionTable | None, out: Path, fps: float
) -> Preview:
    """num_sample_rows squared prompts, half of them of held-out combinations where the set has such."""
    names, count = split_names(folder), params.num_sample_rows**2
    known = None if texts is None else texts.index
    unseen = index_split(folder, "held_out", known).prompts(count // 2) if "held_out" in names else []
    seen = index_split(folder, validation_split(names) or "train", known).prompts(count - len(unseen))
    prompts = seen + unseen
    shape = (params.channels, params.frames, params.resolution, params.resolution)
    text = None if texts is None else texts.batch(prompts)
    return Preview(prompts, text, params.num_sample_rows, shape, fps, sampling, out)
