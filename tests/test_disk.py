"""Disk that a project takes beside the user's own clips, under real DVC, and that it leaves those as they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.data.gif import encode_gif
from tests.source_toys import make_zip
from tests.test_graph import dvc, fresh_clone, git

OWN_BYTES = 6_000_000  # what the archive holds besides its clips, which costs no decoding


def own_archive(path: Path) -> Path:
    rng = np.random.default_rng(0)
    files = [("notes.bin", rng.bytes(OWN_BYTES))]
    for clip in range(4):
        frames = rng.integers(0, 255, (1, 8, 32, 32, 3), np.uint8).repeat(8, axis=0)[:, clip]
        files += [(f"{clip}.gif", encode_gif(frames, 10.0)), (f"{clip}.txt", f"noise of kind {clip}\n".encode())]
    return make_zip(path, [*files])


def own_clips(folder: Path, *, in_place: bool) -> Path:
    """A clone whose params name an archive beside it."""
    own_archive(folder / "own.zip").chmod(0o644)
    (folder / "clone").mkdir()
    clone = fresh_clone(folder / "clone")
    tree = yaml.safe_load((clone / "params.yaml").read_text())
    tree["dataset"] = "videos"
    tree["download"] |= {"source": "local", "path": "../own.zip", "in_place": in_place}
    (clone / "params.yaml").write_text(yaml.safe_dump(tree))
    git(clone, "commit", "-qam", "own clips")
    return clone


def disk_of(folder: Path) -> int:
    """Bytes on the disk, of a file with several names once."""
    found = {(status.st_dev, status.st_ino): status.st_size for status in map(os.lstat, folder.rglob("*"))}
    return sum(found.values())


@pytest.mark.slow
@pytest.mark.parametrize(("in_place", "copies"), [(False, 1), (True, 0)])
def test_own_clips_cost_one_copy_or_none_and_stay_the_users(tmp_path: Path, in_place: bool, copies: int) -> None:
    clone, own = own_clips(tmp_path, in_place=in_place), tmp_path / "own.zip"
    before, data = disk_of(clone), own.read_bytes()
    dvc(clone, "repro", "transcode")
    assert disk_of(clone) - before < (copies + 0.1) * len(data)
    if not in_place:
        git(clone, "add", "-A")
        git(clone, "commit", "-qm", "clips")
        dvc(clone, "exp", "run", "--temp", "-n", "slower", "-S", "transcode.fps=5.0", "transcode")
    shutil.rmtree(clone / "data")
    dvc(clone, "checkout", "download", "transcode")
    assert disk_of(clone) - before < (copies + 0.1) * len(data)
    facts = own.stat()
    assert (facts.st_nlink, facts.st_mode & 0o777, own.read_bytes()) == (1, 0o644, data)
    with own.open("ab") as file:  # the user's to write, too
        file.write(b"more")
    if in_place:
        again = dvc(clone, "repro", "--force", "--single-item", "transcode", check=False)
        assert "error: ../own.zip: not what it was when it was taken in place" in again
    else:
        assert (clone / "data/raw/videos.zip").read_bytes() == data
