"""The README's figures are those of the committed metrics, its picture those of a run's first samples."""

from __future__ import annotations

import numpy as np

from bench.readme import CELL, LINE, SHOWN, TABLE, picture, read_metrics, table
from pipeline.process import ROOT
from tests.report_toys import sample_rows


def test_the_table_is_what_the_metrics_say() -> None:
    shown = TABLE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown is not None
    assert shown[0] == table(read_metrics(ROOT))


def test_the_picture_shows_each_kinds_first_samples_and_no_others() -> None:
    rows = sample_rows("unet", prompts=5)
    first = [row for row in rows if row.key.endswith("/model-0")]
    expected = sum(min(SHOWN[kind], sum(row.split == kind for row in first)) for kind in SHOWN)
    sheet = np.asarray(picture(rows))
    assert len(sheet) == expected * (CELL + LINE + 2)
    frames = first[0].frames()
    side = CELL // 2
    middle = sheet[side, 1:CELL].reshape(-1, 3)  # the row through the middle of the first frame
    assert (middle[:, None] == np.unique(frames[0].reshape(-1, 3), axis=0)).all(axis=2).any(axis=1).all()
