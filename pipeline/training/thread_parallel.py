"""The gradients of a step by several workers of one process, each on its own micro-batches and its own cores.

On a CPU an operation of a small network is too short to be shared: two cores wait for each other thousands of times a
step. Two halves of the batch, one to a core, meet once. Which worker takes which micro-batch, and the order in which
their gradients are added, are fixed, so a run still repeats to the byte.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.config.training import TrainParams
from pipeline.runtime.parallel import run_on_cores
from pipeline.training.distributed import DistContext

MAX_WORKERS = 4  # they share one interpreter
T = TypeVar("T")

Loss = Callable[[Callable[..., Tensor], T], Tensor]  # of a model and a micro-batch: its mean loss


def num_workers(dist: DistContext, params: TrainParams) -> int:
    """The largest number, up to that of the threads, that a micro-batch divides by; one where only one can work."""
    if dist.device.type != "cpu" or dist.world_size > 1 or params.compile:
        return 1
    micro_batch = params.batch_size // params.accumulate
    return max(size for size in range(1, min(torch.get_num_threads(), MAX_WORKERS) + 1) if micro_batch % size == 0)


class ThreadDataParallel:
    """Workers with a network each: the same weights in memory, gradients of their own until they meet."""

    def __init__(self, network: nn.Module, num_workers: int, *, compiled: bool = False) -> None:
        self.networks = [network, *(_replica(network) for _ in range(num_workers - 1))]
        self.models: list[Callable[..., Tensor]] = [torch.compile(network)] if compiled else [*self.networks]

    def backward(self, loss_of: Loss[T], micro_batches: Sequence[T]) -> Tensor:
        """Add the gradients of the mean loss over `micro_batches` to the network's; returns that loss, a scalar."""
        workers = len(self.networks)
        if workers == 1:
            return self._backward(0, loss_of, micro_batches)
        jobs = [partial(self._backward, worker, loss_of, micro_batches) for worker in range(workers)]
        totals = run_on_cores(jobs, threads=torch.get_num_threads() // workers)
        for replica in self.networks[1:]:
            for weight, own in zip(self.networks[0].parameters(), replica.parameters(), strict=True):
                if own.grad is not None:
                    weight.grad = own.grad if weight.grad is None else weight.grad.add_(own.grad)
                    own.grad = None
        return torch.stack(totals).sum()

    def _backward(self, worker: int, loss_of: Loss[T], micro_batches: Sequence[T]) -> Tensor:
        """A worker's share of the mean; processes, where there are several, meet at its last micro-batch."""
        network, model, own = self.networks[worker], self.models[worker], micro_batches[worker :: len(self.networks)]
        total = torch.zeros(())
        for index, micro_batch in enumerate(own):
            meets = index == len(own) - 1 or not isinstance(network, DistributedDataParallel)
            with nullcontext() if meets else network.no_sync():  # type: ignore[operator]
                loss = loss_of(model, micro_batch) / len(micro_batches)
                loss.backward()
            total = total.to(loss.device) + loss.detach()
        return total


def _replica(network: nn.Module) -> nn.Module:
    """A copy of the network whose weights and buffers are the same memory."""
    replica = copy.deepcopy(network)
    for mine, same in zip(_tensors(replica), _tensors(network), strict=True):
        mine.data = same.data
    return replica


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
