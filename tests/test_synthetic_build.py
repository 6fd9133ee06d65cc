"""The same bytes whatever the count, the workers, the reruns and the kills."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.data.shards import Row, count_clips, read_rows, read_set, write_set
from pipeline.synthetic.build import GeneratedSet, build_set, publish_set, split_counts
from pipeline.synthetic.moving_digits import digits_set
from pipeline.synthetic.shapes import shapes_set
from stages import moving_mnist, shapes
from tests.process_toys import is_running
from tests.synthetic_toys import ROOT, digits_params, shapes_params, toy_bank, whole_grammar

FEW = {"train_clips": 50, "val_clips": 9, "held_out_clips": 8, "reworded_clips": 7, "clips_per_shard": 16}


def digest(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def params_file(folder: Path, section: str, **changes: Any) -> Path:
    tree = yaml.safe_load((ROOT / "tests/params.yaml").read_text(encoding="utf-8"))
    tree[section].update(changes)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.mark.parametrize("split", ["train", "val", "held_out", "reworded"])
def test_clip_17_is_the_same_whatever_the_count(split: str) -> None:
    few, many = shapes_set(shapes_params(train_clips=18)), shapes_set(shapes_params(train_clips=99999))
    assert few.row(split, 17) == many.row(split, 17) != many.row(split, 18)
    bank = toy_bank()
    few_digits, many_digits = digits_set(digits_params(train_clips=18), bank), digits_set(digits_params(), bank)
    assert few_digits.row(split, 17) == many_digits.row(split, 17) != many_digits.row(split, 18)


def test_another_seed_is_another_set() -> None:
    one, other = shapes_set(shapes_params()), shapes_set(shapes_params(seed=1))
    assert one.combinations != other.combinations
    assert one.row("train", 3).gif != other.row("train", 3).gif


@pytest.mark.slow
def test_workers_and_reruns_leave_the_bytes_alone(tmp_path: Path) -> None:
    params = whole_grammar().model_copy(update=FEW)
    for name, workers in (("one", 1), ("again", 1), ("two", 2)):
        counts = split_counts(params)
        build_set(shapes_set(params), counts, 16, tmp_path / "scratch" / name, tmp_path / name, workers=workers)
    assert digest(tmp_path / "one") == digest(tmp_path / "again") == digest(tmp_path / "two")
    assert len(digest(tmp_path / "one")) == 4 + 1 + 1 + 1 + 1


@pytest.mark.parametrize("name", ["shapes", "moving_mnist"])
def test_the_stage_publishes_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    stage = {"shapes": shapes, "moving_mnist": moving_mnist}[name]
    out, metrics = tmp_path / "shards", tmp_path / "metrics.json"
    stage.main(params_path=params_file(tmp_path, name, **FEW), shards=out, metrics=metrics)
    told = read_set(out)
    counts = {split: FEW[f"{split}_clips"] for split in ("train", "val", "held_out", "reworded")}
    assert told["counts"] == json.loads(metrics.read_text())["clips"] == counts
    assert (told["set"], told["resolution"], told["frames"], told["fps"]) == (name, 64, 16, 10.0)
    rows = list(read_rows(out))
    assert len({row.key for row in rows}) == len(rows) == sum(counts.values())
    for row in rows:
        assert row.frames().shape == (16, 64, 64, 3)
        assert row.attributes["set"] == name
        assert len(row.attributes["objects"][0]["trajectory"]) == 16
    ids = {split: {i for row in rows if row.split == split for i in row.attributes["templates"]} for split in counts}
    assert ids["reworded"] <= set(told["templates"]["reworded"])
    assert ids["train"] | ids["val"] | ids["held_out"] <= set(told["templates"]["train"])


@pytest.mark.slow
def test_a_killed_stage_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    more = {"train_clips": 1200, "clips_per_shard": 20, "val_clips": 5, "held_out_clips": 0, "reworded_clips": 0}
    path = params_file(tmp_path, "shapes", **more)
    command = [
        sys.executable,
        "-c",
        "from pathlib import Path; from pipeline.runtime.stage import run_stage; from stages.shapes import main\n"
        f"if __name__ == '__main__': run_stage(lambda: main(params_path=Path({str(path)!r}),"
        f" shards=Path({str(tmp_path / 'out')!r}), metrics=Path({str(tmp_path / 'm.json')!r})))",
    ]
    environment = {**os.environ, "DVC_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob(".scratch/shapes/*/set/shard-*.parquet"))) < 3:
        assert first.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob(".scratch/shapes/*/set/shard-*.parquet")}
    assert 3 <= len(kept) < 60
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert f"{len(kept)} of 61 shards are there already" in again.stderr
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == age for name, age in kept.items())
    params = shapes_params(**more)
    build_set(shapes_set(params), split_counts(params), 20, tmp_path / "s", tmp_path / "whole", workers=1)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


@dataclass
class PausingSet:
    """A set whose clip 40 waits for `go`."""

    inner: GeneratedSet
    paused: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def row(self, split: str, index: int) -> Row:
        if (split, index) == ("train", 40):
            self.paused.set()
            assert self.go.wait(60)
        return self.inner.row(split, index)


def test_a_run_beside_another_leaves_its_scratch_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    one, other = shapes_params(**FEW), shapes_params(**FEW, seed=1)
    slow = PausingSet(shapes_set(one))
    running = threading.Thread(target=publish_set, args=(slow, one, "1" * 16, tmp_path / "one"))
    running.start()
    assert slow.paused.wait(60)
    publish_set(shapes_set(other), other, "2" * 16, tmp_path / "other")
    slow.go.set()
    running.join()
    assert count_clips(tmp_path / "one") == count_clips(tmp_path / "other") == split_counts(one)
    build_set(shapes_set(one), split_counts(one), 16, tmp_path / "s", tmp_path / "alone")
    assert digest(tmp_path / "one") == digest(tmp_path / "alone")


@pytest.mark.slow
def test_two_parallel_runs_of_the_stage_publish_all_clips(tmp_path: Path) -> None:
    environment = {**os.environ, "DVC_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    more = {**FEW, "train_clips": 600}
    runs: list[subprocess.Popen[str]] = []
    for seed in (1, 1, 2):  # two do exactly the same: one of them waits
        folder = tmp_path / f"copy-{len(runs)}"
        folder.mkdir()
        params_file(folder, "shapes", **more, seed=seed)
        command = [sys.executable, "-m", "stages.shapes"]
        runs.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True))
    told = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], told
    sets = [tmp_path / f"copy-{index}" / "data/shards/shapes" for index in range(3)]
    assert all(count_clips(folder) == split_counts(shapes_params(**more)) for folder in sets)
    assert digest(sets[0]) == digest(sets[1]) != digest(sets[2])
    assert sum("waiting until it ends" in text for text in told) == 1


def test_a_set_that_lost_a_shard_is_not_published(tmp_path: Path) -> None:
    params = shapes_params(**FEW)
    build_set(shapes_set(params), split_counts(params), 16, tmp_path / "s", tmp_path / "out")
    (tmp_path / "out" / "shard-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"its shards hold clips .*'train': 34, .*, not .*'train': 50"):
        write_set(tmp_path / "out", read_set(tmp_path / "out"))


STARTING = """
import os, pathlib, sys, time
if "--multiprocessing-fork" in sys.orig_argv:
    (pathlib.Path(__file__).parent / f"worker-{os.getpid()}").touch()
    time.sleep(1.0)
"""


@pytest.mark.slow
def test_workers_whose_stage_is_killed_while_they_start_end_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(STARTING, encoding="utf-8")
    params_file(tmp_path, "shapes", train_clips=2000, clips_per_shard=50)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "DVC_ROOT": str(tmp_path), "PYTHONPATH": path}
    stage = subprocess.Popen([sys.executable, "-m", "stages.shapes"], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 120
    while not (workers := [int(file.name.removeprefix("worker-")) for file in tmp_path.glob("worker-*")]):
        assert stage.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "a worker outlives its stage"
        time.sleep(0.02)
