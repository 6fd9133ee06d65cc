"""AdamW, Muon for matrices, and the learning rate over a run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.training import TrainParams
from pipeline.runtime.parallel import run_on_cores

MUON_MOMENTUM = 0.95
MUON_SMALLEST_SIDE = 16  # thinner matrices (depthwise kernels, gains) have no spectrum worth levelling
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan 2024: quintic, steep at 0, singular values end in about 0.7 to 1.2


def lr_share(step: int, params: TrainParams) -> float:
    """The step's learning rate as a share of the peak: linear warm-up, then the decay to final_lr_share."""
    if step < params.warmup_steps:
        return (step + 1) / params.warmup_steps
    if params.decay == "constant":
        return 1.0
    done = (step - params.warmup_steps) / max(1, params.steps - 1 - params.warmup_steps)
    left = 0.5 * (1.0 + math.cos(math.pi * done))
    return params.final_lr_share + (1.0 - params.final_lr_share) * left


@torch.no_grad()
def orthogonalise(matrices: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, rows, columns) to the nearest semi-orthogonal matrices, roughly (Jordan 2024, Newton-Schulz).

    The products are computed in `dtype`: bfloat16 is enough, and what Jordan takes.
    """
    wide = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    wide = (wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    wide = _levelled(wide, steps) if dtype is torch.bfloat16 else _levelled_by_gram(wide, steps)
    return (wide.mT if matrices.shape[-2] > matrices.shape[-1] else wide).to(matrices.dtype)


def _levelled(wide: Tensor, steps: int) -> Tensor:
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide


def _levelled_by_gram(wide: Tensor, steps: int) -> Tensor:
    """The same, shorter: each step multiplies by a polynomial of the Gram matrix, so all are taken on that square one.

    Not for bfloat16, which rounds small eigenvalues of it to negative ones, and those grow without end.
    """
    a, b, c = NEWTON_SCHULZ
    gram = wide @ wide.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    product = step = a * identity + b * gram + c * (gram @ gram)
    for _ in range(steps - 1):
        gram = step @ step @ gram
        step = a * identity + b * gram + c * (gram @ gram)
        product = step @ product
    return product @ wide


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024). Kernels are flattened to (out, rest), equal shapes batched.

    torch.optim.Muon takes plain matrices only, one at a time.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = MUON_MOMENTUM,
        dtype: torch.dtype = torch.float32,  # of the products; weights and momentum keep their own
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[_matrix_shape(weight)].append(weight)
            jobs = [partial(self._step_shape, shape, weights, group) for shape, weights in by_shape.items()]
            if next(iter(group["params"])).device.type == "cpu":  # a product of small matrices keeps no two cores busy
                run_on_cores(jobs)
            else:
                for job in jobs:
                    job()

    @torch.no_grad()
    def _step_shape(self, shape: tuple[int, int], weights: list[Tensor], group: dict[str, Any]) -> None:
        rows, columns = shape
        directions = []
        for weight in weights:
            assert weight.grad is not None
            state = self.state[weight]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(weight)
            state["momentum"].lerp_(weight.grad, 1.0 - group["momentum"])
            directions.append(weight.grad.lerp(state["momentum"], group["momentum"]).reshape(rows, columns))
        updates = orthogonalise(torch.stack(directions), dtype=self.dtype)
        scale = group["lr"] * math.sqrt(max(1.0, rows / columns))
        for weight, update in zip(weights, updates, strict=True):
            weight.mul_(1.0 - group["lr"] * group["weight_decay"])
            weight.sub_(update.reshape(weight.shape), alpha=scale)


def _matrix_shape(weight: Tensor) -> tuple[int, int]:
    return weight.shape[0], math.prod(weight.shape[1:])


def is_muon_matrix(name: str, weight: Tensor) -> bool:
    """Hidden matrices and kernels; the first and the last layer, tables and vectors are AdamW's (Jordan 2024)."""
    if weight.ndim < 2 or not name.endswith("weight") or name.startswith(("stem.", "head.")):
        return False
    return min(_matrix_shape(weight)) >= MUON_SMALLEST_SIDE


class Optimizers:
    """What steps the weights: AdamW alone, or Muon beside it. Vectors and tables are not decayed."""

    def __init__(self, network: nn.Module, params: TrainParams, dtype: torch.dtype = torch.float32) -> None:
        self.params = params
        named = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
        matrices = [weight for name, weight in named if params.optimizer == "muon" and is_muon_matrix(name, weight)]
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
