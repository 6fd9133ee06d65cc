"""One training run: what changes while it goes on, what a checkpoint holds of it, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pipeline.config.training import TrainParams
from pipeline.training.distributed import DistContext
from pipeline.training.ema import Ema
from pipeline.training.history import History
from pipeline.training.optimizers import Optimizers

T = TypeVar("T")


@dataclass(frozen=True)
class TrainResult:
    """The EMA weights and how they came about. The last six fields depend on the machine, the rest does not."""

    weights: dict[str, Tensor]
    history: History
    steps: int
    clips_seen: int
    parameters: int
    dtype: str
    device: str
    processes: int
    seconds: float  # over all attempts
    data_wait_share: float  # of these seconds

    @property
    def clips_per_s(self) -> float:
        return self.clips_seen / self.seconds


class Run:
    """All that changes while training, and all that a checkpoint holds."""

    def __init__(self, network: nn.Module, params: TrainParams, dtype: torch.dtype) -> None:
        self.network = network
        self.optimizers = Optimizers(network, params, dtype)
        self.ema = Ema(network, decay=params.ema_decay, start=params.ema_start, every=params.ema_every)
        self.history = History()
        self.step = 0  # steps done
        self.seconds, self.wait_seconds = 0.0, 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "history": self.history.state_dict(),
            "seconds": self.seconds,
            "wait_seconds": self.wait_seconds,
        }

    def load(self, step: int, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.history.load_state_dict(state["history"])
        self.step, self.seconds, self.wait_seconds = step, state["seconds"], state["wait_seconds"]

    def timed(self, batches: Generator[T, None, None]) -> Generator[T, None, None]:
        """Pass batches on; add the time up: all of it, and what the loop spent waiting for them."""
        try:
            while True:
                asked = time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                got = time.perf_counter()
                self.wait_seconds += got - asked
                self.seconds += got - asked
                yield batch
                self.seconds += time.perf_counter() - got
        finally:
            batches.close()

    def result(self, params: TrainParams, dist: DistContext, dtype: torch.dtype) -> TrainResult:
        return TrainResult(
            weights={name: tensor.detach().cpu() for name, tensor in self.ema.network.state_dict().items()},
            history=self.history,
            steps=self.step,
            clips_seen=self.step * params.batch_size,
            parameters=sum(weight.numel() for weight in self.network.parameters()),
            dtype=str(dtype).removeprefix("torch."),
            device=torch.cuda.get_device_name(dist.device) if dist.device.type == "cuda" else "cpu",
            processes=dist.world_size,
            seconds=self.seconds,
            data_wait_share=self.wait_seconds / self.seconds if self.seconds else 0.0,
        )
