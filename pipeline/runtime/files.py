"""Files and folders that stand whole or not at all: filled under another name beside, then renamed.

A kill leaves at most a `*.partial`, which the next write replaces; an error leaves nothing. An error of the disk names
the file that was to be written. `own_path` finds the user's own files, as params name them.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PARTIAL = ".partial"
DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT)
NO_HARD_LINK = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK)  # across disks, or not on this file system


def own_path(text: str) -> Path:
    """The path from here or, where nothing is there, from the project itself.

    An experiment in a copy (`dvc exp run --temp`, the queue) has no untracked files; $DVC_ROOT names the project.
    """
    path = Path(text).expanduser()
    at_home = Path(os.environ.get("DVC_ROOT", "."), path)
    return at_home if not path.exists() and at_home.exists() else path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The path of a file to write; when the block ends, it replaces `path`. Folders above are made."""
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)  # a full disk must not stay full of halves
        _name(error, path)
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends, it replaces `folder`. Folders above are made."""
    partial = _beside(folder)
    _remove(partial)
    try:
        partial.mkdir(parents=True)
        yield partial
        _remove(folder)
        partial.rename(folder)
    except BaseException as error:
        _remove(partial)
        _name(error, folder)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with its newlines as they are."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and a final newline."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table with a head line and without its index, floats to six significant digits."""
    with whole_file(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", float_format="%.6g")


def move_folder(source: Path, folder: Path) -> None:
    """Let `source` replace `folder`; across disks by a copy that stands whole before the source goes."""
    with whole_folder(folder) as partial:
        partial.rmdir()
        try:
            source.rename(partial)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copytree(source, partial)
    _remove(source)


def link_or_copy(source: Path, target: Path) -> None:
    """Give the same bytes a second name; a copy where the file system cannot. Neither may be written in place then."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_HARD_LINK:
            raise
        shutil.copyfile(source, target)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _name(error: BaseException, path: Path) -> None:
    """Let an error of the disk that names no file name `path`."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS and error.filename is None:
        error.filename = str(path)
