"""The README's figures are those of the committed metrics, its picture those of a run's first samples."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from bench.readme import CELL, KEYS, SEEDS, SHOWN, TABLE, picture, table
from pipeline.render.clips import LINE_PX
from pipeline.runtime.code import ROOT
from tests.report_toys import toy_samples


def test_the_table_is_what_the_metrics_say() -> None:
    shown = TABLE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown is not None
    assert shown[0] == table(json.loads((ROOT / SEEDS).read_text(encoding="utf-8")))


def test_the_first_seed_is_the_committed_run() -> None:
    seeds = json.loads((ROOT / SEEDS).read_text(encoding="utf-8"))
    for model, values in seeds.items():
        shown = subprocess.run(
            ["git", "show", f"HEAD:metrics/evaluate/{model}.json"], cwd=ROOT, capture_output=True, text=True
        )
        if shown.returncode != 0:
            pytest.skip("no commit to compare with")
        metrics = json.loads(shown.stdout)
        assert {key: metrics[key] for key in KEYS} == {key: values[key][0] for key in KEYS}


def test_a_line_fits_a_screen_and_every_link_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 110
    assert len(text.splitlines()) <= 150
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_picture_shows_each_kinds_first_samples_and_no_others() -> None:
    samples = toy_samples("unet", prompts=5)
    first = [sample for sample in samples if sample.is_first_take]
    expected = sum(min(SHOWN[kind], sum(sample.kind == kind for sample in first)) for kind in SHOWN)
    sheet = picture(samples)
    assert len(sheet) == expected * (CELL + LINE_PX + 2) - 2
    assert (sheet[:CELL, :CELL] == first[0].frames()[0]).all()
    assert (sheet[:CELL, -CELL:] == first[0].frames()[-1]).all()
