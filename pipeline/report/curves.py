"""Charts of what changes along an axis: sampling's params, training steps, noise levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from pipeline.report.figures import Line, line_chart
from pipeline.report.gather import MODEL_NAMES, ModelResult, Run

SWEEPS = (  # table, its param of sampling, title
    ("guidance", "guidance_scale", "guidance scale"),
    ("steps", "num_inference_steps", "sampling steps"),
)
MEASURES = (("joint", "All right"), ("distance", "Fréchet distance"))
COLUMN_NAMES = {"lr": "learning rate", "grad_norm": "gradient norm", "x0_mse": "squared error of x0"}
NO_CURVE = ("step", "seconds", "t")


def sampling_charts(runs: Sequence[Run]) -> list[Markup]:
    """Accuracy and distance over guidance and over steps, the default marked."""
    members = list(enumerate(model for run in runs for model in run.models))
    charts = []
    for table, param, name in SWEEPS:
        defaults = {run.param("sampling", param) for run in runs} - {None}
        mark = ("default", float(defaults.pop())) if len(defaults) == 1 else None
        for column, title in MEASURES:
            lines = [
                _measured(model, colour, model.tables[table].set_index("value"), column)
                for colour, model in members
                if table in model.tables and column in model.tables[table]
            ]
            charts.append(line_chart(f"{title} by {name}", name.capitalize(), lines, mark=mark))
    return [chart for chart in charts if chart]


def sampling_note(runs: Sequence[Run]) -> str:
    """The number of clips behind a point."""
    counts = {
        min(run.param("evaluate", "curve_prompts"), model.prompts)
        for run in runs
        for model in run.models
        if run.param("evaluate", "curve_prompts") and model.prompts
    }
    if len(counts) != 1:
        return ""
    (clips,) = counts
    return (
        f"Each point is of {clips:,} clips, whose interval is the bar. A Fréchet distance of so few is larger than the "
        "table's: compare the points of a chart with each other only."
    )


def _measured(model: ModelResult, colour: int, table: pd.DataFrame, column: str) -> Line:
    y = table[column].dropna().astype(float)
    if column != "joint" or "low" not in table:
        return Line(model.label, colour, y)
    return Line(model.label, colour, y, table.loc[y.index, "low"], table.loc[y.index, "high"])


def learning_charts(models: Sequence[ModelResult]) -> list[Markup]:
    """Each numeric column of the training histories over the step, then the error by noise level.

    A file is a chart per model family: losses of different families do not compare.
    """
    charts: list[Markup] = []
    for family in dict.fromkeys(model.name for model in models):
        members = [(colour, model) for colour, model in enumerate(models) if model.name == family]
        for name in dict.fromkeys(name for _, model in members for name in model.history):
            charts += _history_charts(name, members)
    lines = [
        Line(model.label, colour, model.tables["loss_by_noise"].set_index("t")["error"].astype(float))
        for colour, model in enumerate(models)
        if "loss_by_noise" in model.tables
    ]
    charts.append(line_chart("Squared error of x0 by noise level", "t (1 is pure noise)", lines, log_y=True))
    return [chart for chart in charts if chart]


def _history_charts(name: str, members: Sequence[tuple[int, ModelResult]]) -> Iterator[Markup]:
    columns = dict.fromkeys(str(key) for _, model in members for key in model.history.get(name, ()))
    for column in [column for column in columns if column not in NO_CURVE]:
        lines = [
            Line(model.label, colour, _mean_by_step(model.history[name], column))
            for colour, model in members
            if column in model.history.get(name, ())
        ]
        lines = [line for line in lines if len(line.y) > 1]
        if lines:
            values: Any = pd.concat([line.y for line in lines])
            wide = values.min() > 0.0 and values.max() > 20 * values.min()
            title = _history_title(name, COLUMN_NAMES.get(column, column.replace("_", " ")))
            yield line_chart(f"{title}, {MODEL_NAMES[members[0][1].name]}", "Step", lines, log_y=wide)


def _history_title(name: str, column: str) -> str:
    if name in ("loss", "history"):
        return column[0].upper() + column[1:]
    return f"Validation: {column}" if name == "val" else f"{name.replace('_', ' ')}: {column}"


def _mean_by_step(table: pd.DataFrame, column: str) -> pd.Series:
    """Values by step: validation has a row per noise level, whose mean is shown; an empty cell was not measured."""
    measured = table[["step", column]].dropna()
    return measured.groupby("step")[column].mean().astype(float)
