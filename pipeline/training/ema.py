"""The moving average of the weights, which is what gets validated, sampled and saved."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def ema_decay_at(update: int, decay: float) -> float:
    """Decay of the n-th update, counted from 0: min(decay, (1 + n) / (10 + n)), so that early weights are forgotten."""
    return min(decay, (1 + update) / (10 + update))


class Ema:
    """A second network whose weights follow those of the first. Until the first update it is a copy of them.

    Its buffers are copied as they are. `network` is in eval mode and takes no gradient.
    """

    def __init__(self, source: nn.Module, *, decay: float, start: int = 0, every: int = 1) -> None:
        self.decay, self.start, self.every = decay, start, every
        self.updates = 0
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        self._weights = [weight.data for weight in self.network.parameters()]
        self._source_weights = [weight.data for weight in source.parameters()]
        self._buffers = list(zip(self.network.buffers(), source.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimizer step number `step`, counted from 0: average, where `start` and `every` say so."""
        if step < self.start:
            torch._foreach_copy_(self._weights, self._source_weights)
        elif (step - self.start) % self.every == 0:
            share = 1.0 - ema_decay_at(self.updates, self.decay)
            torch._foreach_lerp_(self._weights, self._source_weights, share)
            self.updates += 1
        for mine, theirs in self._buffers:
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self.network.load_state_dict(state["network"])
