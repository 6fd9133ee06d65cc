"""What a run remembers of itself: loss, learning rate and gradient norm of each step, and the validations.

It travels in the checkpoint, so a resumed run's tables equal an uninterrupted one's. Nothing here depends on the clock.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.training.distributed import DistContext


@dataclass(frozen=True)
class StepRow:
    step: int  # steps done, from 1
    loss: float  # mean over the global batch
    lr: float
    grad_norm: float  # before clipping


@dataclass(frozen=True)
class ValidationRow:
    step: int
    t: float  # noise level, 1 is pure noise
    loss: float  # as in training
    x0_mse: float  # mean squared error of x0_pred in [-1, 1] units, comparable between objectives


@dataclass
class History:
    """Rows so far; `pending` are steps whose loss still lies on the device."""

    steps: list[StepRow] = field(default_factory=list)
    validations: list[ValidationRow] = field(default_factory=list)
    pending: list[tuple[int, Tensor, float, Tensor]] = field(default_factory=list)

    def add(self, step: int, loss: Tensor, lr: float, grad_norm: Tensor) -> None:
        """Note a step without waiting for the device."""
        self.pending.append((step, loss.detach(), lr, grad_norm.detach()))

    def settle(self, dist: DistContext) -> StepRow | None:
        """Fetch what is pending; returns the first row that is not finite, or None."""
        if not self.pending:
            return None
        losses = dist.mean(torch.stack([loss.float() for _, loss, _, _ in self.pending])).tolist()
        norms = torch.stack([norm.float() for _, _, _, norm in self.pending]).tolist()
        rows = [
            StepRow(step, loss, lr, norm)
            for (step, _, lr, _), loss, norm in zip(self.pending, losses, norms, strict=True)
        ]
        self.pending.clear()
        self.steps += rows
        return next((row for row in rows if not (math.isfinite(row.loss) and math.isfinite(row.grad_norm))), None)

    def last_validation(self) -> list[ValidationRow]:
        """One row a noise level; empty where there was none."""
        return [row for row in self.validations if row.step == self.validations[-1].step]

    def state_dict(self) -> dict[str, Tensor]:
        return {"steps": _to_table(self.steps), "validations": _to_table(self.validations)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.steps = [StepRow(int(row[0]), *row[1:]) for row in state["steps"].tolist()]
        self.validations = [ValidationRow(int(row[0]), *row[1:]) for row in state["validations"].tolist()]

    def write(self, folder: Path, points: int = 1000) -> None:
        """loss.csv, of at most `points` rows (means over windows of steps), and val.csv."""
        write_csv(folder / "loss.csv", [item.name for item in fields(StepRow)], _thin(self.steps, points))
        write_csv(folder / "val.csv", [item.name for item in fields(ValidationRow)], map(astuple, self.validations))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[float]]) -> None:
    """Write a table, whole or not at all; floats to six significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([[f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows])
    partial.replace(path)


def _to_table(rows: Sequence[StepRow] | Sequence[ValidationRow]) -> Tensor:
    return torch.tensor([astuple(row) for row in rows], dtype=torch.float64)


def _thin(rows: list[StepRow], points: int) -> list[tuple[int, float, float, float]]:
    width = max(1, -(-len(rows) // points))
    windows = [rows[start : start + width] for start in range(0, len(rows), width)]
    return [
        (
            window[-1].step,
            float(np.mean([row.loss for row in window])),
            window[-1].lr,
            float(np.mean([row.grad_norm for row in window])),
        )
        for window in windows
    ]
