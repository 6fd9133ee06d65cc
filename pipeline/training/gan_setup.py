"""What a GAN run needs out of its inputs, and what it leaves: the model folder, the loss table and the metrics."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from pipeline.config.training import TrainGanParams
from pipeline.gan.discriminators import Discriminator
from pipeline.gan.generator import VideoGenerator
from pipeline.model_io.clip_dataset import (
    ClipShape,
    SplitIndex,
    index_split,
    open_clips,
    split_names,
    validation_split,
)
from pipeline.model_io.model_card import ModelCard, save_model
from pipeline.runtime.files import whole_folder
from pipeline.runtime.metrics import write_metrics
from pipeline.text.vocabulary import vocabulary_of
from pipeline.training.feed import ClipFeed
from pipeline.training.gan_loop import GanResult, write_losses
from pipeline.training.gan_preview import GanPreview

log = logging.getLogger("t2v")


def open_gan_feed(folder: Path, params: TrainGanParams) -> ClipFeed:
    """The train split's feed."""
    shape = ClipShape(params.frames, params.resolution, params.channels)
    clips = open_clips(folder, "train", shape, ram_budget_gb=params.ram_budget_gb)
    log.info("%s: %d train clips", folder, len(clips))
    return ClipFeed(clips, batch_size=params.batch_size, seed=params.seed)


def start_gan(params: TrainGanParams, index: SplitIndex) -> tuple[VideoGenerator, Discriminator]:
    """Both networks as `params.seed` starts them; they know the train captions' words."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return VideoGenerator(params, vocabulary_of(index.distinct_captions())), Discriminator(params)


def open_gan_preview(folder: Path, params: TrainGanParams, out: Path) -> GanPreview:
    """num_sample_rows squared prompts of the validation split, distinct as far as it has as many."""
    split = validation_split(split_names(folder)) or "train"
    index = index_split(folder, split)
    rows = params.num_sample_rows
    return GanPreview(index.prompts(rows**2), rows, index.playback_fps(params.frames), out)


def write_gan_outputs(
    result: GanResult,
    dataset: str,
    params: TrainGanParams,
    feed: ClipFeed,
    *,
    model: Path,
    plots: Path,
    metrics: Path,
) -> None:
    """Only the metrics' seconds and speed depend on the machine; the rest is the same bytes each time."""
    index = feed.clips.index
    learnt = result.last_losses() | {"steps": result.steps, "clips_seen": result.clips_seen}
    card = ModelCard(
        family="gan",
        dataset=dataset,
        frames=params.frames,
        resolution=params.resolution,
        channels=params.channels,
        fps=index.playback_fps(params.frames),
        text=None,
        params={"train_gan": params.model_dump(mode="json")},
        steps=result.steps,
        seed=params.seed,
        clips_seen=result.clips_seen,
        vocabulary=vocabulary_of(index.distinct_captions()),
        metrics=learnt,
    )
    with whole_folder(model) as partial:
        save_model(partial, card, result.weights)
    write_losses(plots / "loss.csv", result.history)
    machine = {
        "seconds": round(result.seconds, 1),
        "clips_per_s": round(result.clips_seen / result.seconds, 1),
        "parameters": sum(tensor.numel() for tensor in result.weights.values()),
        "words": len(card.vocabulary),
    }
    write_metrics(metrics, learnt | machine | {"train_clips": len(feed.clips), "seed": params.seed})
    log.info("%s: %d steps, %d clips seen in %.0f s", model, result.steps, result.clips_seen, result.seconds)
