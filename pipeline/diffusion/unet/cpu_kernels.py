"""Inner functions of the layers for the CPU, three of them with derivatives by hand: the same sums, by a shorter way.

Written out op by op, a norm with scale, shift and SiLU goes through memory some twenty times a training step, and
attention along a handful of frames moves its operands around longer than it multiplies them. Here each block makes all
those passes before the next one is read. And on a grid of a few cells, oneDNN takes three times as long for a
convolution's derivative by its kernel as for the convolution; as nine matrix products it takes half of that. torch's
attention works through long sequences in blocks: for sixteen places, in bf16, its derivative takes ten times as long as
that of three plain operations.
`applies` says where: everywhere else (CUDA, torch.compile) plain ops do it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

SMALL = 4  # cells along a side
SHORT = 64  # places in a sequence
BLOCK = 2**18  # numbers in a block: 1 MB, of which a handful are in use at a time


def applies(x: Tensor) -> bool:
    """Whether these functions are to be used on `x`: a compiler would rather see plain ops."""
    seen_by_compiler = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    return x.device.type == "cpu" and x.dtype is not torch.float64 and not seen_by_compiler


def applies_to_kernel(x: Tensor) -> bool:
    """The same for `conv3x3`: small grids, in float32 (oneDNN's bf16 kernels are another matter)."""
    return applies(x) and x.dtype is torch.float32 and x.shape[-1] <= SMALL and not torch.is_autocast_enabled("cpu")


def applies_to_attention(q: Tensor) -> bool:
    """The same for `attend`, of q (N, heads, n, D): sequences so short that torch's blocks of them are mostly empty."""
    return applies(q) and q.shape[-2] <= SHORT


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention softmax(q k^T / sqrt(D)) v among sequences of q, k and v (N, heads, n, D)."""
    similarity = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return similarity.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.conv2d(x, weight, bias, padding=1) of x (N, C, H, W), channels_last."""
    made: Tensor = _Conv3x3.apply(x, weight, bias)
    return made


def scaled_rms_norm(x: Tensor, scale: Tensor, shift: Tensor | None = None, *, silu: bool = False) -> Tensor:
    """x / rms(x) * scale + shift, then SiLU if asked for, over the channels of x (N, C, H, W), channels_last.

    scale and shift (G, C), where G divides N: each row belongs to N / G neighbours.
    """
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(len(scale), -1, c)
    made: Tensor = _ScaledRmsNorm.apply(rows, scale, shift, silu)
    return made.view(n, h, w, c).permute(0, 3, 1, 2)


def frame_attention(q: Tensor, k: Tensor, v: Tensor, turn: Tensor, bias: Tensor) -> Tensor:
    """Attention along the frames F of q, k and v (B, F, cells, heads, D); returns the same shape.

    turn (F, D / 2) complex: the rotary rotation of each pair of channels; bias (B or 1, heads, F, F): added to the
    similarities.
    """
    made: Tensor = _FrameAttention.apply(q, k, v, turn, bias)
    return made


class _Conv3x3(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        n, dim, h, w = x.shape
        by_input = torch.ops.aten.convolution_backward(
            grad, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False]
        )[0]
        rows = grad.permute(0, 2, 3, 1).reshape(n * h * w, -1)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        by_weight = torch.empty(rows.shape[1], 3, 3, dim, dtype=x.dtype)
        for i in range(3):
            for j in range(3):
                by_weight[:, i, j] = rows.t() @ padded[:, i : i + h, j : j + w].reshape(len(rows), dim)
        return by_input, by_weight.permute(0, 3, 1, 2), rows.sum(dim=0)


class _ScaledRmsNorm(Function):
    """Root mean square norm (Zhang and Sennrich 2019, equation 4) and what follows it, of x (G, rows, C)."""

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor | None, silu: bool) -> Tensor:
        out, inverse = torch.empty_like(x), torch.empty(*x.shape[:2], 1)
        scale, shift = scale.float(), None if shift is None else shift.float()
        for block in _row_blocks(x):
            rows, group = x[block].float(), block[0]
            _inverse_rms(rows, inverse[block])
            y = _target(out[block])
            torch.mul(rows, inverse[block], out=y)
            _scale_and_shift(y, scale[group, None], None if shift is None else shift[group, None])
            if silu:
                F.silu(y, inplace=True)
            out[block].copy_(y)
        ctx.save_for_backward(x, scale, shift, inverse)
        ctx.silu = silu
        return out

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, scale, shift, inverse = ctx.saved_tensors
        grad, width = grad.contiguous(), x.shape[-1]
        grad_x, grad_scale = torch.empty_like(x), torch.zeros_like(scale)
        grad_shift = None if shift is None else torch.zeros_like(shift)
        for block in _row_blocks(x):
            group = block[0]
            part, g = scale[group, None], grad[block].float()
            normed = x[block].float() * inverse[block]
            if ctx.silu:
                y = normed.clone()
                _scale_and_shift(y, part, None if shift is None else shift[group, None])
                g = torch.ops.aten.silu_backward.grad_input(g, y, grad_input=y)
            if grad_shift is not None:
                grad_shift[group] += g.sum(dim=1)
            product = g * normed
            grad_scale[group] += product.sum(dim=1)
            mean = (product @ part.transpose(1, 2)).div_(width)
            g = torch.mul(g, part, out=product).addcmul_(normed, mean, value=-1)
            grad_x[block].copy_(torch.mul(g, inverse[block], out=_target(grad_x[block])))
        return grad_x, grad_scale, grad_shift, None


