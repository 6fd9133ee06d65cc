"""A small video network whose frozen features the distances are measured in.

Generated sets train it to name the true attributes of real clips; real sets train it as half of a dual encoder (see
`retrieval`). In: uint8 (N, F, H, W, 3), any resolution and frame count; out: (N, D).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.evaluation import JudgeParams
from pipeline.model_io.tensors import to_model
from pipeline.runtime.progress import Progress
from pipeline.runtime.row_file import RowFile

PATCH = 4  # spatial pixel-unshuffle of the stem
RESOLUTION = 64  # px that every clip is resized to first
FRAMES = 8  # at most, evenly over the clip: half the cost, and every motion still shows
GRID = 4  # frames, rows and columns of the last grid, whatever goes in
WARMUP = 30  # steps
CHUNK = 50  # clips embedded at once


class FeatureNet(nn.Module):
    """Video float (B, 3, F, H, W) in [-1, 1] to features (B, D): 2-D and temporal convolutions in turn."""

    def __init__(self, width: int, feature_dim: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 * PATCH**2, width, 1)
        self.levels = nn.ModuleList([DownBlock(width, 2 * width), DownBlock(2 * width, 4 * width)])
        self.head = nn.Linear(4 * width * GRID**3, feature_dim)

    def forward(self, video: Tensor) -> Tensor:
        b, f = len(video), video.shape[2]
        if f > FRAMES:
            video = video[:, :, torch.linspace(0, f - 1, FRAMES).round().long()]
        x = rearrange(video, "b c f h w -> (b f) c h w")
        if x.shape[-2:] != (RESOLUTION, RESOLUTION):
            x = functional.interpolate(x, (RESOLUTION, RESOLUTION), mode="area")
        x = functional.silu(self.stem(functional.pixel_unshuffle(x, PATCH)))
        for level in self.levels:
            x = level(x, b)
        x = functional.adaptive_avg_pool3d(rearrange(x, "(b f) c h w -> b c f h w", b=b), GRID)
        return self.head(x.flatten(1))


class DownBlock(nn.Module):
    """Halve the grid, then half the frames: (b f) c h w in and out."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(width_in, width, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(8 if width % 8 == 0 else 1, width)
        self.time = nn.Conv1d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, b: int) -> Tensor:
        x = functional.silu(self.norm(self.space(x)))
        _, _, h, w = x.shape
        x = functional.silu(self.time(rearrange(x, "(b f) c h w -> (b h w) c f", b=b)))
        return rearrange(x, "(b h w) c f -> (b f) c h w", b=b, h=h, w=w)


def train_attribute_features(
    frames: np.ndarray | RowFile,  # uint8 (N, F, H, W, 3)
    targets: np.ndarray,  # bool (N, K): which attribute values each clip shows
    params: JudgeParams,
    device: torch.device,
) -> tuple[FeatureNet, nn.Linear]:
    """A network trained to name the attribute values, and the linear head that names them (B, D) -> (B, K)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        net = FeatureNet(params.width, params.feature_dim).to(device)
        namer = nn.Linear(params.feature_dim, targets.shape[1]).to(device)
    wanted = torch.from_numpy(targets.astype(np.float32))

    def loss(index: Tensor) -> Tensor:
        logits = namer(functional.silu(net(to_model(frames[index.numpy()]).to(device))))
        return functional.binary_cross_entropy_with_logits(logits, wanted[index].to(device))

    fit([net, namer], loss, len(frames), params, desc="video features")
    return net, namer


def fit(
    modules: Sequence[nn.Module],
    loss: Callable[[Tensor], Tensor],  # of a batch of row numbers
    n_rows: int,
    params: JudgeParams,
    *,
    desc: str,
) -> None:
    """AdamW over seeded shuffles of the rows, with warm-up and cosine decay. Raises ValueError on a non-finite loss."""
    weights = [weight for module in modules for weight in module.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=params.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _lr_share(step, params.steps))
    rows = _shuffled_batches(n_rows, min(params.batch_size, n_rows), params.seed)
    for module in modules:
        module.train()
    for step in Progress(range(params.steps), desc=desc, unit="step"):
        value = loss(next(rows))
        if not torch.isfinite(value):
            what = f"judge: the loss of {desc} is {value.item()} at step {step}"
            raise ValueError(f"{what}; lower judge.lr ({params.lr})")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    for module in modules:
        module.eval().requires_grad_(False)


@torch.no_grad()
def embed(
    net: FeatureNet, frames: np.ndarray | RowFile, device: torch.device, at_most: int | None = None
) -> np.ndarray:
    """Features float32 (N, D) of uint8 frames (N, F, H, W, 3), or of the first `at_most` of them."""
    end = min(len(frames), at_most or len(frames))
    starts = range(0, end, CHUNK)
    return torch.cat([net(to_model(frames[i : min(i + CHUNK, end)]).to(device)).cpu() for i in starts]).numpy()


def attribute_targets(attributes: Sequence[Mapping[str, Any]], in_play: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """bool (N, K): whether a clip shows each value of each attribute in play, in the order of `in_play`."""
    rows = []
    for clip in attributes:
        shown = {name: _values(clip, name) for name in in_play}
        rows.append([value in shown[name] for name, values in in_play.items() for value in values])
    return np.array(rows, bool)


def _values(clip: Mapping[str, Any], name: str) -> set[Any]:
    if name in ("objects", "count"):
        return {len(clip["objects"])}
    if name in clip:
        return {clip[name]}
    return {thing[name] for thing in clip["objects"] if name in thing}


def _lr_share(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * float(np.cos(np.pi * step / steps)))


def _shuffled_batches(n_rows: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n_rows, generator=generator)
        for start in range(0, n_rows - batch_size + 1, batch_size):
            yield order[start : start + batch_size]
