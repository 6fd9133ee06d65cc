"""The denoising network: a U-Net over frames, from video-diffusion-pytorch's (presets/seed.yaml) to the fast one.

In and out (B, C, F, H, W). Inside, a grid (B F, C, H, W), channels_last: `patch` and `fold_frames` fold pixels and
frames into channels first, so that no layer works at full resolution unless it is asked to (patch 1). The way down may
fold frames earlier than the way up gives them back (`unfold_frames`): a cell that holds several frames sees a motion in
one layer, and an output whose frames have cells of their own spends no channels on where else in the cell a shape was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor, nn

from pipeline.config.models import UnetParams
from pipeline.diffusion.unet.attention import (
    NORMS,
    CellLinear,
    CrossAttention,
    Grid,
    JointAttention,
    NormLayer,
    RelativePositionBias,
    SpatialAttention,
    SpatialLinearAttention,
    TemporalAttention,
)
from pipeline.diffusion.unet.blocks import BLOCKS, Modulation
from pipeline.diffusion.unet.conditioning import Condition, Conditioning
from pipeline.text.captions import TextBatch


class Positions(nn.Module):
    """Learned position of each cell and frame: a convolution on an empty canvas cannot tell left from right."""

    def __init__(self, dim: int, frames: int, cells: int) -> None:
        super().__init__()
        self.space = nn.Parameter(torch.randn(dim, cells, cells) * 0.1)
        self.time = nn.Parameter(torch.randn(frames, dim, 1, 1) * 0.1)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        table = (self.space + self.time).to(x.dtype)  # (F, C, H, W)
        return (x.unflatten(0, (-1, grid.frames)) + table).flatten(0, 1)


class Shrink(nn.Module):
    """Halve the grid; `fold` > 1 also folds that many frames into channels, so that a coarse cell sees them at once."""

    def __init__(self, dim: int, dim_out: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv = nn.Conv2d(dim, dim, 4, 2, 1) if fold == 1 else nn.Conv2d(fold * dim, dim_out, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.fold == 1:
            return self.conv(x)
        cells = rearrange(x, "(b fold) c (h i) (w j) -> b h w (i j fold c)", fold=self.fold, i=2, j=2)
        weight = rearrange(self.conv.weight, "out c i j -> out (i j c)")  # strides meet nowhere: a matrix product
        return F.linear(cells, weight, self.conv.bias).permute(0, 3, 1, 2)


class Widen(nn.Module):
    """Double the grid, and give folded frames back: the way back from `Shrink`."""

    def __init__(self, dim: int, dim_out: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        if fold == 1:
            self.conv = nn.ConvTranspose2d(dim, dim, 4, 2, 1)
        else:
            self.conv = nn.ConvTranspose2d(dim, fold * dim_out, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.fold == 1:
            return self.conv(x)
        assert self.conv.bias is not None
        weight, bias = rearrange(self.conv.weight, "c out i j -> (i j out) c"), self.conv.bias.repeat(4)
        cells = F.linear(x.permute(0, 2, 3, 1), weight, bias)
        video = rearrange(cells, "b h w (i j fold c) -> (b fold) (h i) (w j) c", fold=self.fold, i=2, j=2)
        return video.permute(0, 3, 1, 2)


class SplitFrames(nn.Module):
    """(B F, C, H, W) to (B F parts, C, H, W): each of the `parts` frames that share a cell gets channels of its own."""

    def __init__(self, dim: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = CellLinear(dim, parts * dim) if parts > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.parts == 1:
            return x
        cells = self.linear(x).permute(0, 2, 3, 1)  # channels_last, in one copy
        return rearrange(cells, "b h w (parts c) -> (b parts) h w c", parts=self.parts).permute(0, 3, 1, 2)


class Render(nn.Module):
    """A hidden layer before the output: edges within a patch are no linear function of where they lie.

    `gate` scales and shifts the stem's skip by the conditioning: how far x_t can be trusted depends on t.
    """

    def __init__(self, dim: int, dim_out: int, dim_skip: int, cond_dim: int, norm: NormLayer) -> None:
        super().__init__()
        self.gate = Modulation(cond_dim, dim_skip)
        self.norm = norm(dim)
        self.expand = CellLinear(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B F, C, H, W) to (B F, dim_out, H, W)."""
        return F.silu(self.expand(self.norm(x)))


