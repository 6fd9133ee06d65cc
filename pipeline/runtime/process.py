"""The process a stage runs in: it dies with its parent, logs in one form, and turns a user's mistake into one line."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.runtime.code import ROOT, code_of

log = logging.getLogger("t2v")

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


def run_stage(main: Callable[[], object]) -> None:
    """Run a stage's `main` as a program: exit 0, or one line on stderr and exit 1 (130 after Ctrl-C)."""
    die_with_parent()
    keep_freed_memory()
    start_log()
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        log.warning("interrupted%s", f": {stop}" if str(stop) else "; run the same command again to go on")
        sys.exit(130)
    except MemoryError:
        sys.exit("error: out of memory; lower the stage's batch_size, resolution or frames in params.yaml")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        sys.exit(f"error: {error.strerror}: {error.filename or Path.cwd()}; free space or mend its rights, then rerun")


def die_with_parent() -> None:
    """On Linux: be sent SIGTERM when the parent (dvc) dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def keep_freed_memory() -> None:
    """With glibc: reuse freed tensors' pages, however large. By itself it gives blocks beyond 32 MB back to the system,
    and to fault the pages in anew at every step takes several times as long as to write them. One arena: those of other
    threads give back all the same."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def start_log() -> None:
    """Log lines to stderr with a clock, so that stdout stays for results."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    for noisy in ("httpx", "urllib3", "distributed", "PIL", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def worker_count() -> int:
    """Cores this process may use; found at run time, never a param."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


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


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends, it replaces `folder`, so that half of one never stands there."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and a final newline, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)
