"""One process or many: the same run, since the global batch is cut by position. Started by torchrun, joined by DDP."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.runtime.row_file import RowFile, open_rows

TIMEOUT = timedelta(minutes=10)  # after which the others give a silent process up
TORCHRUN_ARGS = "T2V_TORCHRUN"  # environment variable: torchrun's arguments, such as "--nproc_per_node 8"


@dataclass(frozen=True)
class DistContext:
    """This process's place among those that train together."""

    rank: int
    world_size: int
    device: torch.device
    local_rank: int = 0  # its place among those of this machine
    local_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def positions(self, batch_size: int, accumulate: int) -> list[slice]:
        """This process's part of the global batch, in micro-batches. Raises ValueError where it does not divide."""
        parts = self.world_size * accumulate
        if batch_size % parts:
            raise ValueError(
                f"train.batch_size={batch_size} does not divide by {self.world_size} processes x "
                f'train.accumulate={accumulate}; change one of them (processes: {TORCHRUN_ARGS}="--nproc_per_node N")'
            )
        each = batch_size // parts
        first = self.rank * accumulate
        return [slice(part * each, (part + 1) * each) for part in range(first, first + accumulate)]

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose gradients are the mean over all processes; itself where there is one."""
        if self.world_size == 1:
            return network
        return DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes, elementwise."""
        if self.world_size > 1:
            distributed.all_reduce(values)
            values = values / self.world_size
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.world_size == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return bool(raised.item())

    def broadcast(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.world_size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def share(self, make: Callable[[], RowFile]) -> RowFile:
        """Give all processes of a machine what its first one makes."""
        if self.world_size == 1:
            return make()
        rows = make() if self.local_rank == 0 else None
        made = (
            socket.gethostname(),
            None if rows is None else (rows.address, rows.count, rows.row_shape, rows.dtype.str),
        )
        told: list[Any] = [None] * self.world_size
        distributed.all_gather_object(told, made)
        if rows is None:
            here = socket.gethostname()
            found = [facts for host, facts in told if host == here and facts is not None]
            rows = open_rows(*found[0])
        self.wait()
        return rows

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world_size > 1:
            distributed.barrier()


@contextmanager
def open_dist() -> Iterator[DistContext]:
    """Join the processes that torchrun started, or be alone; on the GPU that is this process's, or else on the CPU."""
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if world_size == 1:
        yield DistContext(rank, world_size, device)
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        local = (int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        yield DistContext(rank, world_size, device, *local)
    finally:
        distributed.destroy_process_group()


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether a collective failed because another process is gone."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def torchrun_args(gpus: int) -> list[str] | None:
    """torchrun's arguments for this machine, or None for one process and inside torchrun."""
    if "WORLD_SIZE" in os.environ:
        return None
    given = os.environ.get(TORCHRUN_ARGS)
    if given is not None:
        args = shlex.split(given)
    else:
        args = ["--nproc_per_node", str(gpus)] if gpus > 1 else []
    if not args:
        return None
    return (
        args if any(arg.startswith(("--rdzv", "--master", "--standalone")) for arg in args) else ["--standalone", *args]
    )


def relaunch_by_torchrun(module: str) -> None:
    """Become `torchrun … -m module` where several GPUs, or T2V_TORCHRUN, ask for it; else return.

    The process keeps its id, so it still dies with its parent, and takes its workers along.
    """
    args = torchrun_args(torch.cuda.device_count())
    if args is not None:
        os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", *args, "-m", module])
