"""Write a generated set: shards drawn by several processes, each shard whole or not at all, so a killed run goes on.

The bytes don't depend on the number of processes or on how often the run was stopped.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from pipeline.config.data import SyntheticParams
from pipeline.data.shards import Row, write_set, write_shard
from pipeline.runtime.executors import worker_count
from pipeline.runtime.files import move_folder
from pipeline.runtime.scratch import open_scratch
from pipeline.runtime.start import die_with_parent
from pipeline.synthetic.combinations import SPLITS, CombinationSplit

log = logging.getLogger("t2v")

CLIPS_PER_WORKER = 500  # fewer are drawn sooner than another process starts


class GeneratedSet(Protocol):
    """A set that can draw any of its clips."""

    @property
    def name(self) -> str: ...

    @property
    def combinations(self) -> CombinationSplit: ...

    def row(self, split: str, index: int) -> Row: ...

    def description(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Job:
    """One shard: clips [start, stop) of a split."""

    path: Path
    split: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def publish_set(generated: GeneratedSet, params: SyntheticParams, fingerprint: str, folder: Path) -> dict[str, Any]:
    """Build the set that a params section asks for, resumable under its fingerprint. Returns facts for the metrics."""
    counts = split_counts(params)
    with open_scratch(generated.name, fingerprint) as scratch:
        build_set(generated, counts, params.clips_per_shard, scratch, folder)
    log.info("drew %d clips of %s into %s", sum(counts.values()), generated.name, folder)
    split = generated.combinations
    combinations = {"seen": len(split.seen), "held_out": len(split.held_out)}
    return {"clips": counts, "combinations": combinations, "seed": params.seed}


def build_set(
    generated: GeneratedSet,
    counts: dict[str, int],  # clips of each split
    clips_per_shard: int,
    scratch: Path,  # survives a kill
    folder: Path,  # becomes the set; replaced if there
    *,
    workers: int | None = None,  # None: as many as cores and clips call for
) -> None:
    """Draw every clip of a set into shards, then publish them as `folder`."""
    draft = scratch / "set"
    every = list(plan_jobs(draft, counts, clips_per_shard))
    jobs = [job for job in every if not job.path.exists()]
    if len(jobs) < len(every):
        log.info("%s: %d of %d shards are there already", generated.name, len(every) - len(jobs), len(every))
    if workers is None:
        workers = min(worker_count(), math.ceil(sum(map(len, jobs)) / CLIPS_PER_WORKER))
    with tqdm(total=sum(counts.values()), desc=generated.name, unit="clip", disable=None) as progress:
        progress.update(sum(counts.values()) - sum(map(len, jobs)))
        for done in _run(generated, jobs, workers):
            progress.update(done)
    write_set(draft, {**generated.description(), "counts": counts})
    move_folder(draft, folder)


def split_counts(params: SyntheticParams) -> dict[str, int]:
    """Clips of each split."""
    return {split: getattr(params, f"{split}_clips") for split in SPLITS}


def plan_jobs(folder: Path, counts: dict[str, int], clips_per_shard: int) -> Iterator[Job]:
    """The shards of a set; a split starts a new one."""
    number = 0
    for split in SPLITS:
        for start in range(0, counts[split], clips_per_shard):
            stop = min(start + clips_per_shard, counts[split])
            yield Job(folder / f"shard-{number:05d}.parquet", split, start, stop)
            number += 1


def _run(generated: GeneratedSet, jobs: Sequence[Job], workers: int) -> Iterator[int]:
    """Do the jobs; yields the clips of each as it is done."""
    if workers <= 1:
        for job in jobs:
            yield _draw_shard(generated, job)
        return
    context = multiprocessing.get_context("spawn")
    start = partial(_start_worker, generated, os.getpid())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start)
    with pool:
        try:
            yield from pool.map(_draw_here, jobs)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_here: list[GeneratedSet] = []  # a worker's set, sent once


def _start_worker(generated: GeneratedSet, parent: int) -> None:
    die_with_parent(parent)
    _here[:] = [generated]


def _draw_here(job: Job) -> int:
    return _draw_shard(_here[0], job)


def _draw_shard(generated: GeneratedSet, job: Job) -> int:
    write_shard(job.path, [generated.row(job.split, index) for index in range(job.start, job.stop)])
    return len(job)
