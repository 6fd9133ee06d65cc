"""Where the user's own files are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime.files import own_path


def test_a_relative_path_is_looked_up_from_the_project_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment runs in a copy that has no untracked files; where the copy has the file, that one counts."""
    project, copy = tmp_path / "project", tmp_path / "copy"
    project.mkdir()
    copy.mkdir()
    (project / "clips.zip").write_bytes(b"mine")
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert own_path("clips.zip") == project / "clips.zip"
    assert own_path("gone.zip") == Path("gone.zip")
    assert own_path(str(project / "clips.zip")) == project / "clips.zip"
    (copy / "clips.zip").write_bytes(b"tracked")
    assert own_path("clips.zip") == Path("clips.zip")
    monkeypatch.delenv("DVC_ROOT")
    assert own_path("gone.zip") == Path("gone.zip")
