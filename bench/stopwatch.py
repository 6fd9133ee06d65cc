"""Timing things against each other: in turn, in one process, by the median."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Medians over the rounds. On a busy machine cpu_s (of all threads) is the steadier one."""

    wall_s: float
    cpu_s: float


def alternate(cases: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device) -> dict[str, Timing]:
    """Run each case once to warm up, then all of them in turn, `rounds` times."""
    laps: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for index in range(rounds + 1):
        for name, run in cases.items():
            lap = time_once(run, device)
            if index:
                laps[name].append(lap)
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in laps.items()}
    return {name: Timing(*pair) for name, pair in medians.items()}


def time_once(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """(wall, cpu) seconds of one run, the device's queue included."""
    _drain(device)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    _drain(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def time_children(run: Callable[[], object], *, rounds: int) -> Timing:
    """Medians of what `run` takes, the CPU time that of the processes that it starts and waits for."""
    laps = []
    for _ in range(rounds):
        wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        run()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        laps.append((time.perf_counter() - wall, cpu))
    return Timing(*(statistics.median(column) for column in zip(*laps, strict=True)))


def _drain(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
