"""Independent jobs: what runs them, and how their results come back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

CLUSTER = "T2V_DASK_SCHEDULER"  # environment variable: the address of a dask cluster's scheduler
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
    """A pool that runs jobs; `name` says so in a log: "2 processes"."""

    @property
    def name(self) -> str: ...

    def map(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Result]:
        """`function(shared, item)` of each item, in the items' order. `shared` goes to each worker once.

        The function is one of a module's own. The first error that a job raises is raised here, and no job begins then.
        """


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
