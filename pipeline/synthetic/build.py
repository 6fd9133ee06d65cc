"""Write a generated set: shards drawn by several processes, each shard whole or not at all, so a killed run goes on.

The bytes don't depend on the number of processes or on how often the run was stopped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.config.data import SyntheticParams
from pipeline.data.shards import Row, write_set, write_shard
from pipeline.runtime.executors import open_workers, worker_count
from pipeline.runtime.files import move_folder
from pipeline.runtime.progress import Progress
from pipeline.runtime.scratch import open_scratch
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
    done = sum(counts.values()) - sum(map(len, jobs))
    with (
        open_workers(workers) as pool,
        Progress(total=sum(counts.values()), initial=done, desc=generated.name, unit="clip") as progress,
    ):
        for job, rows in zip(jobs, pool.map(draw_clips, generated, jobs), strict=True):
            write_shard(job.path, rows)
            progress.update(len(rows))
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


def draw_clips(generated: GeneratedSet, job: Job) -> list[Row]:
    """The clips of one shard."""
    return [generated.row(job.split, index) for index in range(job.start, job.stop)]
