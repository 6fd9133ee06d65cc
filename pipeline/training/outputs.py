"""Outputs of a finished run: the model folder, the loss tables and the metrics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from pipeline.model_io.model_card import ModelCard, save_model
from pipeline.runtime.files import whole_folder
from pipeline.runtime.metrics import write_metrics
from pipeline.text.vocabulary import vocabulary_of
from pipeline.training.loop import Run

log = logging.getLogger("t2v")


def write_outputs(
    run: Run,
    dataset: str,
    sections: Mapping[str, BaseModel],  # what the model folder records of the params, by name
    *,
    model: Path,
    plots: Path,
    metrics: Path,
) -> None:
    """Write a run's model folder, plots and metrics: the same bytes each time, but for the metrics of the machine."""
    trainer, params, index = run.trainer, run.params, run.trainer.feed.clips.index
    clips_seen = run.step * params.batch_size
    learnt = trainer.metrics(run.history) | {
        "steps": run.step,
        "clips_seen": clips_seen,
        "parameters": sum(weight.numel() for weight in trainer.ema.network.parameters()),
    }
    card = ModelCard(
        family=trainer.family,
        dataset=dataset,
        frames=params.frames,
        resolution=params.resolution,
        channels=params.channels,
        fps=index.playback_fps(params.frames),
        text=None if trainer.text is None else asdict(trainer.text),
        params={name: section.model_dump(mode="json") for name, section in sections.items()},
        steps=run.step,
        seed=params.seed,
        clips_seen=clips_seen,
        vocabulary=vocabulary_of(index.distinct_captions()),
        metrics=learnt,
    )
    with whole_folder(model) as partial:
        save_model(partial, card, run.weights(), trainer.origin)
    run.history.write(plots)
    facts = {**trainer.origin, "train_clips": len(trainer.feed.clips), "seed": params.seed}
    write_metrics(metrics, learnt | facts | machine_figures(run, clips_seen))
    log.info("%s: %d steps, %d clips seen in %.0f s, %s", model, run.step, clips_seen, run.seconds, learnt)


def machine_figures(run: Run, clips_seen: int) -> dict[str, Any]:
    """Metrics that depend on the machine and the clock."""
    return {
        "device": torch.cuda.get_device_name(run.dist.device) if run.dist.device.type == "cuda" else "cpu",
        "processes": run.dist.world_size,
        "precision": str(run.trainer.dtype).removeprefix("torch."),
        "seconds": round(run.seconds, 1),
        "clips_per_s": round(clips_seen / run.seconds, 1),
        "data_wait_share": round(run.wait_seconds / run.seconds, 4),
    }