class GivenFrames(nn.Module):
    """Given frames as a term of the stem's cells: the pixels, and which frames they are.

    It begins at zero, so that a network learns from its first step as one that is given nothing does.
    """

    def __init__(self, channels: int, dim: int, p: UnetParams) -> None:
        super().__init__()
        self.pf, self.ph = p.fold_frames[0], p.patch
        width = self.pf * (channels * p.patch**2 + 1)
        self.conv = nn.Conv2d(width, dim, p.init_kernel_size, padding=p.init_kernel_size // 2, bias=False)
        nn.init.zeros_(self.conv.weight)

    def forward(self, given: Tensor, num_given: Tensor) -> Tensor:
        """Frames (B, C, F, H, W), 0 where none is given, and their numbers (B,) to (B f, dim, H / patch, W / patch)."""
        pattern = "b c (f pf) (h ph) (w pw) -> (b f) h w (c pf ph pw)"
        cells = rearrange(given, pattern, pf=self.pf, ph=self.ph, pw=self.ph)
        mask = rearrange(given_mask(num_given, given.shape[2]), "b (f pf) -> (b f) 1 1 pf", pf=self.pf)
        mask = mask.to(cells.dtype).expand(-1, *cells.shape[1:3], -1)
        return self.conv(torch.cat([cells, mask], dim=-1).permute(0, 3, 1, 2))  # channels_last


class Level(nn.Module):
    """Blocks, then attention, at one grid; positions are added after the first block, which has the level's width."""

    def __init__(self, blocks: list[nn.Module], attention: list[nn.Module], positions: Positions | None) -> None:
        super().__init__()
        self.blocks, self.attention, self.positions = nn.ModuleList(blocks), nn.ModuleList(attention), positions

    def forward(self, x: Tensor, cond: Tensor, grid: Grid) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x, cond, grid.frames)
            if index == 0 and self.positions is not None:
                x = self.positions(x, grid)
        for layer in self.attention:
            x = layer(x, grid)
        return x


