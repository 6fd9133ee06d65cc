"""The stage as a program: killed for real, run by two processes, one of them lost, stopped by a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.training.checkpoints import Checkpoints
from tests.training_toys import write_toy_params, write_toy_set

ROOT = Path(__file__).parents[1]
STAGE = [sys.executable, "-m", "stages.train"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "stages.train"]
LIMIT_S = 240.0  # for a busy machine; a run takes some seconds
STEPS = 24

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DVC_ROOT", "WORLD_SIZE", "T2V_TORCHRUN")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def start(folder: Path, command: list[str] = STAGE) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=LIMIT_S)
    return process.returncode, errors


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not what():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob(".scratch/train/*/*.ckpt"))


def toy_folder(folder: Path, **train: Any) -> Path:
    folder.mkdir()
    write_toy_set(folder)
    settings = {"steps": STEPS, "checkpoint_every": 3, "val_every": STEPS, "sample_every": STEPS}
    write_toy_params(folder, **(settings | {"given_frames": [1, 2]} | train))
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    names = ("models/unet/weights.safetensors", "models/unet/model.json", "plots/train/loss.csv", "plots/train/val.csv")
    return {name: (folder / name).read_bytes() for name in names}


def losses(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "plots/train/loss.csv", delimiter=",", skiprows=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = toy_folder(tmp_path_factory.mktemp("whole") / "run", accumulate=2)
    code, errors = finish(start(folder))
    assert code == 0, errors
    return folder


def test_kill_9_then_sigterm_then_run_again_ends_in_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    folder = toy_folder(tmp_path / "run", accumulate=2)
    killed = start(folder)
    wait_for(lambda: checkpoints(folder), killed)
    killed.kill()
    assert finish(killed)[0] == -signal.SIGKILL
    assert not (folder / "models").exists()

    before = checkpoints(folder)[-1].name
    stopped = start(folder)
    wait_for(lambda: checkpoints(folder)[-1].name > before, stopped)
    stopped.send_signal(signal.SIGTERM)
    code, errors = finish(stopped)
    assert code == 130, errors
    assert "resuming after step" in errors
    assert f"of {STEPS}, saved in" in errors
    assert "run the same command again to go on" in errors

    code, errors = finish(start(folder))
    assert code == 0, errors
    assert outputs(folder) == outputs(whole)


def test_two_processes_follow_the_same_curve(whole: Path, tmp_path: Path) -> None:
    folder = toy_folder(tmp_path / "run", accumulate=1)
    code, errors = finish(start(folder, TWO))
    assert code == 0, errors
    alone, together = losses(whole), losses(folder)
    assert alone.shape == together.shape
    np.testing.assert_allclose(together[:, :3], alone[:, :3], rtol=1e-3)
    assert checkpoints(folder) == []


def test_a_lost_process_ends_the_run_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    folder = toy_folder(tmp_path / "run", steps=100_000)
    process = start(folder, TWO)
    wait_for(lambda: checkpoints(folder), process)
    os.kill(process_of_rank(process.pid, 1), signal.SIGKILL)
    code, errors = finish(process)
    assert code != 0
    assert "another of the 2 processes died at step" in errors
    kept = checkpoints(folder)[-1]
    newest = Checkpoints(kept.parent, kept.parent.name).newest()
    assert newest == kept
    assert Checkpoints(kept.parent, kept.parent.name).load(kept)[0] == int(kept.stem.split("-")[1])


def process_of_rank(parent: int, rank: int) -> int:
    """The process that torchrun `parent` started for a rank."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if above == parent and f"RANK={rank}".encode() in names:
            return int(folder.name)
    raise AssertionError(f"no rank {rank} below process {parent}")
