"""Checkpoints that survive a kill at any moment: whole or not at all, checked by digest, the last two kept.

A file is a magic word, the SHA-256 of the rest, and torch.save's bytes. What a run needs to go on is all inside; random
numbers need no state, since each step draws its own from (seed, step).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.runtime.files import whole_file
from pipeline.runtime.scratch import claim_folder, fingerprint, forget_old_runs, scratch_folder
from pipeline.training.distributed import DistContext

log = logging.getLogger("t2v")

MAGIC = b"T2VCKPT1"
NAME = "step-{:08d}.ckpt"
PATTERN = re.compile(r"step-(\d{8})\.ckpt")


class Checkpoints:
    """The checkpoints of one run, in its scratch folder."""

    def __init__(self, folder: Path, fingerprint: str, keep: int = 2) -> None:
        self.folder, self.fingerprint, self.keep = Path(folder), fingerprint, keep

    def paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self.folder.glob("step-*.ckpt") if PATTERN.fullmatch(path.name))

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after `step` steps, then forget all but the newest `keep`."""
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "step": step, "state": state}, buffer)
        payload = buffer.getbuffer()
        path = self.folder / NAME.format(step)
        with whole_file(path) as partial, partial.open("wb") as file:
            file.write(MAGIC + hashlib.sha256(payload).digest())
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
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


@contextmanager
def open_checkpoints(
    stage: str,
    parts: Sequence[Any],  # of the params
    inputs: Sequence[Path],
    dist: DistContext,
) -> Iterator[Checkpoints]:
    """The checkpoints of a stage by its params, inputs and code, held to the block's end.

    Raises ValueError where another run of exactly these is alive.
    """
    key = dist.broadcast(fingerprint(stage, *parts, inputs=inputs) if dist.is_main_process else None)
    folder = scratch_folder(stage, key)
    with claim_folder(folder, dist.is_main_process):
        if dist.is_main_process:
            forget_old_runs(folder)
        yield Checkpoints(folder, key)


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
