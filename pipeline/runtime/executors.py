"""Where independent jobs run: processes or threads of this machine, or the workers of a dask cluster.

A cluster is a property of the machine, not of the result: it is named by an environment variable, never by a param.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.runtime.start import die_with_parent

CLUSTER = "T2V_DASK_SCHEDULER"
JOBS_AHEAD = 4  # of each worker; as many results at most wait for their turn

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Key = TypeVar("Key")
Result = TypeVar("Result")
ResultOut = TypeVar("ResultOut", covariant=True)


class Pending(Protocol[ResultOut]):
    """A submitted job."""

    def result(self) -> ResultOut: ...


class Workers(Protocol):
    """What runs jobs; `name` says so in a log: "2 processes"."""

    @property
    def name(self) -> str: ...

    def map(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Result]:
        """`function(shared, item)` of each item, in the items' order. `shared` goes to each worker once.

        The function is one of a module's own. The first error that a job raises is raised here, and no job begins then.
        """


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


def map_groups(
    workers: Workers,
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    groups: Mapping[Key, Sequence[Item]],
) -> Iterator[tuple[Key, Iterator[Result]]]:
    """The results of each group's items, group after group; workers do not wait between groups."""
    items = [(key, item) for key, group in groups.items() for item in group]
    results = workers.map(function, shared, (item for _, item in items))
    for key, pairs in groupby(zip(items, results, strict=True), key=lambda pair: pair[0][0]):
        yield key, (result for _, result in pairs)


def in_order(submit: Callable[[Item], Pending[Result]], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Results in the items' order; of the items that follow, only some are submitted ahead."""
    pending: deque[Pending[Result]] = deque()
    for item in items:
        pending.append(submit(item))
        if len(pending) > JOBS_AHEAD * workers:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
