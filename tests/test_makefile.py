"""`make repro` runs wherever DVC does: in a clone, a worktree, or a folder of a larger repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]


def make(*words: str, folder: Path, check: bool) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}  # of `make test`
    return subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=check)


def make_git(folder: Path) -> subprocess.CompletedProcess[str]:
    """The check that `make repro` begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "Makefile", folder)
    return make("git", folder=folder, check=False)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    clone.mkdir()
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "start"], ["worktree", "add", "../tree"]):
        subprocess.run([*GIT, *words], cwd=clone, check=True, capture_output=True)
    return clone


@pytest.mark.parametrize("place", [".", "part/of it", "../tree"])
def test_any_folder_of_a_git_repository_will_do(place: str, clone: Path) -> None:
    done = make_git(clone / place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_folder_without_git_says_what_to_do(tmp_path: Path) -> None:
    done = make_git(tmp_path)
    assert done.returncode
    assert "error: no Git repository here; DVC needs one: git init && git add -A && git commit" in done.stderr


def test_repro_begins_with_it() -> None:
    done = make("-n", "repro", folder=ROOT, check=True)
    assert done.stdout.startswith("git rev-parse")
