"""A stage as a program: it logs in one form, keeps freed memory, and turns a user's mistake into one line."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable

from pipeline.runtime.files import DISK_ERRORS

log = logging.getLogger("t2v")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


def run_stage(main: Callable[[], object]) -> None:
    """Run a stage's `main` as a program: exit 0, or one line on stderr and exit 1 (130 after Ctrl-C)."""
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
        if error.errno not in DISK_ERRORS:
            raise
        sys.exit(f"error: {error.strerror}: {error.filename}; free space or change its rights, then rerun")


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
    for noisy in ("httpx", "urllib3", "PIL", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what ends a run is said in one line of ours
