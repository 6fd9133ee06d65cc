"""The README's figures are those of the committed metrics, its picture those of a run's first samples."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.readme import CELL, KEYS, SEEDS, SHOWN, TABLE, gather, picture, table
from pipeline.render.clips import LINE_PX
from pipeline.report.files import FolderFiles
from pipeline.runtime.code import ROOT
from tests.report_toys import evaluation_metrics, toy_samples, write_json


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


def write_metrics(root: Path, seeds: tuple[int, int], joint: float, **changes: Any) -> FolderFiles:
    """A run's metrics by the seeds of U-Net and GAN."""
    for name, seed in zip(("train", "train_gan"), seeds, strict=True):
        write_json(root / f"metrics/{name}.json", {"seed": seed})
    for model in ("unet", "gan"):
        write_json(root / f"metrics/evaluate/{model}.json", evaluation_metrics(joint) | changes)
    return FolderFiles(root)


def test_seeds_are_gathered_into_mean_and_range(tmp_path: Path) -> None:
    joints = {"HEAD": 0.97, "seed1": 0.95, "seed2": 0.96}
    runs = {name: write_metrics(tmp_path / name, (n, n), joint) for n, (name, joint) in enumerate(joints.items())}
    found = gather(runs)
    assert found["unet"]["seen.joint"] == pytest.approx([0.95, 0.93, 0.94])
    assert "| **U-Net**, all right | 94.0 % (93.0–95.0) | 91.0 % (90.0–92.0) |" in table(found)
    assert "| speed error | 0.071 | 0.071 | 0.071 | |" in table(found)  # the same in each


def test_runs_that_give_no_range_are_one_line(tmp_path: Path) -> None:
    runs = {f"seed{n}": write_metrics(tmp_path / f"{n}", (n, n), 0.9) for n in range(3)}
    with pytest.raises(ValueError, match=r"2 runs \(seed0, seed1\): a range needs three or more"):
        gather({name: runs[name] for name in ("seed0", "seed1")})
    same = write_metrics(tmp_path / "same", (3, 1), 0.9)
    with pytest.raises(ValueError, match=r"two runs of one train_gan.seed \(seed0 0, seed1 1, new 1\); run one anew"):
        gather({"seed0": runs["seed0"], "seed1": runs["seed1"], "new": same})
    other = write_metrics(tmp_path / "other", (4, 4), 0.9, dataset="moving_mnist")
    with pytest.raises(ValueError, match="digits: of moving_mnist, and the README shows the shapes set"):
        gather({"seed0": runs["seed0"], "seed1": runs["seed1"], "digits": other})
    with pytest.raises(ValueError, match=r"half: no metrics/train.json in it; run dvc exp run"):
        gather({**runs, "half": FolderFiles(tmp_path / "half")})


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
