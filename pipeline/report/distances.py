"""Distances from real video as a table; keys are of metrics/evaluate/<model>.json, named on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.gather import ModelResult, Run
from pipeline.report.overview import NEAREST


@dataclass(frozen=True)
class Distance:
    """A row of the table."""

    name: str
    key: str
    floor: str | None
    how: str
    style: str = "number"
    ideal: str = ""


DISTANCES = (
    Distance(
        "Fréchet", "frechet.distance", "frechet.floor", "between Gaussians fitted to the features; lower is nearer"
    ),
    Distance("Fréchet ratio", "frechet.ratio", None, "distance over its floor", ideal="1"),
    Distance("Kernel", "kernel.distance", "kernel.floor", "polynomial kernel, mean of three seeds; lower is nearer"),
    Distance("Density", "density", "density_floor", "how packed samples lie among real clips; 1 is as real"),
    Distance("Coverage", "coverage", "coverage_floor", "share of real clips with a sample near; variety", "percent"),
    Distance(
        "Nearest training clip",
        "nearest_train.distance",
        "nearest_train.floor",
        "in features; far below the floor means memorised",
    ),
    Distance(
        "Nearest training clip, pixels",
        "nearest_pixels.distance",
        "nearest_pixels.floor",
        "the same in pixels (RMS, 0 to 255)",
    ),
    Distance(
        "Speed error",
        "seen.speed_error",
        "oracle_on_real.speed_error",
        "of the true speed; read off the path",
        "percent",
    ),
    Distance(
        "Speed, two real clips",
        "real_pairs.speed_error",
        None,
        "what two real clips of the same words differ by: a caption says no more",
        "percent",
    ),
    Distance(
        "Identity", "seen.identity", "oracle_on_real.identity", "share of frames that keep shape and colour", "percent"
    ),
    Distance(
        "Flicker", "seen.flicker", "oracle_on_real.flicker", "share of frames with too few or too many", "percent"
    ),
    Distance("Recall at 1", "retrieval.r1", "retrieval_on_real.r1", "caption finds its clip first", "percent"),
    Distance("Recall at 10", "retrieval.r10", "retrieval_on_real.r10", "… among the first ten", "percent"),
    Distance("Recall at 10, shuffled", "retrieval.r10_shuffled", None, "the control: other captions", "percent"),
    Distance(
        "Own clip nearest",
        "trained.own_clip",
        "trained.own_clip_chance",
        "of a training clip's caption: its clip is the nearest one in pixels; the floor is chance",
        "percent",
    ),
)


def distance_rows(models: Sequence[ModelResult]) -> list[Distance]:
    """Rows that at least one model has; recall at 10 only where there are more than ten clips."""
    few = any(1 <= model.metrics.get("retrieval.clips", 0) <= NEAREST for model in models)
    return [
        row
        for row in DISTANCES
        if any(row.key in model.metrics for model in models) and not (few and row.key.startswith("retrieval.r10"))
    ]


def distance_notes(runs: Sequence[Run]) -> list[str]:
    """Notes below the table: clips measured, remarks of the evaluation, and why a number is missing; each once."""
    notes = []
    for run in runs:
        for model in run.models:
            asked = run.param("evaluate", "feature_clips")
            if asked and model.prompts and "frechet.distance" in model.metrics:
                notes.append(
                    f"Distances are of {min(asked, model.prompts):,} samples from as many real clips; with fewer clips "
                    "the Fréchet distance grows, so the floor is of as many."
                )
            notes += [str(value) for key, value in model.metrics.items() if key.endswith("note")]
            notes += [
                f"{model.label}: {key.replace('.', ' ').replace('_', ' ')} has no value: {why_none(model, key)}."
                for key, value in model.metrics.items()
                if value is None and f"{key.rpartition('.')[0]}.note" not in model.metrics
            ]
    return list(dict.fromkeys(notes))


def why_none(model: ModelResult, key: str) -> str:
    """The reason of a metric that is null."""
    stem = key.rpartition(".")[0]
    return str(model.metrics.get(f"{stem}.note", "there was nothing to measure it on"))
