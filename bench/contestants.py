"""The networks that are timed against each other, each as one training step on the same random batch."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config.models import UnetParams
from pipeline.diffusion.unet.unet3d import build_unet
from pipeline.text.captions import TextBatch
from pipeline.training.precision import autocast
from pipeline.training.thread_parallel import MAX_WORKERS, ThreadDataParallel

TEXT_WIDTH, TEXT_TOKENS = 768, 16  # of bert-base, and of a caption


@dataclass(frozen=True)
class VideoSize:
    """Of one batch: clips, frames, px."""

    batch: int
    frames: int
    resolution: int


@dataclass(frozen=True)
class Contestant:
    """A network with its training step (forward, backward, optimizer), on its device."""

    network: nn.Module
    predict: Callable[[], Tensor]
    step: Callable[[], object]
    size: VideoSize

    @property
    def parameters(self) -> int:
        return count(self.network)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def our_contestant(
    params: UnetParams,
    size: VideoSize,
    device: torch.device,
    *,
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
) -> Contestant:
    """This project's network, with a tenth of the captions dropped and, on a CPU, a part of the batch to each core."""
    torch.manual_seed(0)
    network = build_unet(params, frames=size.frames, resolution=size.resolution, channels=3, text_width=TEXT_WIDTH).to(
        device
    )
    called = torch.compile(network) if compiled else network
    x, t, pooled = _random_batch(size, device)
    tokens = torch.randn(size.batch, TEXT_TOKENS, TEXT_WIDTH, device=device)
    text = TextBatch(pooled, tokens, torch.ones(size.batch, TEXT_TOKENS, dtype=torch.bool, device=device))
    drop = torch.rand(size.batch, device=device) < 0.1
    workers = 1 if compiled or device.type != "cpu" else math.gcd(size.batch, min(torch.get_num_threads(), MAX_WORKERS))
    parallel = ThreadDataParallel(network, workers)

    def loss(model: Callable[..., Tensor], part: Tensor) -> Tensor:
        with autocast(device, dtype):
            made = model(x[part], t[part], text.select(part), drop[part])
        return (made.float() - x[part]).square().mean()

    parts = torch.arange(size.batch).chunk(workers)
    by_threads = partial(parallel.backward, loss, parts) if workers > 1 else None
    return _contestant(network, lambda: called(x, t, text, drop), x, size, device, dtype, by_threads)


def peer_contestant(size: VideoSize, device: torch.device, *, dtype: torch.dtype = torch.float32) -> Contestant:
    """The package's network with the same options and the same optimizer."""
    torch.manual_seed(0)
    network = _peer_class()(dim=64, cond_dim=TEXT_WIDTH).to(device)
    x, t, pooled = _random_batch(size, device)
    return _contestant(network, lambda: network(x, t * 1000.0, cond=pooled, null_cond_prob=0.1), x, size, device, dtype)


def widen(params: UnetParams, parameters: int, size: VideoSize) -> UnetParams:
    """`params` with the `dim`, a multiple of 8, that comes closest to a number of parameters."""

    def made(dim: int) -> int:
        with torch.device("meta"):
            changed = params.model_copy(update={"dim": dim})
            return count(
                build_unet(changed, frames=size.frames, resolution=size.resolution, channels=3, text_width=TEXT_WIDTH)
            )

    low, high = 8, 8
    while made(high) < parameters:
        low, high = high, 2 * high
    while high - low > 8:
        middle = (low + high) // 16 * 8
        low, high = (middle, high) if made(middle) < parameters else (low, middle)
    return params.model_copy(update={"dim": min((low, high), key=lambda dim: abs(made(dim) - parameters))})


def count_flops(contestant: Contestant) -> int:
    """Floating point operations of one forward and backward pass, multiplications and additions counted each."""
    with FlopCounterMode(display=False) as counter:
        contestant.predict().square().mean().backward()
    contestant.network.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def _contestant(
    network: nn.Module,
    forward: Callable[[], Tensor],
    target: Tensor,
    size: VideoSize,
    device: torch.device,
    dtype: torch.dtype,
    add_gradients: Callable[[], object] | None = None,  # by a way of its own
) -> Contestant:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

    def predict() -> Tensor:
        with autocast(device, dtype):
            return forward()

    def step() -> None:
        if add_gradients is None:
            (predict().float() - target).square().mean().backward()
        else:
            add_gradients()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Contestant(network, predict, step, size)


def _random_batch(size: VideoSize, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Videos (B, 3, F, H, W), times (B,) and caption vectors (B, TEXT_WIDTH)."""
    shape = (size.batch, 3, size.frames, size.resolution, size.resolution)
    made = torch.randn(shape), torch.rand(size.batch), torch.randn(size.batch, TEXT_WIDTH)
    return made[0].to(device), made[1].to(device), made[2].to(device)


def _peer_class() -> type[nn.Module]:
    """`Unet3D` of video-diffusion-pytorch. Its data loader wants torchvision, its network does not: a stand-in does."""
    if find_spec("video_diffusion_pytorch") is None or find_spec("einops_exts") is None:
        raise ValueError("--peer: run `pip install --no-deps video-diffusion-pytorch einops-exts` first")
    if find_spec("torchvision") is None and "torchvision" not in sys.modules:
        stand_in = types.ModuleType("torchvision")
        stand_in.transforms = types.SimpleNamespace(ToTensor=object, ToPILImage=object)  # type: ignore[attr-defined]
        stand_in.utils = types.SimpleNamespace()  # type: ignore[attr-defined]
        sys.modules["torchvision"] = stand_in
    from video_diffusion_pytorch import Unet3D

    return Unet3D
