"""The process that decodes: reads jobs from stdin, answers on stdout, and may die at any of them.

Messages are pickles between a parent (pipeline/transcode/workers.py) and its own child. The child ends when its parent
does, however that happens.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.gif import encode_gif
from pipeline.runtime.start import die_with_parent
from pipeline.sources.archive import VideoArchive, VideoEntry, open_videos
from pipeline.transcode.decoding.spec import ClipError, FrameSpec

LENGTH = struct.Struct(">Q")  # before each answer
IN_MEMORY_BYTES = 256 * 2**20  # a larger clip is copied to a temporary file


@dataclass(frozen=True)
class ClipJob:
    """One clip to make a GIF of."""

    archive: str
    entry: VideoEntry
    spec: FrameSpec
    fps: float
    decoder: str  # "module:function" of (bytes or path, spec) -> uint8 frames


@dataclass(frozen=True)
class ClipAnswer:
    """A GIF, or a reason and the decoder's words."""

    gif: bytes = b""
    reason: str = ""
    detail: str = ""


def run_job(job: ClipJob) -> ClipAnswer:
    """Read, decode and encode one clip. Raises MemoryError, after which the process is of no more use."""
    try:
        frames = _decode(job)
    except ClipError as error:
        return ClipAnswer(reason=error.reason, detail=str(error))
    except ValueError as error:  # the archive's: this member cannot be read
        return ClipAnswer(reason="damaged in the archive", detail=str(error))
    assert frames.shape == (job.spec.frames, job.spec.resolution, job.spec.resolution, 3), frames.shape
    return ClipAnswer(gif=encode_gif(frames, job.fps))


def _decode(job: ClipJob) -> np.ndarray:
    archive, decode = _archive(job.archive), _decoder(job.decoder)
    if job.entry.size <= IN_MEMORY_BYTES:
        return decode(archive.read(job.entry), job.spec)
    with tempfile.TemporaryDirectory() as folder:
        return decode(archive.extract(job.entry, Path(folder)), job.spec)


@lru_cache(maxsize=1)
def _archive(path: str) -> VideoArchive:
    return open_videos(Path(path))


@lru_cache(maxsize=1)
def _decoder(name: str) -> Callable[[bytes | Path, FrameSpec], np.ndarray]:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def main(memory_bytes: int, parent: int) -> None:
    """Serve the process `parent` until it closes stdin."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not mix with the answers
    _die_with(parent)
    _limit_memory(memory_bytes)
    _send(answers, None)  # ready
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _send(answers, run_job(job))


def _send(answers: Any, message: Any) -> None:
    data = pickle.dumps(message)
    answers.write(LENGTH.pack(len(data)) + data)
    answers.flush()


def _die_with(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    die_with_parent(parent, signal.SIGKILL)


def _limit_memory(memory_bytes: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
