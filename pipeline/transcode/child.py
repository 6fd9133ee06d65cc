"""The process that decodes: reads jobs from stdin, answers on stdout, and may die at any of them.

A job is a pickle of its parent's (pipeline/transcode/workers.py). An answer is plain bytes, for a clip may have taken
the child over: the parent unpickles nothing of it. The child ends when its parent does, however that happens, and when
no job has come for a while.
"""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.data.gif import encode_gif
from pipeline.runtime.start import die_with_parent
from pipeline.transcode.decoding.spec import ClipError, FrameSpec

LENGTHS = struct.Struct(">QQQ")  # before each answer: bytes of its GIF, reason and detail
IDLE_S = 60.0  # without a job


@dataclass(frozen=True)
class ClipJob:
    """One clip to make a GIF of."""

    source: bytes | Path
    spec: FrameSpec
    fps: float
    decoder: str | None  # "module:function" of (bytes or path, spec) -> uint8 frames; None: decode_clip


@dataclass(frozen=True)
class ClipAnswer:
    """A GIF, or a reason and the decoder's words."""

    gif: bytes = b""
    reason: str = ""
    detail: str = ""

    def to_bytes(self) -> bytes:
        parts = (self.gif, self.reason.encode(), self.detail.encode())
        return LENGTHS.pack(*map(len, parts)) + b"".join(parts)


def run_job(job: ClipJob) -> ClipAnswer:
    """Decode and encode one clip. Raises MemoryError, after which the process is of no more use."""
    try:
        frames = _decoder(job.decoder)(job.source, job.spec)
    except ClipError as error:
        return ClipAnswer(reason=error.reason, detail=str(error))
    assert frames.shape == (job.spec.frames, job.spec.resolution, job.spec.resolution, 3), frames.shape
    return ClipAnswer(gif=encode_gif(frames, job.fps))


@lru_cache(maxsize=1)
def _decoder(name: str | None) -> Callable[[bytes | Path, FrameSpec], np.ndarray]:
    if name is None:
        from pipeline.transcode.decoding.decode import decode_clip  # its libraries belong into this process alone

        return decode_clip
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def main(memory_bytes: int, parent: int) -> None:
    """Serve the process `parent` until it closes stdin."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not mix with the answers
    _die_with(parent)
    _limit_memory(memory_bytes)
    _send(answers, ClipAnswer())  # ready
    while select.select([sys.stdin], [], [], IDLE_S)[0]:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _send(answers, run_job(job))


def _send(answers: BinaryIO, answer: ClipAnswer) -> None:
    answers.write(answer.to_bytes())
    answers.flush()


def _die_with(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    die_with_parent(parent, signal.SIGKILL)


def _limit_memory(memory_bytes: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
