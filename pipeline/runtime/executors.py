"""Workers for independent jobs: processes or threads of this machine, or the workers of a dask cluster.

A cluster is a property of the machine, not of the result: it is named by an environment variable, never by a param.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.runtime.jobs import CLUSTER, Item, Result, Shared, Workers, in_order
from pipeline.runtime.start import die_with_parent


def worker_count() -> int:
    """Cores this process may use; found at run time, never a param."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def open_workers(
    count: int | None = None,  # of this machine; None: a worker for each core
    *,
    threads: bool = False,  # where the jobs leave the interpreter free, or mind processes of their own
    files: Sequence[Path] = (),  # that the jobs read: under the same path on every worker
) -> Iterator[Workers]:
    """The dask cluster that the environment names, or this machine.

    Raises ValueError, one line, where the cluster does not answer or lacks what the jobs need.
    """
    address = os.environ.get(CLUSTER)
    if address:
        from pipeline.runtime.cluster import open_cluster

        with open_cluster(address, files) as cluster:
            yield cluster
    else:
        yield _Threads(count or worker_count()) if threads else _Processes(count or worker_count())


class _Threads:
    """Threads of this process."""

    def __init__(self, count: int) -> None:
        self.count = count

    @property
    def name(self) -> str:
        return f"{self.count} threads"

    def map(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Result]:
        pool = ThreadPoolExecutor(self.count)
        with _ended(pool):
            yield from in_order(partial(pool.submit, partial(function, shared)), items, self.count)


class _Processes:
    """Processes of this machine, which end with this one; none but this one where it would be alone."""

    def __init__(self, count: int) -> None:
        self.count = count

    @property
    def name(self) -> str:
        return f"{self.count} processes"

    def map(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Result]:
        if self.count <= 1:
            yield from map(partial(function, shared), items)
            return
        context = multiprocessing.get_context("spawn")
        start = partial(_start_process, os.getpid(), shared)
        pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=start)
        with _ended(pool):
            try:
                yield from in_order(partial(pool.submit, partial(_run_here, function)), items, self.count)
            except BrokenProcessPool:
                raise ValueError(
                    "a worker process was killed (by the system, where memory is short); "
                    "what is finished is kept: run the same command again"
                ) from None


_here: list[Any] = []  # what a worker process got as `shared`


def _start_process(parent: int, shared: Any) -> None:
    die_with_parent(parent)
    _here[:] = [shared]


def _run_here(function: Callable[[Any, Item], Result], item: Item) -> Result:
    return function(_here[0], item)


@contextmanager
def _ended(pool: Executor) -> Iterator[None]:
    """Wait for the pool's end; jobs that have not begun by then never do."""
    try:
        yield
    finally:
        pool.shutdown(cancel_futures=True)
