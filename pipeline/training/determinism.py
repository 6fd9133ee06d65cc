"""Sums in one order, so that a seed says all about a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

SETTINGS: Any = torch.utils.deterministic  # its one setting is a property of the module, which type checkers miss


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU, inside: the same bytes each time for one thread count. Without it, threads add up some gradients (of a
    table's rows, for one) in the order in which they come to them."""
    if device.type != "cpu":  # there the flag refuses what has no such kernel
        yield
        return
    before, filled = torch.are_deterministic_algorithms_enabled(), SETTINGS.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    SETTINGS.fill_uninitialized_memory = False  # the flag's aid to find bugs, which writes all memory twice
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        SETTINGS.fill_uninitialized_memory = filled
