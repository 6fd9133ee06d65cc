"""Muon: momentum whose matrices are orthogonalised before they move the weights (Jordan et al. 2024)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pipeline.runtime.parallel import run_on_cores

MUON_MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan 2024: quintic, steep at 0, singular values end in about 0.7 to 1.2


@torch.no_grad()
def orthogonalise(matrices: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, rows, columns) to the nearest semi-orthogonal matrices, roughly (Jordan 2024, Newton-Schulz).

    The products are computed in `dtype`: bfloat16 is enough, and what Jordan takes.
    """
    wide = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    wide = (wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    wide = _newton_schulz(wide, steps) if dtype is torch.bfloat16 else _newton_schulz_by_gram(wide, steps)
    return (wide.mT if matrices.shape[-2] > matrices.shape[-1] else wide).to(matrices.dtype)


def _newton_schulz(wide: Tensor, steps: int) -> Tensor:
    """(N, rows, columns), rows <= columns: each step X -> a X + (b G + c G²) X with the Gram matrix G = X Xᵀ."""
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide


def _newton_schulz_by_gram(wide: Tensor, steps: int) -> Tensor:
    """The same in fewer operations: the steps' polynomials of G (N, rows, rows) are multiplied first, then X by them.

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
                    by_shape[matrix_shape(weight)].append(weight)
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


def matrix_shape(weight: Tensor) -> tuple[int, int]:
    """(out, rest) of a matrix or kernel."""
    return weight.shape[0], math.prod(weight.shape[1:])