class _FrameAttention(Function):
    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, turn: Tensor, bias: Tensor) -> Tensor:
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        batch, frames, cells, heads, width = v.shape
        weights = torch.empty(batch, cells, heads, frames, frames)
        for video, some in _cell_blocks(v):
            block, attention = (video, slice(None), some), weights[video, some]
            turned_q, turned_k = _turned(q[block], turn * width**-0.5), _turned(k[block], turn)
            torch.bmm(turned_q, turned_k.transpose(1, 2), out=attention.flatten(0, 1))
            attention += bias[video if len(bias) > 1 else 0]
            torch.softmax(attention, dim=-1, out=attention)
            _put(torch.bmm(attention.flatten(0, 1), _by_cell(v[block])), out[block])
        ctx.save_for_backward(q, k, v, turn, weights)
        ctx.bias_batch = len(bias)
        return out

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, Tensor]:
        q, k, v, turn, weights = ctx.saved_tensors
        _, frames, _, heads, width = v.shape
        grad_q, grad_k, grad_v = (torch.empty_like(part) for part in (q, k, v))
        grad_bias = torch.zeros(ctx.bias_batch, heads, frames, frames)
        for video, some in _cell_blocks(v):
            block = (video, slice(None), some)
            attention, g = weights[video, some].flatten(0, 1), _by_cell(grad[block])
            _put(torch.bmm(attention.transpose(1, 2), g), grad_v[block])
            similarity = torch.bmm(g, _by_cell(v[block]).transpose(1, 2))
            similarity = torch._softmax_backward_data(similarity, attention, -1, torch.float32)
            grad_bias[video if ctx.bias_batch > 1 else 0] += similarity.unflatten(0, (-1, heads)).sum(dim=0)
            _put_turned(torch.bmm(similarity, _turned(k[block], turn)), turn.conj() * width**-0.5, grad_q[block])
            turned_q = _turned(q[block], turn * width**-0.5)
            _put_turned(torch.bmm(similarity.transpose(1, 2), turned_q), turn.conj(), grad_k[block])
        return grad_q, grad_k, grad_v, None, grad_bias


def _target(out: Tensor) -> Tensor:
    """Memory to compute `out` in: its own, or float32 beside it."""
    return out if out.dtype is torch.float32 else torch.empty_like(out, dtype=torch.float32)


def _inverse_rms(rows: Tensor, out: Tensor) -> None:
    torch.linalg.vector_norm(rows, dim=-1, keepdim=True, out=out)
    out.square_().div_(rows.shape[-1]).add_(torch.finfo(torch.float32).eps).rsqrt_()


def _scale_and_shift(y: Tensor, scale: Tensor, shift: Tensor | None) -> None:
    if shift is None:
        y.mul_(scale)
    else:
        torch.addcmul(shift, y, scale, out=y)


def _by_cell(x: Tensor) -> Tensor:
    """(F, cells, heads, D) to (cells heads, F, D), float and contiguous."""
    moved = x.permute(1, 2, 0, 3)
    return torch.empty(moved.shape).copy_(moved).flatten(0, 1)  # one pass, whatever the type


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """`_by_cell`, rotated on the way."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2))).permute(1, 2, 0, 3)
    made = torch.empty(pairs.shape, dtype=pairs.dtype)
    return torch.view_as_real(torch.mul(pairs, turn, out=made)).flatten(-2).flatten(0, 1)


def _put(x: Tensor, out: Tensor) -> None:
    """The way back from `_by_cell`."""
    out.copy_(x.unflatten(0, out.shape[1:3]).permute(2, 0, 1, 3))


def _put_turned(x: Tensor, turn: Tensor, out: Tensor) -> None:
    """`_put`, rotated on the way."""
    pairs = torch.view_as_complex(x.unflatten(0, out.shape[1:3]).unflatten(-1, (-1, 2))).permute(2, 0, 1, 3)
    turn = turn[:, None, None].resolve_conj()
    if out.dtype == torch.float32:
        torch.mul(pairs, turn, out=torch.view_as_complex(out.unflatten(-1, (-1, 2))))
    else:
        out.copy_(torch.view_as_real(pairs * turn).flatten(-2))


def _row_blocks(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Of x (G, rows, C): several groups at once where they are small, a part of one where they are large."""
    groups, rows, width = x.shape
    at_once = max(BLOCK // (rows * width), 1)
    step = rows if at_once > 1 else max(BLOCK // width, 1)
    for group in range(0, groups, at_once):
        for row in range(0, rows, step):
            yield slice(group, group + at_once), slice(row, row + step)


def _cell_blocks(x: Tensor) -> Iterator[tuple[int, slice]]:
    """Of x (B, F, cells, heads, D)."""
    batch, frames, cells, heads, width = x.shape
    step = max(BLOCK // (frames * heads * width), 1)
    for video in range(batch):
        for cell in range(0, cells, step):
            yield video, slice(cell, cell + step)
