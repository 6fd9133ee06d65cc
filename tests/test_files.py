"""Files and folders stand whole or not at all, and the disk's errors name what was to be written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.model_io.model_card import ModelCard, save_model
from pipeline.runtime import files, stage
from pipeline.runtime.files import (
    link_or_copy,
    move_folder,
    whole_file,
    whole_folder,
    write_csv,
    write_json,
    write_text,
)
from pipeline.runtime.stage import run_stage

CARD = ModelCard(
    family="unet", dataset="shapes", frames=16, resolution=64, channels=3, fps=10.0, text=None, params={}, steps=1,
    seed=0, clips_seen=1,
)  # fmt: skip


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path whose file cannot be written: there is no space left."""
    monkeypatch.setattr(stage, "keep_freed_memory", lambda: None)  # for good, in the tests' own process
    path = tmp_path / "out" / "weights.safetensors"
    path.parent.mkdir()
    (path.parent / f"{path.name}.partial").symlink_to("/dev/full")
    return path


def test_a_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "numbers.json"
    write_json(path, {"b": 1, "a": [2]})
    assert path.read_text(encoding="utf-8") == '{\n "a": [\n  2\n ],\n "b": 1\n}\n'

    def fail() -> None:
        with whole_file(path) as partial:
            partial.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(path.parent.iterdir()) == [path]
    assert path.read_text(encoding="utf-8").startswith("{")


def test_a_folder_is_whole_or_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for text in ("old", "new"):
        with whole_folder(folder) as partial:
            write_text(partial / text, text)

    def fail() -> None:
        with whole_folder(folder) as partial:
            write_text(partial / "half", "half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_a_kill_leaves_a_partial_that_the_next_run_replaces(tmp_path: Path) -> None:
    (tmp_path / "set.partial").mkdir()
    (tmp_path / "set.partial" / "left over").touch()
    with whole_folder(tmp_path / "set") as partial:
        write_text(partial / "new", "new")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["set", "set/new"]


def test_a_full_disk_is_one_line_that_names_the_file(full_disk: Path) -> None:
    with pytest.raises(SystemExit, match=rf"^error: No space left on device: {full_disk}.*; free space"):
        run_stage(lambda: write_text(full_disk, "words" * 10_000))
    assert not list(full_disk.parent.iterdir())


def test_weights_and_tables_name_the_file_too(full_disk: Path) -> None:
    with pytest.raises(SystemExit, match=f"No space left on device: {full_disk}"):
        run_stage(lambda: save_model(full_disk.parent, CARD, {"w": torch.zeros(10_000)}))
    shard = full_disk.with_name("shard")
    shard.with_name("shard.partial").symlink_to("/dev/full")

    def write_table() -> None:
        with whole_file(shard) as partial:
            pq.write_table(pa.table({"x": list(range(100_000))}), partial)

    with pytest.raises(SystemExit, match=f"No space left on device: {shard}"):
        run_stage(write_table)


def test_weights_have_the_rights_of_any_other_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_model(tmp_path / "model", CARD, {"w": torch.zeros(2)})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()} == {0o640}


def test_a_table_has_a_head_line_and_short_floats(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", pd.DataFrame([("a, b", 1, 1 / 3), ("c", 2, 1e-7)], columns=["key", "n", "x"]))
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == 'key,n,x\n"a, b",1,0.333333\nc,2,1e-07\n'
    write_csv(tmp_path / "none.csv", pd.DataFrame([], columns=["key", "n"]))
    assert (tmp_path / "none.csv").read_text(encoding="utf-8") == "key,n\n"


@pytest.mark.parametrize("across_disks", [False, True])
def test_a_moved_folder_replaces_the_old_one(
    across_disks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    renamed = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if across_disks and self.name == "source":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return renamed(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    move_folder(tmp_path / "source", tmp_path / "target")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["target", "target/source"]


def test_a_link_becomes_a_copy_across_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a", "text")
    link_or_copy(tmp_path / "a", tmp_path / "linked")
    assert (tmp_path / "linked").samefile(tmp_path / "a")

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(files.os, "link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "copied")
    assert (tmp_path / "copied").read_text(encoding="utf-8") == "text"
    assert not (tmp_path / "copied").samefile(tmp_path / "a")
