"""The README's figures are those of the committed metrics, its picture those of a run's first samples."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from bench.readme import CELL, SHOWN, TABLE, picture, table
from pipeline.data.samples import Sample
from pipeline.render.clips import LINE_PX
from pipeline.runtime.code import ROOT
from tests.report_toys import sample_rows


def committed(path: str) -> str:
    """Of the last commit, for a run changes the working tree's metrics."""
    shown = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, encoding="utf-8")
    if shown.returncode != 0:
        pytest.skip("no commit to compare with")
    return shown.stdout


def test_the_table_is_what_the_metrics_say() -> None:
    shown = TABLE.search(committed("README.md"))
    assert shown is not None
    metrics = {model: json.loads(committed(f"metrics/evaluate/{model}.json")) for model in ("unet", "gan")}
    assert shown[0] == table(metrics)


def test_the_picture_shows_each_kinds_first_samples_and_no_others() -> None:
    rows = sample_rows("unet", prompts=5)
    first = [row for row in rows if row.key.endswith("/model-0")]
    expected = sum(min(SHOWN[kind], sum(row.split == kind for row in first)) for kind in SHOWN)
    sheet = picture(map(Sample.from_row, rows))
    assert len(sheet) == expected * (CELL + LINE_PX + 2) - 2
    frames = first[0].frames()
    side = CELL // 2
    middle = sheet[side, :CELL].reshape(-1, 3)  # the row through the middle of the first frame
    assert (middle[:, None] == np.unique(frames[0].reshape(-1, 3), axis=0)).all(axis=2).any(axis=1).all()
