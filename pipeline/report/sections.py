"""The parts of the page that are numbers: headline, accuracy, distances, curves, provenance; as plain records.

Every number shown is a key of metrics/evaluate/<model>.json, named on the page, so that a test can hold one against the
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipeline.report.charts import Dot, DotRow, Series, dot_chart, line_chart
from pipeline.report.gather import MODEL_NAMES, ModelResult, Run, changed_params, flatten

KINDS = {"seen": "Seen", "held_out": "Held out", "reworded": "Reworded", "trained": "Trained on"}
COLUMN_NAMES = {"lr": "learning rate", "grad_norm": "gradient norm", "x0_mse": "squared error of x0"}
KIND_ABOUT = {
    "seen": "combinations that occur in training, on new clips",
    "held_out": "combinations that never occur in training",
    "reworded": "sentences of a form that never occurs in training",
    "trained": "captions of training clips: what is remembered of them",
}
TILES = (
    ("Seen prompts", "seen.joint", "percent"),
    ("Held out", "held_out.joint", "percent"),
    ("Reworded", "reworded.joint", "percent"),
    ("Recall at 1", "retrieval.r1", "percent"),
    ("Recall at 10", "retrieval.r10", "percent"),
    ("Trained on", "trained.own_clip", "percent"),
    ("Fréchet ratio", "frechet.ratio", "number"),
    ("Seconds a clip", "seconds_per_clip", "number"),
    ("Evaluations", "evaluations_per_clip", "number"),
)


@dataclass(frozen=True)
class Distance:
    """A row of the distances table; keys are of the metrics file."""

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


def headline(run: Run, compared: bool) -> str:
    if compared:
        return "Two runs, side by side"
    best = max(run.models, key=lambda model: float(model.metrics.get("seen.joint", 0.0)))
    if "seen.joint" not in best.metrics:
        return "Text to video, trained from scratch"
    return f"{best.metrics['seen.joint']:.1%} of seen prompts come out entirely right"


@dataclass(frozen=True)
class Statement:
    label: str
    text: str
    colour: int


def statements(models: Sequence[ModelResult]) -> list[Statement]:
    """One sentence a model, in words."""
    return [Statement(model.label, _sentence(model.metrics), index) for index, model in enumerate(models)]


def _sentence(m: Mapping[str, Any]) -> str:
    if "seen.joint" not in m:
        if "retrieval.r10" not in m:
            return "was measured by distances only."
        return (
            f"puts its caption's clip among the ten nearest in {m['retrieval.r10']:.0%} of prompts, "
            f"against {m['retrieval.r10_shuffled']:.0%} with shuffled captions."
        )
    parts = [f"draws everything that the prompt asks for in {m['seen.joint']:.1%} of seen prompts"]
    if "held_out.joint" in m:
        parts.append(f"{m['held_out.joint']:.1%} of combinations it never saw")
    if "reworded.joint" in m:
        parts.append(f"{m['reworded.joint']:.1%} in wordings it never read")
    said = ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"{said}. Judged against other captions, the same clips score {m['caption_shuffle.joint']:.1%}."


def overview_chart(models: Sequence[ModelResult]) -> Markup:
    """Joint accuracy by kind of prompt, with real clips and shuffled captions as marks."""
    rows = [
        DotRow(name, dots, _marks(models[0].metrics, "joint"))
        for kind, name in KINDS.items()
        if (dots := _dots(models, f"{kind}.joint"))
    ]
    return dot_chart("All attributes right", rows) if rows else Markup("")


def _marks(metrics: Mapping[str, Any], attribute: str) -> tuple[tuple[str, float], ...]:
    named = (("real clips", f"oracle_on_real.{attribute}"), ("other captions", f"caption_shuffle.{attribute}"))
    return tuple((name, float(metrics[key])) for name, key in named if key in metrics)


def _dots(models: Sequence[ModelResult], key: str) -> tuple[Dot, ...]:
    return tuple(
        Dot(model.label, model.metrics[key], model.metrics[f"{key}_low"], model.metrics[f"{key}_high"], colour)
        for colour, model in enumerate(models)
        if key + "_low" in model.metrics
    )


@dataclass(frozen=True)
class Accuracy:
    kinds: list[tuple[str, str]]
    attributes: list[str]
    charts: list[Markup]


def accuracy(models: Sequence[ModelResult]) -> Accuracy | None:
    """Rows and columns of the accuracy table; None where nothing was read from pixels."""
    keys = dict.fromkeys(key for model in models for key in model.metrics)
    kinds = [(kind, name) for kind, name in KINDS.items() if f"{kind}.joint" in keys]
    if not kinds:
        return None
    found = [key.removesuffix("_low").partition(".")[2] for key in keys if key.endswith("_low")]
    attributes = [name for name in dict.fromkeys(found) if f"{kinds[0][0]}.{name}" in keys and name != "joint"]
    return Accuracy(kinds, [*attributes, "joint"], list(_value_charts(models)))


def _value_charts(models: Sequence[ModelResult]) -> Iterator[Markup]:
    """For each attribute, a dot per value (each motion, each colour), on seen prompts."""
    tables = [
        [row for row in model.tables.get("accuracy", []) if row["kind"] == "seen" and row["value"] != "all"]
        for model in models
    ]
    for attribute in dict.fromkeys(row["attribute"] for table in tables for row in table):
        values = dict.fromkeys(row["value"] for table in tables for row in table if row["attribute"] == attribute)
        rows = []
        for value in values:
            dots = [
                Dot(model.label, float(row["share"]), float(row["low"]), float(row["high"]), colour)
                for colour, (model, table) in enumerate(zip(models, tables, strict=True))
                for row in table
                if (row["attribute"], row["value"]) == (attribute, value)
            ]
            rows.append(DotRow(value, tuple(dots)))
        yield dot_chart(f"{attribute.replace('_', ' ').capitalize()}, seen prompts", rows)


def distance_rows(models: Sequence[ModelResult]) -> list[Distance]:
    return [row for row in DISTANCES if any(row.key in model.metrics for model in models)]


def notes(models: Sequence[ModelResult]) -> list[str]:
    """Remarks that the evaluation left in its metrics, each once."""
    found = [str(value) for model in models for key, value in model.metrics.items() if key.endswith("note")]
    return list(dict.fromkeys(found))


def curve_charts(models: Sequence[ModelResult]) -> list[Markup]:
    """Accuracy (or distance) over guidance and over steps."""
    charts = []
    for table, x_label in (("guidance", "Guidance scale"), ("steps", "Sampling steps")):
        for y, label in (
            ("joint", "All right"),
            ("distance", "Fréchet distance"),
            ("seconds_per_clip", "Seconds a clip"),
        ):
            lines = []
            for colour, model in enumerate(models):
                rows = [row for row in model.tables.get(table, []) if row.get(y)]
                points = tuple((float(row["value"]), float(row[y])) for row in rows)
                if points:
                    lines.append(Series(model.label, points, colour))
            if lines and (y != "seconds_per_clip" or table == "steps"):
                charts.append(line_chart(f"{label} by {x_label.lower()}", x_label, label, lines))
    return charts


def learning_charts(models: Sequence[ModelResult]) -> list[Markup]:
    """Each numeric column of the training histories over the step, then the error by noise level.

    A file is a chart per model family: losses of different families do not compare.
    """
    charts: list[Markup] = []
    for family in dict.fromkeys(model.name for model in models):
        members = [(colour, model) for colour, model in enumerate(models) if model.name == family]
        for name in dict.fromkeys(name for _, model in members for name in model.history):
            charts += _history_charts(name, members)
    lines = []
    for colour, model in enumerate(models):
        rows = model.tables.get("loss_by_noise", [])
        if rows:
            lines.append(Series(model.label, tuple((float(r["t"]), float(r["error"])) for r in rows), colour))
    if lines:
        charts.append(line_chart("Error by noise level", "t (1 is pure noise)", "MSE of x0", lines, log_y=True))
    return charts


def _history_charts(name: str, members: Sequence[tuple[int, ModelResult]]) -> Iterator[Markup]:
    columns = dict.fromkeys(key for _, model in members for row in model.history.get(name, [])[:1] for key in row)
    for column in columns:
        if column in ("step", "seconds", "t"):
            continue
        lines = []
        for colour, model in members:
            points = _mean_by_step(model.history.get(name, []), column)
            if len(points) > 1:
                lines.append(Series(model.label, points, colour))
        if lines:
            positive = all(y > 0.0 for line in lines for _, y in line.points)
            spread = max(y for line in lines for _, y in line.points) > 20 * min(
                (y for line in lines for _, y in line.points if y > 0.0), default=1.0
            )
            label = COLUMN_NAMES.get(column, column.replace("_", " "))
            title = (
                label[0].upper() + label[1:]
                if name in ("loss", "history")
                else f"Validation: {label}"
                if name == "val"
                else f"{name.replace('_', ' ')}: {label}"
            )
            yield line_chart(
                f"{title}, {MODEL_NAMES[members[0][1].name]}", "Step", label, lines, log_y=positive and spread
            )


def _mean_by_step(rows: Sequence[Mapping[str, str]], column: str) -> tuple[tuple[float, float], ...]:
    """(step, value): validation has a row per noise level, whose mean is shown; an empty cell was not measured."""
    values: dict[float, list[float]] = {}
    for row in rows:
        if row.get("step") and row.get(column):
            values.setdefault(float(row["step"]), []).append(float(row[column]))
    return tuple((step, sum(found) / len(found)) for step, found in values.items())


@dataclass(frozen=True)
class Changes:
    title: str
    before: str
    after: str
    rows: list[tuple[str, Any, Any]]
    none: str


def changes(run: Run, other: Run | None) -> Changes:
    """Params that differ: from the committed ones, or between the two runs."""
    if other is not None:
        rows = changed_params(run.params, other.params)
        return Changes("Params that differ", run.name, other.name, rows, "Both ran with the same params.")
    if run.default_params is None:
        return Changes("Params", "", "", [], "What was committed is not known here: there is no Git.")
    rows = changed_params(run.default_params, run.params)
    return Changes("Params that differ from the commit", "Committed", "This run", rows, "None: params as committed.")


@dataclass(frozen=True)
class StageLine:
    name: str
    seconds: str
    device: str
    counts: str


def stage_lines(runs: Sequence[Run]) -> list[StageLine]:
    """Time, device and counts of each stage that left metrics."""
    lines = []
    for run in runs:
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        metrics = {**run.stages, **{f"evaluate/{model.name}": _evaluated(model) for model in run.models}}
        lines += [
            StageLine(prefix + name, duration(values.get("seconds")), str(values.get("device", "")), counts(values))
            for name, values in metrics.items()
        ]
    return lines


def _evaluated(model: ModelResult) -> dict[str, Any]:
    kept = ("seconds", "device", "clips")
    return {key: model.metrics[key] for key in kept if key in model.metrics}


def counts(values: Mapping[str, Any]) -> str:
    """The whole numbers among a stage's metrics, in words."""
    flat = flatten(dict(values))
    shown = [
        f"{key.replace('_', ' ').replace('.', ' ')} {value:,}"
        for key, value in flat.items()
        if isinstance(value, int) and not isinstance(value, bool) and not key.endswith("seed")
    ]
    return ", ".join(shown[:14])


def duration(seconds: Any) -> str:
    """Seconds as a person says them; empty where not measured."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
