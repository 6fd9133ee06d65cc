"""A scratch folder belongs to one live run, and only dead ones are dropped."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.runtime import scratch
from pipeline.runtime.scratch import claim_folder, forget_old_runs, open_scratch


def test_old_runs_are_forgotten_but_the_newest_and_the_live(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folders = [tmp_path / (digit * 16) for digit in "abcde"]
    for age, folder in enumerate(folders):
        folder.mkdir()
        (folder / "lock").touch()
        os.utime(folder, (1000 - age, 1000 - age))
    (tmp_path / "samples").mkdir()
    with claim_folder(folders[4]):
        forget_old_runs(folders[0], keep=2)
        with pytest.raises(ValueError, match="another process is training exactly this"), claim_folder(folders[4]):
            pass
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["a", "b", "c", "e", "s"]
    assert "starting fresh" in caplog.text


def test_a_run_waits_for_one_that_does_exactly_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    caplog.set_level(logging.INFO)
    order: list[str] = []

    def second() -> None:
        with open_scratch("shapes", "a" * 16):
            order.append("second")

    waiting = threading.Thread(target=second)
    with open_scratch("shapes", "a" * 16):
        waiting.start()
        while "waiting until it ends" not in caplog.text:
            assert waiting.is_alive()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_a_folder_dropped_while_a_run_waits_for_it_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    old, new = (tmp_path / ".scratch/shapes" / (digit * 16) for digit in "ab")
    (old / "set").mkdir(parents=True)
    held = threading.Event()

    def take_old() -> None:
        with claim_folder(old, wait=True):
            assert not (old / "set").exists()
            (old / "mine").touch()
            held.set()

    dropping = scratch.shutil.rmtree

    def slow_rmtree(folder: Path, **options: Any) -> None:
        taker = threading.Thread(target=take_old)  # while the folder is half gone
        taker.start()
        assert held.wait(60)
        taker.join()
        dropping(folder, **options)

    monkeypatch.setattr(scratch.shutil, "rmtree", slow_rmtree)
    with open_scratch("shapes", new.name):
        assert (old / "mine").exists()
        assert sorted(path.name[0] for path in new.parent.iterdir()) == ["a", "b"]
