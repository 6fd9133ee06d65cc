"""Ending a run early without losing it: Ctrl-C and SIGTERM wait for the step; failures say what to do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch


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
    """What a run that stopped early, its state saved in `folder`, tells its user."""
    return f"stopped after step {step} of {steps}, saved in {folder}; run the same command again to go on"
