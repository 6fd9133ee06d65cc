"""An evaluation's tables as CSV for DVC plots, as PNG images, and its samples as a folder of GIFs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.frames import enlarge
from pipeline.evaluation.evaluate import Evaluation
from pipeline.render.clips import write_clip

GIFS_PER_KIND = 8
GIF_SCALE = 3


def write_plots(folder: Path, result: Evaluation) -> None:
    """accuracy.csv, guidance.csv, steps.csv, loss_by_noise.csv where measured, a PNG of each, and samples/*.gif."""
    for name, rows in result.tables.items():
        write_table(folder / f"{name}.csv", rows)
    draw_images(folder, result.tables)
    write_gifs(folder / "samples", result)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows
        )


def write_gifs(folder: Path, result: Evaluation) -> None:
    """The first samples of each kind; a name is the same prompt in every revision, so `dvc plots diff` pairs them."""
    for row in result.samples:
        facts = row.attributes
        if facts["role"] == "model" and row.key.endswith("-0") and facts["index"] < GIFS_PER_KIND:
            frames = enlarge(row.frames(), GIF_SCALE)
            write_clip(folder / f"{facts['kind']}-{facts['index']:02d}", frames, row.fps, "gif")


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
