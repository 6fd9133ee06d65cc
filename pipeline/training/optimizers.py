"""AdamW, Muon for matrices, and the learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.training import TrainParams
from pipeline.training.muon import Muon, matrix_shape

MUON_SMALLEST_SIDE = 16  # thinner matrices (depthwise kernels, gains) are AdamW's


def lr_share(step: int, params: TrainParams) -> float:
    """The step's learning rate as a share of the peak: linear warm-up, then the decay to final_lr_share."""
    if step < params.warmup_steps:
        return (step + 1) / params.warmup_steps
    if params.decay == "constant":
        return 1.0
    done = (step - params.warmup_steps) / max(1, params.steps - 1 - params.warmup_steps)
    left = 0.5 * (1.0 + math.cos(math.pi * done))
    return params.final_lr_share + (1.0 - params.final_lr_share) * left


def is_muon_matrix(name: str, weight: Tensor, edge_layers: tuple[str, ...]) -> bool:
    """Whether Muon takes a weight: hidden matrices and kernels. Tables, vectors and layers whose names begin as one of
    `edge_layers`, the first and the last, are AdamW's (Jordan 2024)."""
    if weight.ndim < 2 or not name.endswith("weight") or name.startswith(edge_layers):
        return False
    return min(matrix_shape(weight)) >= MUON_SMALLEST_SIDE


class Optimizers:
    """AdamW alone, or Muon for the hidden matrices beside it. Vectors are not decayed."""

    def __init__(
        self,
        network: nn.Module,
        params: TrainParams,
        dtype: torch.dtype = torch.float32,  # of Muon's products
        *,
        edge_layers: tuple[str, ...] = (),  # how the names of the first and the last layer begin
    ) -> None:
        self.params = params
        named = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
        matrices = []
        if params.optimizer == "muon":
            matrices = [weight for name, weight in named if is_muon_matrix(name, weight, edge_layers)]
        taken = {id(weight) for weight in matrices}
        rest = [weight for _, weight in named if id(weight) not in taken]
        self.weights = [weight for _, weight in named]
        self.all: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [
                    {"params": [weight for weight in rest if weight.ndim >= 2], "weight_decay": params.weight_decay},
                    {"params": [weight for weight in rest if weight.ndim < 2], "weight_decay": 0.0},
                ],
                lr=params.lr,
                betas=params.betas,
                fused=True,
            )
        ]
        if matrices:
            self.all.append(Muon(matrices, lr=params.lr_muon, weight_decay=params.weight_decay, dtype=dtype))
        self._peaks = [params.lr, params.lr_muon]

    @property
    def lr(self) -> float:
        """AdamW's learning rate at the last step."""
        return self.all[0].param_groups[0]["lr"]

    def step(self, step: int) -> Tensor:
        """Clip, set the step's learning rate, move the weights; returns the gradient's norm before clipping."""
        limit = self.params.clip_grad_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.weights, limit, foreach=True)
        share = lr_share(step, self.params)
        for optimizer, peak in zip(self.all, self._peaks, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = peak * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self.all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self.all, states, strict=True):
            optimizer.load_state_dict(state)
