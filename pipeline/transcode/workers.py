"""Clips through decoder processes that may crash, hang or fill memory: each costs one clip, and a new process goes on.

`transcode_batch` is a job: a thread here, or a worker of a dask cluster, supervises one child process
(pipeline/transcode/child.py) at a time, so that the same code serves both.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.sources.archive import VideoArchive, VideoEntry, open_videos
from pipeline.transcode.child import LENGTHS, ClipAnswer, ClipJob
from pipeline.transcode.decoding.spec import FrameSpec

IN_MEMORY_BYTES = 256 * 2**20  # a larger clip is copied to a temporary file
ANSWER_BYTES = 2**30  # at most
START_LIMIT_S = 120.0  # to import the libraries on a busy machine
ADDRESS = re.compile("0x[0-9a-f]{6,}")
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Limits:
    """Limits for one clip."""

    time_s: float
    memory_gb: float


@dataclass(frozen=True)
class BatchSettings:
    """Settings that all clips of a run share."""

    archive: str
    spec: FrameSpec
    fps: float
    decoder: str | None  # as in ClipJob
    limits: Limits


class ChildGoneError(Exception):
    """The child died or was ended; `args` are the reason and its last words."""


class DecoderProcess:
    """One child, started on construction."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.jobs_done = 0
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        start = f"from pipeline.transcode.child import main; main({int(limits.memory_gb * 2**30)}, {os.getpid()})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
        )
        self._receive(START_LIMIT_S)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def run(self, job: ClipJob) -> ClipAnswer:
        """Raises ChildGoneError; the process is then dead."""
        assert self._process.stdin is not None
        self._stderr.seek(0)
        self._stderr.truncate()
        try:
            pickle.dump(job, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None
        answer = self._receive(self.limits.time_s)
        self.jobs_done += 1
        return answer

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # a job that it never read
                stream.close()

    def _receive(self, limit_s: float) -> ClipAnswer:
        """The next answer, within `limit_s` seconds."""
        deadline = time.monotonic() + limit_s
        lengths = LENGTHS.unpack(self._read(LENGTHS.size, deadline, limit_s))
        if sum(lengths) > ANSWER_BYTES:
            self._process.kill()
            raise ChildGoneError("crashed", f"the decoder's answer would have {sum(lengths)} bytes")
        gif, reason, detail = (self._read(length, deadline, limit_s) for length in lengths)
        return ClipAnswer(gif, reason.decode(errors="replace"), detail.decode(errors="replace"))

    def _read(self, length: int, deadline: float, limit_s: float) -> bytes:
        assert self._process.stdout is not None
        pipe, data = self._process.stdout.fileno(), bytearray()
        while len(data) < length:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._process.kill()
                raise ChildGoneError("too slow", f"no answer within {limit_s:g} s (transcode.time_limit_s)")
            part = os.read(pipe, length - len(data))
            if not part:
                raise self._gone()
            data += part
        return bytes(data)

    def _gone(self) -> ChildGoneError:
        code = self._process.wait()
        self._stderr.seek(0)
        words = " ".join(self._stderr.read()[-400:].decode(errors="replace").split())
        if "MemoryError" in words or "Cannot allocate memory" in words:
            return ChildGoneError("out of memory", f"over transcode.memory_limit_gb={self.limits.memory_gb:g}")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        words = ADDRESS.sub("0x…", words)  # other in each run, and rejected.csv is not
        return ChildGoneError("crashed", f"the decoder ended with {how}{f': {words}' if words else ''}")


_idle: list[DecoderProcess] = []
_lock = threading.Lock()
_archives: dict[str, VideoArchive] = {}
_listing = threading.Lock()


def transcode_batch(settings: BatchSettings, entries: Sequence[VideoEntry]) -> list[ClipAnswer]:
    """One answer for each clip, in order, whatever happens to the decoder."""
    archive = _archive(settings.archive)
    return [_read_and_transcode(settings, archive, entry) for entry in entries]


def transcode_file(source: Path, spec: FrameSpec, fps: float, limits: Limits) -> ClipAnswer:
    """One file as a GIF, or the reason why not, whatever happens to the decoder."""
    return _transcode(ClipJob(source.resolve(), spec, fps, None), limits)


def _read_and_transcode(settings: BatchSettings, archive: VideoArchive, entry: VideoEntry) -> ClipAnswer:
    same = (settings.spec, settings.fps, settings.decoder)
    with tempfile.TemporaryDirectory() if entry.size > IN_MEMORY_BYTES else contextlib.nullcontext() as folder:
        try:
            source = archive.read(entry) if folder is None else archive.extract(entry, Path(folder))
        except ValueError as error:  # this member cannot be read
            return ClipAnswer(reason="damaged in the archive", detail=str(error))
        return _transcode(ClipJob(source, *same), settings.limits)


def _archive(path: str) -> VideoArchive:
    """The archive at a path, listed once by this process: a large one takes seconds."""
    with _listing:
        if path not in _archives:
            _archives.clear()
            _archives[path] = open_videos(Path(path))
        return _archives[path]


def _transcode(job: ClipJob, limits: Limits) -> ClipAnswer:
    """A crash counts only when a fresh process repeats it: the clips before, or the machine, may be to blame."""
    while True:
        child = _borrow(limits)
        is_fresh = child.jobs_done == 0
        try:
            answer = child.run(job)
        except ChildGoneError as gone:
            child.stop()
            reason, detail = gone.args
            if is_fresh or reason == "too slow":
                return ClipAnswer(reason=reason, detail=detail)
        except BaseException:
            child.stop()
            raise
        else:
            with _lock:
                _idle.append(child)
            return answer


def _borrow(limits: Limits) -> DecoderProcess:
    """A live idle child of these limits, or a new one."""
    with _lock:
        for child in list(_idle):
            if child.limits == limits:
                _idle.remove(child)
                if child.is_alive:
                    return child
                child.stop()
    try:
        return DecoderProcess(limits)
    except ChildGoneError as gone:
        raise RuntimeError(f"a decoder process cannot start: {gone.args[1]}") from None


@contextmanager
def decoders(archive: VideoArchive | None = None) -> Iterator[None]:
    """Within the block, children of this process may wait for more work; then they end. `archive` is listed already."""
    if archive is not None:
        _archives[str(archive.path.resolve())] = archive
    try:
        yield
    finally:
        _archives.clear()
        with _lock:
            while _idle:
                _idle.pop().stop()
