"""Independent jobs side by side, one to a core: cheaper than one job whose every operation waits for all cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import TypeVar

import torch

T = TypeVar("T")


def run_on_cores(jobs: Sequence[Callable[[], T]], threads: int = 1) -> list[T]:
    """Run CPU jobs, each on `threads` threads; their results in order, or the first one's error when all have ended."""
    pool = _pool(torch.get_num_threads())
    futures = [pool.submit(partial(_run, job, threads)) for job in jobs]
    wait(futures)
    return [future.result() for future in futures]


def _run(job: Callable[[], T], threads: int) -> T:
    torch.set_num_threads(threads)  # of the thread that calls it
    return job()


@cache
def _pool(cores: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores, "core")
