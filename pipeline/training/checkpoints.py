"""Checkpoints that survive a kill at any moment: whole or not at all, checked by digest, the last two kept.

A file is a magic word, the SHA-256 of the rest, and torch.save's bytes. What a run needs to go on is all inside; random
numbers need no state, since each step draws its own from (seed, step). A folder belongs to one live run at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger("t2v")

MAGIC = b"T2VCKPT1"
NAME = "step-{:08d}.ckpt"
PATTERN = re.compile(r"step-(\d{8})\.ckpt")
FINGERPRINT = re.compile(r"[0-9a-f]{16}")


class Checkpoints:
    """The checkpoints of one run, in its scratch folder."""

    def __init__(self, folder: Path, fingerprint: str, keep: int = 2) -> None:
        self.folder, self.fingerprint, self.keep = Path(folder), fingerprint, keep

    def paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self.folder.glob("step-*.ckpt") if PATTERN.fullmatch(path.name))

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after `step` steps, then forget all but the newest `keep`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "step": step, "state": state}, buffer)
        payload = buffer.getbuffer()
        path = self.folder / NAME.format(step)
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                file.write(MAGIC + hashlib.sha256(payload).digest())
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)  # a full disk must not stay full of halves
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> Path | None:
        """The newest checkpoint that is whole and of this fingerprint; says which ones it passed over."""
        for path in reversed(self.paths()):
            if read_checkpoint(path, self.fingerprint) is not None:
                return path
        return None

    def load(self, path: Path) -> tuple[int, dict[str, Any]]:
        """(steps done, state), tensors on the CPU. Raises ValueError where `path` is damaged."""
        saved = read_checkpoint(path, self.fingerprint)
        if saved is None:
            raise ValueError(f"{path}: not a whole checkpoint of this run; delete it and rerun")
        return saved["step"], saved["state"]

    def clear(self) -> None:
        """Forget the run: its outputs are written."""
        for path in self.paths():
            path.unlink()


def read_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """A checkpoint's contents; None, with a log line, where it is cut short, damaged or another run's."""
    data = path.read_bytes()
    head, payload = data[: len(MAGIC) + 32], memoryview(data)[len(MAGIC) + 32 :]
    if head != MAGIC + hashlib.sha256(payload).digest():
        log.warning("%s: damaged or cut short (%d bytes): passed over", path, len(data))
        return None
    saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    if saved["fingerprint"] != fingerprint:
        log.info("%s: made by other params, inputs or code: starting fresh", path)
        return None
    return saved


@contextmanager
def claim_folder(folder: Path, is_main_process: bool = True) -> Iterator[None]:
    """Hold a scratch folder for one run, by its first process. Raises ValueError where another run holds it."""
    if not is_main_process:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another process is training exactly this; wait for it, or stop it") from None
        yield


def forget_old_runs(folder: Path, keep: int = 2) -> None:
    """Of the other fingerprints' folders beside `folder`, keep the newest few, so that going back resumes.

    The rest is dropped, but for a folder that a live run holds.
    """
    others = [path for path in folder.parent.iterdir() if FINGERPRINT.fullmatch(path.name) and path != folder]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    if others and not any(folder.glob("step-*.ckpt")):
        log.info("params, inputs or code changed since run %s: starting fresh", others[0].name)
    for old in others[keep:]:
        if _is_free(old):
            shutil.rmtree(old)


def _is_free(folder: Path) -> bool:
    lock = folder / "lock"
    if not lock.exists():
        return True
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
