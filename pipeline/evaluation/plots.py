"""An evaluation's tables as CSV for DVC plots, as PNG images, and its samples as a folder of GIFs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.data.frames import enlarge
from pipeline.data.samples import Sample
from pipeline.evaluation.evaluate import Evaluation
from pipeline.render.clips import write_clip
from pipeline.runtime.files import write_csv

GIFS_PER_KIND = 8
GIF_SCALE = 3


def write_plots(folder: Path, result: Evaluation) -> None:
    """accuracy, unsaid, guidance, steps, loss_by_noise as CSV where measured, all but unsaid as PNG; samples/*.gif."""
    for name, rows in result.tables.items():
        write_table(folder / f"{name}.csv", rows)
    draw_images(folder, result.tables)
    write_gifs(folder / "samples", result.samples)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as CSV, floats to six digits."""
    write_csv(path, pd.DataFrame(list(rows)))


def write_gifs(folder: Path, samples: Iterable[Sample]) -> None:
    """The first samples of each kind; a name is the same prompt in every revision, so `dvc plots diff` pairs them."""
    for sample in samples:
        if sample.is_first_take and sample.index < GIFS_PER_KIND:
            frames = enlarge(sample.frames(), GIF_SCALE)
            write_clip(folder / f"{sample.kind}-{sample.index:02d}", frames, sample.fps, "gif")


def draw_images(folder: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The tables as still charts."""
    from matplotlib.figure import Figure

    if rows := tables.get("accuracy"):
        figure = Figure(figsize=(7.0, 1.2 + 0.28 * len(rows)), layout="constrained")
        axes = figure.subplots()
        names = [f"{row['kind']}  {row['attribute']}  {row['value']}".replace("_", " ") for row in rows]
        spread = [[row["share"] - row["low"] for row in rows], [row["high"] - row["share"] for row in rows]]
        axes.errorbar([row["share"] for row in rows], names, xerr=spread, fmt="o", markersize=4, capsize=2)
        axes.set(xlim=(-0.02, 1.02), xlabel="share right, with its 95% interval")
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(folder / "accuracy.png", dpi=100, metadata={"Software": None})
    for name, x, y, label in (
        ("guidance", "value", "joint", "guidance scale"),
        ("steps", "value", "joint", "network evaluations"),
        ("loss_by_noise", "t", "error", "t (1 is pure noise)"),
    ):
        if rows := tables.get(name):
            shown = y if y in rows[0] else "distance"
            if shown in rows[0]:
                figure = Figure(figsize=(5.0, 3.2), layout="constrained")
                axes = figure.subplots()
                axes.plot([row[x] for row in rows], [row[shown] for row in rows], marker="o")
                axes.set(xlabel=label, ylabel=shown.replace("joint", "all attributes right"))
                axes.grid(alpha=0.3)
                figure.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})
