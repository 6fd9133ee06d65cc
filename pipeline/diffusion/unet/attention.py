"""Attention over a video's grid: along space, along time, over both at once, and to the caption's tokens.

Every layer takes and returns a grid x (B F, C, H, W), channels_last, and is a pre-norm residual. `Grid` says how to
unfold the batch axis. Sequences are read straight from the channels_last memory, without a copy where it allows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor, nn

from pipeline.diffusion.unet import cpu_kernels as cpu


@dataclass(frozen=True)
class Grid:
    """The shape of a forward pass's grid, and the caption and masks that its attention needs."""

    batch: int
    frames: int
    tokens: Tensor | None = None  # (B, L, text_dim), the caption
    token_mask: Tensor | None = None  # (B, L) bool, True where a token is real
    time_bias: Tensor | None = None  # (heads, F, F)
    focus_present: Tensor | None = None  # (B,) bool: time attention sees its own frame only


class CellLinear(nn.Conv2d):
    """A 1x1 convolution, computed as the matrix product that it is: channels_last cells are its rows."""

    def __init__(self, dim: int, dim_out: int, *, bias: bool = True) -> None:
        super().__init__(dim, dim_out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class RMSNorm(nn.Module):
    """x / rms(x) over the channel axis, with a gain (Zhang and Sennrich 2019, equation 4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        if cpu.applies(x):
            return cpu.scaled_rms_norm(x, self.gain[None])
        return F.rms_norm(x.permute(0, 2, 3, 1), self.gain.shape, self.gain).permute(0, 3, 1, 2)


class LayerNorm(nn.Module):
    """(x - mean) / deviation over the channel axis, with a gain: one fused kernel on a CPU, so faster there."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.gain.shape, self.gain).permute(0, 3, 1, 2)


NormLayer = type[RMSNorm] | type[LayerNorm]
NORMS: dict[str, NormLayer] = {"rms": RMSNorm, "layer": LayerNorm}


class RelativePositionBias(nn.Module):
    """A learnt bias per head and bucketed distance of frames (T5, Raffel et al. 2020, section 2.1)."""

    def __init__(self, heads: int, num_buckets: int = 32, max_distance: int = 32) -> None:
        super().__init__()
        self.num_buckets, self.max_distance = num_buckets, max_distance
        self.bias = nn.Embedding(num_buckets, heads)

    def buckets(self, frames: int, device: torch.device) -> Tensor:
        """(F, F) bucket of each (query, key): exact near the query, logarithmic beyond, a half for each side."""
        position = torch.arange(frames, device=device)
        distance = position[:, None] - position[None, :]
        half = self.num_buckets // 2
        exact = half // 2
        far = exact + (
            torch.log(distance.abs().clamp(min=1) / exact) / math.log(self.max_distance / exact) * (half - exact)
        ).long().clamp(max=half - exact - 1)
        near = torch.where(distance.abs() < exact, distance.abs(), far)
        return near + (distance < 0).long() * half

    def forward(self, frames: int, device: torch.device) -> Tensor:
        """(heads, F, F)."""
        return rearrange(self.bias(self.buckets(frames, device)), "i j h -> h i j")


class Attention(nn.Module):
    """Multi-head self-attention over sequences (N, n, C); `rotary` turns queries and keys by their position."""

    def __init__(self, dim: int, heads: int, dim_head: int, rotary: RotaryEmbedding | None = None) -> None:
        super().__init__()
        self.heads, self.rotary = heads, rotary
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """bias: float, broadcastable to (N, heads, n, n), added to the similarities."""
        q, k, v = rearrange(self.to_qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        if self.rotary is not None:
            q, k = self.rotary.rotate_queries_or_keys(q), self.rotary.rotate_queries_or_keys(k)
        if bias is None and cpu.applies_to_attention(q):
            out = cpu.attend(q, k, v)
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias if bias is None else bias.to(q.dtype))
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))

    def along_frames(self, x: Tensor, bias: Tensor) -> Tensor:
        """The same for x (B, F, cells, C), whose sequences run along F, on a CPU; bias (B or 1, heads, F, F)."""
        assert self.rotary is not None
        parts = self.to_qkv.weight.unflatten(0, (3, -1))
        q, k, v = (F.linear(x, part).unflatten(-1, (self.heads, -1)) for part in parts)
        positions = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)
        angles = self.rotary(positions, seq_len=len(positions))[:, ::2]  # it repeats them for both of a pair
        angles = F.pad(angles, (0, q.shape[-1] // 2 - angles.shape[-1]))
        turn = torch.polar(torch.ones_like(angles), angles)
        return self.to_out(cpu.frame_attention(q, k, v, turn, bias).flatten(-2))


class SpatialAttention(nn.Module):
    """Full attention among the cells of each frame."""

    def __init__(self, dim: int, heads: int, dim_head: int, norm: NormLayer = RMSNorm) -> None:
        super().__init__()
        self.norm, self.attention = norm(dim), Attention(dim, heads, dim_head)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        h, w = x.shape[-2:]
        out = self.attention(rearrange(self.norm(x), "bf c h w -> bf (h w) c"))
        return x + rearrange(out, "bf (h w) c -> bf c h w", h=h, w=w)


class SpatialLinearAttention(nn.Module):
    """Attention whose cost is linear in the cells (Shen et al. 2021, eq. 4): softmax(q) (softmax(k)^T v)."""

    def __init__(self, dim: int, heads: int, dim_head: int, norm: NormLayer = RMSNorm) -> None:
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.norm = norm(dim)
        self.to_qkv = CellLinear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = CellLinear(heads * dim_head, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        h, w = x.shape[-2:]
        if cpu.applies(x) and h * w > x.shape[1]:
            return self._by_associativity(x)
        q, k, v = rearrange(
            self.to_qkv(self.norm(x)), "bf (three heads d) h w -> three (bf heads) (h w) d", three=3, heads=self.heads
        )
        q, k = q.softmax(dim=-1) * self.scale, k.softmax(dim=-2)
        out = q @ (k.transpose(-1, -2) @ v)
        return x + self.to_out(rearrange(out, "(bf heads) (h w) d -> bf (heads d) h w", heads=self.heads, h=h, w=w))

    def _by_associativity(self, x: Tensor) -> Tensor:
        """The same with fewer operations and copies where there are more cells than channels: both projections of v
        act on the sums over cells, softmax(q) (((softmax(k)^T x) W_v) W_out), instead of on every cell."""
        rows = rearrange(self.norm(x), "bf c h w -> bf (h w) c")
        to_q, to_k, to_v = self.to_qkv.weight.flatten(1).unflatten(0, (3, -1))
        q = F.linear(rows, to_q).unflatten(-1, (self.heads, -1)).softmax(dim=-1).flatten(-2)
        k = F.linear(rows, to_k).softmax(dim=1)
        sums = (rows.transpose(1, 2) @ k).transpose(1, 2).unflatten(1, (self.heads, -1))  # k's gradient needs no copy
        context = sums @ rearrange(to_v, "(heads d) c -> heads c d", heads=self.heads)
        mixed = context @ rearrange(self.to_out.weight, "c (heads d) 1 1 -> heads d c", heads=self.heads)
        out = q @ (mixed * self.scale).flatten(1, 2) + self.to_out.bias
        return x + rearrange(out, "bf (h w) c -> bf c h w", h=x.shape[2])


class TemporalAttention(nn.Module):
    """Attention of each cell along its frames, with rotary positions and the relative bias of the grid."""

    def __init__(self, dim: int, heads: int, dim_head: int, rotary: RotaryEmbedding, norm: NormLayer = RMSNorm) -> None:
        super().__init__()
        self.norm, self.attention = norm(dim), Attention(dim, heads, dim_head, rotary)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        h, w = x.shape[-2:]
        normed, bias = self.norm(x), self._bias(grid)
        if cpu.applies(x):
            sequences = rearrange(normed, "(b f) c h w -> b f (h w) c", b=grid.batch)
            bias = torch.zeros(1, 1, 1, 1) if bias is None else bias
            bias = bias.expand(-1, self.attention.heads, grid.frames, grid.frames)
            out = self.attention.along_frames(sequences, bias)
            return x + rearrange(out, "b f (h w) c -> (b f) c h w", h=h, w=w)
        sequences = rearrange(normed, "(b f) c h w -> (b h w) f c", b=grid.batch)
        if bias is not None and len(bias) > 1:
            bias = bias.repeat_interleave(h * w, dim=0)
        out = self.attention(sequences, bias)
        return x + rearrange(out, "(b h w) f c -> (b f) c h w", b=grid.batch, h=h, w=w)

    def _bias(self, grid: Grid) -> Tensor | None:
        """(B or 1, heads or 1, F, F)."""
        bias = None if grid.time_bias is None else grid.time_bias[None]
        if grid.focus_present is None:
            return bias
        other = ~torch.eye(grid.frames, dtype=torch.bool, device=grid.focus_present.device)
        hidden = (grid.focus_present[:, None, None] & other).float() * torch.finfo(torch.float32).min
        return hidden[:, None] if bias is None else bias + hidden[:, None]


class JointAttention(nn.Module):
    """Attention among all cells of all frames: what lets frames agree on a path. Cheap at the coarse grids only."""

    def __init__(self, dim: int, heads: int, dim_head: int, norm: NormLayer = RMSNorm) -> None:
        super().__init__()
        self.norm, self.attention = norm(dim), Attention(dim, heads, dim_head)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        h, w = x.shape[-2:]
        out = self.attention(rearrange(self.norm(x), "(b f) c h w -> b (f h w) c", b=grid.batch))
        return x + rearrange(out, "b (f h w) c -> (b f) c h w", f=grid.frames, h=h, w=w)


class CrossAttention(nn.Module):
    """Attention of every cell to the caption's tokens."""

    def __init__(self, dim: int, text_dim: int, heads: int, dim_head: int, norm: NormLayer = RMSNorm) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm(dim)
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(text_dim, 2 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        assert grid.tokens is not None
        assert grid.token_mask is not None
        h, w = x.shape[-2:]
        q = rearrange(
            self.to_q(rearrange(self.norm(x), "(b f) c h w -> b (f h w) c", b=grid.batch)),
            "b n (heads d) -> b heads n d",
            heads=self.heads,
        )
        k, v = rearrange(self.to_kv(grid.tokens), "b l (two heads d) -> two b heads l d", two=2, heads=self.heads)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=grid.token_mask[:, None, None, :])
        out = self.to_out(rearrange(out, "b heads n d -> b n (heads d)"))
        return x + rearrange(out, "b (f h w) c -> (b f) c h w", f=grid.frames, h=h, w=w)
