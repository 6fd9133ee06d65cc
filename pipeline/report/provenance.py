"""The runs themselves: params that differ between two runs, and what each stage counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.gather import Run, changed_params, flatten

SHOWN_COUNTS = 14


@dataclass(frozen=True)
class Changes:
    """Params of two runs where they differ: (key, before, after)."""

    before: str
    after: str
    rows: list[tuple[str, Any, Any]]


@dataclass(frozen=True)
class StageLine:
    """A stage and its counts."""

    name: str
    counts: str


def changes(runs: Sequence[Run]) -> Changes | None:
    """Params that differ between two runs; None for one."""
    if len(runs) < 2:
        return None
    before, after = runs
    return Changes(before.name, after.name, changed_params(before.params, after.params))


def stage_lines(runs: Sequence[Run]) -> list[StageLine]:
    """Counts of each stage that left metrics."""
    lines = []
    for run in runs:
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        evaluated = {f"evaluate/{model.name}": {"clips": model.metrics.get("clips")} for model in run.models}
        lines += [StageLine(prefix + name, counts(values)) for name, values in {**run.stages, **evaluated}.items()]
    return lines


def counts(values: Mapping[str, Any]) -> str:
    """The whole numbers among a stage's metrics, in words, and what its weights began as."""
    shown = [
        f"{key.replace('_', ' ').replace('.', ' ')} {value:,}"
        for key, value in flatten(dict(values)).items()
        if isinstance(value, int) and not isinstance(value, bool) and not key.endswith("seed")
    ]
    began = [f"started from {values['init_from']}"] if "init_from" in values else []
    return ", ".join([*shown[:SHOWN_COUNTS], *began])
