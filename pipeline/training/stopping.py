"""Ending a run early without losing it: Ctrl-C and SIGTERM wait for the step; failures say what to do."""

from __future__ import annotations

import math
import signal
import statistics
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from pipeline.training.history import History, Row

DIVERGED = 5.0  # times the untrained network's loss
WINDOW = 100  # last steps whose loss is compared with it


class StopRequest:
    """Inside the `with`, the first Ctrl-C or SIGTERM only raises `asked`; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt("a second time: the last checkpoint is kept; run the same command again to go on")
        self.asked = True


@contextmanager
def explain_out_of_memory(step: int, advice: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors, of a GPU or of the CPU, into a ValueError that says what to change."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise ValueError(f"out of memory at step {step}: {advice}; the last checkpoint is kept") from None


def how_to_go_on(step: int, steps: int, folder: Path) -> str:
    """The message of a run that stopped early, its state saved in `folder`."""
    return f"stopped after step {step} of {steps}, saved in {folder}; run the same command again to go on"


def find_divergence(history: History, rows: Sequence[Row], *, ended: bool) -> str | None:
    """The sign, in words, that training has diverged, or None; `rows` are the newest, `ended` after the last step.

    Either one of their values is not finite, or the loss (the first column) of the last WINDOW steps is, by its median,
    more than DIVERGED times that of the first step, which is the untrained network's. A run shorter than WINDOW is
    judged at its end only, by its second half. A median, so that a spike from which a run recovers is no divergence.
    """
    for step, *values in rows:
        if not all(math.isfinite(value) for value in values):
            named = ", ".join(f"{name} {value:.4g}" for name, value in zip(history.columns[1:], values, strict=True))
            return f"{named} at step {step}"
    steps = len(history.steps)
    if steps <= WINDOW and not ended:
        return None
    window = WINDOW if steps > WINDOW else -(-steps // 2)
    untrained, last = history.steps[0][1], statistics.median(row[1] for row in history.steps[-window:])
    if last <= DIVERGED * untrained:
        return None
    name = history.columns[1]
    return f"{name} {last:.4g} at step {steps}, more than {DIVERGED:g} times the untrained network's {untrained:.4g}"
