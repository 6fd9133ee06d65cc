"""The device of tensors: the one that a user, a stage or a command line names."""

from __future__ import annotations

import torch


def find_device(name: str = "auto") -> torch.device:
    """`auto` is the GPU where there is one. Raises ValueError where the name is unknown or its GPU is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: no CUDA device here; use --device cpu")
    return device
