"""An evaluation's tables as CSV, for DVC plots and the report, and its samples as a folder of GIFs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipeline.data.frames import enlarge, to_rgb
from pipeline.data.gif import encode_gif
from pipeline.data.samples import Sample
from pipeline.evaluation.evaluate import Evaluation
from pipeline.runtime.files import write_bytes, write_csv

GIFS_PER_KIND = 8
GIF_SCALE = 3


def write_plots(folder: Path, result: Evaluation) -> None:
    """accuracy.csv, unsaid.csv, guidance.csv, steps.csv, loss_by_noise.csv where measured, and samples/*.gif."""
    for name, rows in result.tables.items():
        if rows:
            write_csv(folder / f"{name}.csv", pd.DataFrame(rows))
    write_gifs(folder / "samples", result.samples)


def write_gifs(folder: Path, samples: Iterable[Sample]) -> None:
    """The first samples of each kind; a name is the same prompt in every revision, so `dvc plots diff` pairs them."""
    for sample in samples:
        if sample.is_first_take and sample.index < GIFS_PER_KIND:
            frames = enlarge(sample.frames(), GIF_SCALE)
            write_bytes(folder / f"{sample.kind}-{sample.index:02d}.gif", encode_gif(to_rgb(frames), sample.fps))
