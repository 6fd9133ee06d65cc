"""Scratch folders: what must survive a kill, in `$DVC_ROOT/.scratch/<stage>/<fingerprint>/`, outside every DVC output.

Runs share them: `dvc exp run --temp` and queue workers have their own working copies, but one `$DVC_ROOT`. So a folder
belongs to one live run at a time, by a lock that the system frees however the run ends, and only dead ones are dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipeline.runtime.code import ROOT, code_of

log = logging.getLogger("t2v")

LOCK = "lock"
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
DROPPED = ".dropped"  # the end of the name of a folder that is being deleted


def fingerprint(stage: str, *parts: Any, inputs: Iterable[Path] = ()) -> str:
    """A name for (params, input bytes, the stage's code as runtime/code.py finds it); equal where a rerun would do the
    same work."""
    digest = hashlib.sha256(json.dumps([_plain(part) for part in parts], sort_keys=True, default=str).encode())
    for path in inputs:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(str(file.relative_to(path)).encode())
                digest.update(_file_digest(file))
    for name in code_of(stage):
        digest.update(_file_digest(ROOT / name))
    return digest.hexdigest()[:16]


def _plain(part: Any) -> Any:
    return part.model_dump(mode="json") if hasattr(part, "model_dump") else part


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def scratch_root() -> Path:
    """`.scratch` of the repository that DVC runs for."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".scratch"


def scratch_folder(stage: str, print_: str) -> Path:
    """`.scratch/<stage>/<fingerprint>` of the repository that DVC runs for; made if missing."""
    folder = scratch_root() / stage / print_
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def open_scratch(stage: str, print_: str) -> Iterator[Path]:
    """The scratch folder of this fingerprint, held to the block's end; waits for a run that does exactly the same.

    What dead runs of other fingerprints left is dropped.
    """
    folder = scratch_folder(stage, print_)
    with claim_folder(folder, wait=True):
        forget_old_runs(folder, keep=0)
        yield folder


@contextmanager
def claim_folder(folder: Path, is_first: bool = True, *, wait: bool = False) -> Iterator[None]:
    """Hold a scratch folder for one run, by its first process.

    Where another run holds it: wait until it ends, or raise ValueError.
    """
    if not is_first:
        yield
        return
    lock = _take_lock(folder)
    if lock is None and wait:
        log.info("%s: another run is making exactly this; waiting until it ends", folder)
        lock = _take_lock(folder, wait=True)
    if lock is None:
        raise ValueError(f"{folder}: another process is training exactly this; wait for it, or stop it")
    with lock:
        yield


def forget_old_runs(folder: Path, keep: int = 2) -> None:
    """Of the other fingerprints' folders beside `folder`, keep the newest few, so that going back resumes.

    The rest is dropped, but for a folder that a live run holds.
    """
    for half_dropped in folder.parent.glob(f"*{DROPPED}"):
        shutil.rmtree(half_dropped, ignore_errors=True)  # another run may be deleting it too
    others = [path for path in folder.parent.iterdir() if FINGERPRINT.fullmatch(path.name) and path != folder]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    if others and not any(path.name != LOCK for path in folder.iterdir()):
        log.info("params, inputs or code changed since run %s: starting fresh", others[0].name)
    for old in others[keep:]:
        _drop_if_dead(old)


def _drop_if_dead(folder: Path) -> None:
    lock = _take_lock(folder)
    if lock is None:
        return
    with lock:
        dropped = folder.with_name(folder.name + DROPPED)
        folder.rename(dropped)  # whoever waits for the lock sees that it is no longer the folder's
        shutil.rmtree(dropped, ignore_errors=True)


def _take_lock(folder: Path, *, wait: bool = False) -> IO[str] | None:
    """The folder's lock, held until the file is closed or the process ends; None where a live run holds it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (folder / LOCK).open("a")
        except FileNotFoundError:  # dropped between the two lines
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            return None
        if _is_at(file, folder / LOCK):
            return file
        file.close()


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether `path` still names this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
