"""What a finished run leaves: the model folder, the loss tables and the metrics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.config.training import TrainParams
from pipeline.model_io.model_card import ModelCard, save_model
from pipeline.runtime.files import whole_folder
from pipeline.runtime.metrics import write_metrics
from pipeline.text.captions import EncoderInfo
from pipeline.text.vocabulary import vocabulary_of
from pipeline.training.feed import ClipFeed
from pipeline.training.run import TrainResult

log = logging.getLogger("t2v")

LAST_STEPS = 100  # over which the final loss is averaged: one step's depends on its draw of t


def write_outputs(
    result: TrainResult,
    dataset: str,
    sections: Mapping[str, BaseModel],  # unet, diffusion, train
    feed: ClipFeed,
    text: EncoderInfo | None,
    fps: float,
    *,
    model: Path,
    plots: Path,
    metrics: Path,
) -> None:
    """Only metrics/train.json holds what depends on the machine and the clock; the rest is the same bytes each time."""
    params = sections["train"]
    assert isinstance(params, TrainParams)
    learnt = training_metrics(result)
    card = ModelCard(
        family="unet",
        dataset=dataset,
        frames=params.frames,
        resolution=params.resolution,
        channels=params.channels,
        fps=fps,
        text=None if text is None else asdict(text),
        params={name: section.model_dump(mode="json") for name, section in sections.items()},
        steps=result.steps,
        seed=params.seed,
        clips_seen=result.clips_seen,
        vocabulary=vocabulary_of(feed.clips.index.distinct_captions()),
        metrics=learnt,
    )
    with whole_folder(model) as partial:
        save_model(partial, card, result.weights)
    result.history.write(plots)
    machine = {
        "device": result.device,
        "processes": result.processes,
        "precision": result.dtype,
        "seconds": round(result.seconds, 1),
        "clips_per_s": round(result.clips_per_s, 1),
        "data_wait_share": round(result.data_wait_share, 4),
    }
    write_metrics(metrics, learnt | machine | {"train_clips": len(feed.clips), "seed": params.seed})
    log.info(
        "%s: %d steps, %d clips seen in %.0f s, %s", model, result.steps, result.clips_seen, result.seconds, learnt
    )


def training_metrics(result: TrainResult) -> dict[str, Any]:
    """The numbers that follow from params and inputs alone."""
    last = [row.loss for row in result.history.steps[-LAST_STEPS:]]
    metrics: dict[str, Any] = {
        "loss": _rounded(sum(last) / len(last)),
        "steps": result.steps,
        "clips_seen": result.clips_seen,
        "parameters": result.parameters,
    }
    rows = result.history.last_validation()
    if rows:
        metrics["val_loss"] = _rounded(sum(row.loss for row in rows) / len(rows))
        metrics["val_x0_mse"] = _rounded(sum(row.x0_mse for row in rows) / len(rows))
        metrics["val_loss_by_t"] = {f"{row.t:g}": _rounded(row.loss) for row in rows}
    return metrics


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
