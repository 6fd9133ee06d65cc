"""Convolutional blocks on a grid x (B F, C, H, W), channels_last, scaled and shifted by the conditioning.

A (1, k, k) convolution over video is a Conv2d here: the same sums, without the slow and, in bf16, untrustworthy Conv3d.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pipeline.diffusion.unet import cpu_kernels as cpu
from pipeline.diffusion.unet.attention import CellLinear, LayerNorm, NormLayer, RMSNorm


class TemporalConv(nn.Module):
    """A depthwise convolution over three frames that starts as the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        weight = torch.zeros(3, dim)
        weight[1] = 1.0
        self.weight = nn.Parameter(weight)  # previous, own and next frame

    def forward(self, x: Tensor, frames: int) -> Tensor:
        if cpu.applies(x):
            return self._as_image(x, frames)
        video = x.unflatten(0, (-1, frames))
        before, own, after = self.weight[:, :, None, None]
        out = video * own
        out[:, 1:].addcmul_(video[:, :-1], before)
        out[:, :-1].addcmul_(video[:, 1:], after)
        return out.flatten(0, 1)

    def _as_image(self, x: Tensor, frames: int) -> Tensor:
        """The same as one convolution: in memory, frames of channels_last cells are an image of frames x cells."""
        rows = x.permute(0, 2, 3, 1)
        image = rows.reshape(len(x) // frames, frames, -1, x.shape[1]).permute(0, 3, 1, 2)
        weight = self.weight.t()[:, None, :, None]
        image = F.conv2d(image, weight, padding=(1, 0), groups=x.shape[1])
        return image.permute(0, 2, 3, 1).reshape(rows.shape).permute(0, 3, 1, 2)


class Modulation(nn.Module):
    """Scale and shift per channel from the conditioning (B, F or 1, D), as in FiLM (Perez et al. 2018)."""

    def __init__(self, cond_dim: int, dim: int) -> None:
        super().__init__()
        self.to_scale_shift = nn.Linear(cond_dim, 2 * dim)

    def forward(self, x: Tensor, cond: Tensor, frames: int) -> Tensor:
        scale, shift = self.scale_and_shift(cond)
        if cond.shape[1] == 1:
            scale, shift = scale.expand(-1, frames, -1), shift.expand(-1, frames, -1)
        scale, shift = (rearrange(part, "b f c -> (b f) c 1 1") for part in (scale, shift))
        return torch.addcmul(shift, x, scale)

    def scale_and_shift(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, F or 1, C)."""
        scale, shift = self.to_scale_shift(F.silu(cond)).chunk(2, dim=-1)
        return scale + 1, shift


def norm_and_silu(
    x: Tensor,
    norm: RMSNorm | LayerNorm,
    modulation: Modulation | None = None,
    cond: Tensor | None = None,
    frames: int = 1,
) -> Tensor:
    """The norm, its modulation if there is one, and SiLU: at once where there is a function for it."""
    assert modulation is None or cond is not None
    if isinstance(norm, RMSNorm) and cpu.applies(x):
        if modulation is None or cond is None:
            return cpu.scaled_rms_norm(x, norm.gain[None], silu=True)
        scale, shift = modulation.scale_and_shift(cond)
        return cpu.scaled_rms_norm(x, (norm.gain * scale).flatten(0, 1), shift.flatten(0, 1), silu=True)
    h = norm(x)
    if modulation is not None and cond is not None:
        h = modulation(h, cond, frames)
    return F.silu(h)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution that keeps the grid."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__(dim, dim_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return cpu.conv3x3(x, self.weight, self.bias) if cpu.applies_to_kernel(x) else super().forward(x)


class ResnetBlock(nn.Module):
    """Two normed 3x3 convolutions, the first one modulated, around a residual."""

    def __init__(
        self,
        dim: int,
        dim_out: int,
        cond_dim: int | None,  # None: not modulated
        *,
        temporal_conv: bool = False,
        norm: NormLayer = RMSNorm,
    ) -> None:
        super().__init__()
        self.modulation = Modulation(cond_dim, dim_out) if cond_dim else None
        self.conv1 = Conv3x3(dim, dim_out)
        self.norm1 = norm(dim_out)
        self.conv2 = Conv3x3(dim_out, dim_out)
        self.norm2 = norm(dim_out)
        self.temporal = TemporalConv(dim_out) if temporal_conv else None
        self.residual = CellLinear(dim, dim_out) if dim != dim_out else nn.Identity()

    def forward(self, x: Tensor, cond: Tensor | None, frames: int) -> Tensor:
        h = norm_and_silu(self.conv1(x), self.norm1, self.modulation, cond, frames)
        if self.temporal is not None:
            h = self.temporal(h, frames)
        h = norm_and_silu(self.conv2(h), self.norm2)
        return h + self.residual(x)


class ConvNextBlock(nn.Module):
    """A depthwise 7x7 convolution, then a modulated MLP over channels, around a residual (Liu et al. 2022)."""

    def __init__(
        self,
        dim: int,
        dim_out: int,
        cond_dim: int | None,  # None: not modulated
        *,
        temporal_conv: bool = False,
        norm: NormLayer = RMSNorm,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.temporal = TemporalConv(dim) if temporal_conv else None
        self.norm = norm(dim)
        self.modulation = Modulation(cond_dim, dim) if cond_dim else None
        self.expand = CellLinear(dim, 2 * dim_out)
        self.project = CellLinear(2 * dim_out, dim_out)
        self.residual = CellLinear(dim, dim_out) if dim != dim_out else nn.Identity()

    def forward(self, x: Tensor, cond: Tensor | None, frames: int) -> Tensor:
        h = self.depthwise(x)
        if self.temporal is not None:
            h = self.temporal(h, frames)
        h = self.norm(h)
        if self.modulation is not None:
            assert cond is not None
            h = self.modulation(h, cond, frames)
        return self.project(F.gelu(self.expand(h))) + self.residual(x)


BLOCKS: dict[str, type[ResnetBlock] | type[ConvNextBlock]] = {"resnet": ResnetBlock, "convnext": ConvNextBlock}