class UNet3D(nn.Module):
    """See the module. Build it with `build_unet`, which checks the shapes."""

    def __init__(
        self, p: UnetParams, *, frames: int, resolution: int, channels: int, text_width: int, takes_frames: bool
    ) -> None:
        super().__init__()
        self.p = p
        self.channels_out = p.out_dim or channels
        self.cells = resolution // p.patch
        self.down_frames = frames_per_level(frames, p.fold_frames)
        self.unfolds = p.unfold_frames or p.fold_frames  # the first are those of one cell of the output
        self.up_frames = frames_per_level(frames, self.unfolds)
        self.grid_frames = self.down_frames[0]
        self.conditioning = Conditioning(p, frames=self.up_frames[0], text_width=text_width)
        self.norm = NORMS[p.norm]
        self._rotary = RotaryEmbedding(min(32, p.attn_dim_head)) if self._attends_to_time() else None
        self.time_bias = RelativePositionBias(p.attn_heads) if self._attends_to_time() else None

        first = p.init_dim or p.dim
        dims = [first, *(p.dim * mult for mult in p.dim_mults)]
        self.stem = nn.Conv2d(
            channels * p.fold_frames[0] * p.patch**2, first, p.init_kernel_size, padding=p.init_kernel_size // 2
        )
        self.stem_positions = Positions(first, self.grid_frames, self.cells) if p.positions else None
        self.stem_attention = self._temporal(first) if p.temporal_attention[0] else None
        self._build_levels(dims)
        self.first_split = SplitFrames(first, self.up_frames[0] // self.grid_frames)
        self.head_block = BLOCKS[p.block_type](dims[0] * 2, p.dim, None, norm=self.norm) if p.final_block else None
        wide = p.dim if p.final_block else dims[0] * 2
        self.render = Render(wide, p.head_dim, first, self.conditioning.out_dim, self.norm) if p.head_dim else None
        self.head = CellLinear(p.head_dim or wide, self.channels_out * self.unfolds[0] * p.patch**2)
        self.stem_given = GivenFrames(channels, first, p) if takes_frames else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _build_levels(self, dims: list[int]) -> None:
        self.downs, self.shrinks = nn.ModuleList(), nn.ModuleList()
        self.splits, self.ups, self.widens = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for index, (dim_in, dim_out) in enumerate(pairwise(dims)):
            fold, unfold = (self.p.fold_frames[index], self.unfolds[index]) if index else (1, 1)
            wide = dim_out if fold > 1 else dim_in  # frames folded into channels ask for the level's whole width
            wide_up = dim_out if unfold > 1 else dim_in
            self.downs.append(self._level(index, wide, dim_out, positions=self.p.positions))
            self.splits.insert(0, SplitFrames(dim_out, self.up_frames[index] // self.down_frames[index]))
            self.ups.insert(0, self._level(index, 2 * dim_out, wide_up, positions=False))
            if index:
                self.shrinks.append(Shrink(dim_in, wide, fold))
                self.widens.insert(0, Widen(wide_up, dim_in, unfold))
        coarse = dims[-1]
        self.mid_before = self._block(coarse, coarse)
        self.mid_attention = nn.ModuleList(self._mid_attention(coarse))
        self.mid_after = self._block(coarse, coarse)

    def _level(self, index: int, dim: int, dim_out: int, *, positions: bool) -> Level:
        rest = [self._block(dim_out, dim_out) for _ in range(self.p.blocks_per_level - 1)]
        table = Positions(dim_out, self.down_frames[index], self.cells >> index) if positions else None
        return Level([self._block(dim, dim_out), *rest], self._attention(index, dim_out), table)

    def _block(self, dim: int, dim_out: int) -> nn.Module:
        p = self.p
        return BLOCKS[p.block_type](
            dim,
            dim_out,
            self.conditioning.out_dim,
            temporal_conv=p.temporal_conv,
            norm=self.norm,
        )

    def _attention(self, index: int, dim: int) -> list[nn.Module]:
        p, heads = self.p, (self.p.attn_heads, self.p.attn_dim_head)
        layers: list[nn.Module] = []
        if p.spatial_attention[index] == "linear":
            layers.append(SpatialLinearAttention(dim, *heads, self.norm))
        elif p.spatial_attention[index] == "full":
            layers.append(SpatialAttention(dim, *heads, self.norm))
        if p.temporal_attention[index]:
            layers.append(self._temporal(dim))
        if p.joint_attention[index]:
            layers.append(JointAttention(dim, *heads, self.norm))
        if p.cross_attention[index]:
            layers.append(CrossAttention(dim, self.conditioning.token_dim, *heads, self.norm))
        return layers

    def _mid_attention(self, dim: int) -> list[nn.Module]:
        heads = (self.p.attn_heads, self.p.attn_dim_head)
        if self.p.mid_attention == "factored":
            return [SpatialAttention(dim, *heads, self.norm), self._temporal(dim)]
        return [JointAttention(dim, *heads, self.norm)] if self.p.mid_attention == "joint" else []

    def _attends_to_time(self) -> bool:
        return any(self.p.temporal_attention) or self.p.mid_attention == "factored"

    def _temporal(self, dim: int) -> nn.Module:
        assert self._rotary is not None
        return TemporalAttention(dim, self.p.attn_heads, self.p.attn_dim_head, self._rotary, self.norm)

    def set_text_statistics(
        self, pooled_mean: Tensor, pooled_std: Tensor, token_mean: Tensor, token_std: Tensor
    ) -> None:
        """Keep the (D,) mean and deviation of the train captions' vectors; captions are standardised by them."""
        for name, value in (
            ("pooled_mean", pooled_mean),
            ("pooled_std", pooled_std),
            ("token_mean", token_mean),
            ("token_std", token_std),
        ):
            cast(Tensor, getattr(self.conditioning, name)).copy_(value)

    def forward(
        self,
        x: Tensor,  # (B, C, F, H, W)
        t: Tensor,  # (B,) in [0, 1], 1 is pure noise
        text: TextBatch | None,  # None: every caption is the null caption
        drop_text: Tensor | None = None,  # (B,) bool: these captions are the null caption
        focus_present: Tensor | None = None,  # (B,) bool: temporal attention sees its own frame only
        drop_pooled: Tensor | None = None,  # (B,) bool: the pooled vector is hidden, the tokens stay
        given: Tensor | None = None,  # (B, C, F, H, W): the first frames as they are to be, the others 0
        num_given: Tensor | None = None,  # (B,): how many they are
    ) -> Tensor:  # (B, C_out, F, H, W)
        # f: frames of a level's grid, c: its channels; a level's grid has half the h and w of the one before
        condition = self.conditioning(t, text, drop_text, drop_pooled)
        grids = {n: self._grid(n, x, condition, focus_present) for n in {*self.down_frames, *self.up_frames}}
        conds = {n: _per_frame(condition.vector, n) for n in grids}  # (B, f or 1, D)
        x = first = self._stem(x, grids[self.grid_frames], given, num_given)  # (B f, dim, H / patch, W / patch)

        # Down
        skips: list[Tensor] = []
        for index, (level, frames) in enumerate(zip(self.downs, self.down_frames, strict=True)):
            x = level(self.shrinks[index - 1](x) if index else x, conds[frames], grids[frames])
            skips.append(x)  # (B f, c, h, w)

        # Middle
        coarse, fine = self.down_frames[-1], self.up_frames[0]
        x = self.mid_before(x, conds[coarse], coarse)
        for layer in self.mid_attention:
            x = layer(x, grids[coarse])
        x = self.mid_after(x, conds[coarse], coarse)  # (B f, c, h, w) of the coarsest level

        # Up
        for index, (level, frames) in enumerate(zip(self.ups, reversed(self.up_frames), strict=True)):
            skip = self.splits[index](skips.pop())  # (B f, c, h, w), f now that of the way up
            x = level(torch.cat([x, skip], dim=1), conds[frames], grids[frames])
            x = self.widens[index](x) if skips else x  # (B f', c', 2 h, 2 w) of the next level

        # Output
        first = self.first_split(first)  # (B f, dim, H / patch, W / patch)
        if self.render is not None:
            first = self.render.gate(first, conds[fine], fine)
        x = torch.cat([x, first], dim=1)  # (B f, 2 dim, H / patch, W / patch)
        if self.head_block is not None:
            x = self.head_block(x, None, fine)
        if self.render is not None:
            x = self.render(x)
        return self._unfold(self.head(x))  # the head has C_out * unfolds[0] * patch^2 channels

    def _grid(self, frames: int, x: Tensor, condition: Condition, focus_present: Tensor | None) -> Grid:
        return Grid(
            batch=x.shape[0],  # an export keeps it open; len(x) would freeze it
            frames=frames,
            tokens=condition.tokens,
            token_mask=condition.token_mask,
            time_bias=None if self.time_bias is None else self.time_bias(frames, x.device),
            focus_present=focus_present,
        )

    def _stem(self, x: Tensor, grid: Grid, given: Tensor | None, num_given: Tensor | None) -> Tensor:
        """(B, C, F, H, W) to (B f, dim, H / patch, W / patch)."""
        pf, ph = self.p.fold_frames[0], self.p.patch
        cells = rearrange(x, "b c (f pf) (h ph) (w pw) -> (b f) h w (c pf ph pw)", pf=pf, ph=ph, pw=ph)
        x = self.stem(cells.permute(0, 3, 1, 2))  # channels_last, in one copy
        if given is not None:
            assert self.stem_given is not None, "a network that takes no frames is given some"
            assert num_given is not None
            x = x + self.stem_given(given, num_given)
        if self.stem_positions is not None:
            x = self.stem_positions(x, grid)
        return x if self.stem_attention is None else self.stem_attention(x, grid)

    def _unfold(self, x: Tensor) -> Tensor:
        """(B f, C_out * unfolds[0] * patch^2, H / patch, W / patch) to (B, C_out, F, H, W)."""
        pf, ph = self.unfolds[0], self.p.patch
        pattern = "(b f) h w (c pf ph pw) -> b c (f pf) (h ph) (w pw)"
        return rearrange(x.permute(0, 2, 3, 1), pattern, f=self.up_frames[0], pf=pf, ph=ph, pw=ph)


def given_mask(num_given: Tensor, frames: int) -> Tensor:
    """(B, frames) bool, True for the first `num_given` (B,) of them."""
    return torch.arange(frames, device=num_given.device) < num_given[:, None]


def frames_per_level(frames: int, folds: Sequence[int]) -> list[int]:
    """Frames of each level's grid where `folds` of them become one, level by level."""
    return [frames // math.prod(folds[: index + 1]) for index in range(len(folds))]


def _per_frame(vector: Tensor, frames: int) -> Tensor:
    """The condition (B, F or 1, D) of a level with fewer frames: the mean over those that were folded."""
    if vector.shape[1] in (1, frames):
        return vector
    return vector.unflatten(1, (frames, -1)).mean(dim=2)


def build_unet(
    p: UnetParams,
    *,
    frames: int,
    resolution: int,
    channels: int,
    text_width: int,
    takes_frames: bool = False,  # whether it can be given a clip's first frames
) -> UNet3D:
    """The network for videos (B, channels, frames, resolution, resolution) and captions of `text_width`.

    Raises ValueError, naming the key, where the patches and levels do not divide the video.
    """
    p.check_size(frames, resolution)
    return UNet3D(
        p,
        frames=frames,
        resolution=resolution,
        channels=channels,
        text_width=text_width,
        takes_frames=takes_frames,
    )
