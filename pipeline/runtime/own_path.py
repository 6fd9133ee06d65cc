"""Paths of the user's own files, as params name them."""

from __future__ import annotations

import os
from pathlib import Path


def own_path(text: str) -> Path:
    """The path from here or, where nothing is there, from the project itself.

    An experiment in a copy (`dvc exp run --temp`, the queue) has no untracked files; $DVC_ROOT names the project.
    """
    path = Path(text).expanduser()
    at_home = Path(os.environ.get("DVC_ROOT", "."), path)
    return at_home if not path.exists() and at_home.exists() else path
