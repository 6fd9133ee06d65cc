"""Two runs side by side, and results that are older than the revision they stand in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.compare import compare
from pipeline.compare import main as compare_main
from pipeline.config.params import load_params
from pipeline.data.samples import write_samples
from pipeline.report import gather, page
from pipeline.report.files import FolderFiles
from pipeline.report.stale import stale_reasons
from tests.report_toys import toy_samples, write_run

ROOT = Path(__file__).parents[1]
STAGES = """
stages:
  train:
    cmd: mkdir -p models/unet && cp params.yaml models/unet/weights
    params: [train.lr]
    outs: [models/unet]
  evaluate:
    foreach: [unet, gan]
    do:
      cmd: mkdir -p evaluations && cp -r kept/${item} evaluations
      deps: ['models/${item}']
      params: [evaluate]
      outs: ['evaluations/${item}']
"""


@pytest.fixture(scope="module")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_run(root, ROOT / "tests/params.yaml")
    return root


def write_lock(folder: Path, **changes: Any) -> FolderFiles:
    """A run's lock and params: train makes models/unet out of data, evaluate@unet reads it and the judge."""
    facts = {"data": "1", "data_read": "1", "model": "2", "model_read": "2", "lr": 0.1, "lr_read": 0.1} | changes
    train = {
        "deps": [{"path": "data", "md5": facts["data_read"]}, {"path": "pipeline/unet", "md5": "c"}],
        "params": {"params.yaml": {"dataset": "shapes", "train": {"lr": facts["lr_read"], "decay": None}}},
        "outs": [{"path": "models/unet", "md5": facts["model"]}],
    }
    evaluate = {
        "deps": [{"path": "models/unet", "md5": facts["model_read"]}, {"path": "models/judge", "md5": "j"}],
        "params": {"params.yaml": {"evaluate.prompts": 600}},
        "outs": [{"path": "evaluations/unet", "md5": "e"}],
    }
    stages = {"shapes": {"outs": [{"path": "data", "md5": facts["data"]}]}, "train": train, "evaluate@unet": evaluate}
    params = {"dataset": "shapes", "train": {"lr": facts["lr"], "decay": None}, "evaluate": {"prompts": 600}}
    for name, tree in (("dvc.lock", {"schema": "2.0", "stages": stages}), ("params.yaml", params)):
        with (folder / name).open("w") as file:
            YAML().dump(tree, file)
    return FolderFiles(folder)


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"lr": 1e-05, "lr_read": 0.00001}, []),
        ({"model": "3"}, ["evaluate@unet has not run since train made another models/unet"]),
        ({"data": "5"}, ["train has not run since shapes made another data"]),
        ({"lr": 0.5}, ["train has not run since train changed in params.yaml"]),
        (
            {"lr_read": 0.5, "model": "3"},
            [
                "evaluate@unet has not run since train made another models/unet",
                "train has not run since train changed in params.yaml",
            ],
        ),
    ],
)
def test_what_has_changed_since_an_evaluation_is_named(
    tmp_path: Path, changes: dict[str, Any], reasons: list[str]
) -> None:
    assert stale_reasons(write_lock(tmp_path, **changes), "evaluate@unet") == reasons


def test_without_a_lock_nothing_is_said(run_root: Path) -> None:
    assert stale_reasons(FolderFiles(run_root), "evaluate@unet") == []


def test_two_runs_stand_side_by_side(run_root: Path, tmp_path: Path) -> None:
    files = FolderFiles(run_root)
    runs = [gather.gather_run(files, name, prefix=f"{name} · ") for name in ("main", "trial")]
    runs[1].params["train"]["lr"] = 0.5
    report = load_params(run_root / "params.yaml").report
    page.write_page(tmp_path / "index.html", runs, report, stale={"trial · U-Net": ["evaluate has not run"]})
    text = (tmp_path / "index.html").read_text()
    assert "Two runs, side by side" in text
    assert re.search(r"<code>train.lr</code></th><td><code>0\.00\d+</code></td><td><code>0\.5</code>", text)
    assert "<b>trial · U-Net</b>: evaluate has not run" in text
    assert len(re.findall(r"trial · U-Net(?:</strong>)? <b class=\"old\">before the change</b>", text)) >= 2 + 9
    assert not re.search(r"main · U-Net(?:</strong>)? <b class=\"old\">", text)
    with pytest.raises(ValueError, match="A and B are both 'main'"):
        compare(run_root, "main", "main", tmp_path)


@pytest.mark.slow
def test_an_experiment_that_only_trained_says_whose_clips_it_shows(
    run_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository, tmp_path = tmp_path, tmp_path / "of" / "a larger repository"
    tmp_path.mkdir(parents=True)
    for part in ("metrics", "plots"):
        shutil.copytree(run_root / part, tmp_path / part)
    for model in ("unet", "gan"):
        write_samples(tmp_path / f"kept/{model}/samples.parquet", toy_samples(model, prompts=1, takes=1))
    shutil.copy(run_root / "params.yaml", tmp_path)
    (tmp_path / "models/gan").mkdir(parents=True)
    (tmp_path / "models/gan/weights").write_text("0")
    (tmp_path / "dvc.yaml").write_text(STAGES)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*git, "init", "-q"], cwd=repository, check=True)
    for command in (
        [*dvc, "init", "-q", "--subdir"],
        [*dvc, "repro", "-q"],
        [*git, "add", "-A"],
        [*git, "commit", "-q", "-m", "x"],
        [*dvc, "exp", "run", "-q", "-n", "trial", "-S", "train.lr=0.5", "train"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    monkeypatch.chdir(tmp_path)
    compare_main(["HEAD", "trial", "--out", "out"])
    told = capsys.readouterr().err
    reason = "evaluate@unet has not run since train made another models/unet"
    assert told == f"note: trial · U-Net: clips and scores are of what was there before: {reason}\n"
    text = (tmp_path / "out/index.html").read_text()
    assert f"<b>trial · U-Net</b>: {reason}" in text
    assert "<code>train.lr</code>" in text
    comparison = compare(tmp_path, "HEAD", "workspace", tmp_path / "out")
    assert [len(model.samples) for run in comparison.runs for model in run.models] == [9, 9, 9, 9]
    assert list(comparison.stale) == ["workspace · U-Net"]
    with pytest.raises(ValueError, match="'nowhere' is no commit, branch, tag or experiment here"):
        compare(tmp_path, "nowhere", "workspace", tmp_path / "out")
