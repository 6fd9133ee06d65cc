"""The losses of a run: a row of values for each step, and rows of each validation.

They travel in the checkpoint, so a resumed run's tables equal an uninterrupted one's. Nothing depends on the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from pipeline.runtime.files import write_csv
from pipeline.training.distributed import DistContext

Row = tuple[float, ...]  # steps done, from 1, then a value for each column
CSV_ROWS = 1000
LAST_STEPS = 100  # over which a final value is averaged: one step's depends on its draws


class History:
    """Rows so far. A step's values may wait on the device until `fetch`."""

    def __init__(self, columns: Sequence[str], validation_columns: Sequence[str] = ()) -> None:
        self.columns = ("step", *columns)
        self.validation_columns = ("step", *validation_columns)
        self.steps: list[Row] = []
        self.validations: list[Row] = []
        self.pending: list[tuple[int, Mapping[str, Tensor | float]]] = []

    def add(self, step: int, values: Mapping[str, Tensor | float]) -> None:
        """Note a step's values by column, without waiting for the device; a missing one keeps its last value, or 0."""
        self.pending.append((step, values))

    def fetch(self, dist: DistContext) -> list[Row]:
        """Wait for the pending steps and average them over the processes; returns their rows."""
        if not self.pending:
            return []
        tensors = [value for _, values in self.pending for value in values.values() if isinstance(value, Tensor)]
        fetched = iter(dist.mean(torch.stack([tensor.detach().float() for tensor in tensors])).tolist())
        rows = []
        last = self.last()
        for step, values in self.pending:
            last |= {name: next(fetched) if isinstance(value, Tensor) else value for name, value in values.items()}
            rows.append((step, *(last[name] for name in self.columns[1:])))
        self.pending.clear()
        self.steps += rows
        return rows

    def last(self) -> dict[str, float]:
        """The newest row by column; 0 before the first."""
        return dict(zip(self.columns, self.steps[-1] if self.steps else [0.0] * len(self.columns), strict=True))

    def values(self, column: str) -> list[float]:
        """One column, a value for each step."""
        place = self.columns.index(column)
        return [row[place] for row in self.steps]

    def final(self, column: str) -> float:
        """A column's mean over the last steps, to six digits."""
        last = self.values(column)[-LAST_STEPS:]
        return six_digits(sum(last) / len(last))

    def last_validation(self, column: str) -> list[float]:
        """One column of the newest validation, a value for each of its rows; empty where there was none."""
        place = self.validation_columns.index(column)
        return [row[place] for row in self.validations if row[0] == self.validations[-1][0]]

    def state_dict(self) -> dict[str, Tensor]:
        return {"steps": _to_table(self.steps), "validations": _to_table(self.validations)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.steps, self.validations = (_to_rows(state[name]) for name in ("steps", "validations"))

    def write(self, folder: Path, rows: int = CSV_ROWS) -> None:
        """loss.csv, of at most `rows` rows (means over windows of steps), and val.csv where there are such columns."""
        write_csv(folder / "loss.csv", _thin(pd.DataFrame(self.steps, columns=self.columns), rows))
        if len(self.validation_columns) > 1:
            write_csv(folder / "val.csv", pd.DataFrame(self.validations, columns=self.validation_columns))


def six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def _to_table(rows: Sequence[Row]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _to_rows(table: Tensor) -> list[Row]:
    return [(int(row[0]), *row[1:]) for row in table.tolist()]


def _thin(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    """At most `rows` rows: the last step and the mean values of each window."""
    windows = table.groupby(table.index // max(1, -(-len(table) // rows)))
    return windows.mean().assign(step=windows["step"].last())
