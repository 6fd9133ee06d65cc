"""Arithmetic of a device: its number format, its fast modes, and sums in one order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
import torch.utils.deterministic

CPU_BF16_FLAGS = {"amx_bf16", "avx512_bf16"}  # without one of them bf16 on a CPU is emulated, and collapses
SETTINGS: Any = torch.utils.deterministic  # its one setting is a property of the module, which type checkers miss


def choose_dtype(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype:
    """float32 or bfloat16; auto takes bfloat16 where the device computes in it."""
    if precision == "fp32":
        return torch.float32
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if cpu_flags() & CPU_BF16_FLAGS else torch.float32


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The first core's flags; empty where the system does not list them."""
    if not path.is_file():
        return set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Forward passes inside compute in `dtype`; weights stay float32."""
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype=dtype)


def tune_backends(device: torch.device) -> None:
    """On CUDA: TF32 for what stays float32, and the fastest convolution for the one shape that training uses."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


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
