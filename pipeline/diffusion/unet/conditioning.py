"""Conditioning of the blocks: diffusion time, caption and frame index, as one vector per frame.

Caption vectors arrive as the encoder gave them and are standardised per dimension by the train captions' statistics
(buffers, so a saved model carries them): raw BERT vectors of "moving left" and "moving right" hardly differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from pipeline.config.models import UnetParams
from pipeline.text.captions import TextBatch

TIME_SCALE = 1000.0  # t in [0, 1] is embedded as the timestep index that the sinusoids were made for


def sinusoidal_embedding(x: Tensor, dim: int) -> Tensor:
    """(N,) to (N, dim): sines and cosines of geometrically spaced frequencies (Vaswani et al. 2017, section 3.5)."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, device=x.device) * (-math.log(10000) / (half - 1)))
    angles = x[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


@dataclass(frozen=True)
class Condition:
    """vector (B, F or 1, D) for the modulations; tokens (B, L, text_dim) and mask (B, L) for cross-attention."""

    vector: Tensor
    tokens: Tensor | None
    token_mask: Tensor | None


class TokenPooling(nn.Module):
    """Learned queries over the caption's tokens, side by side: (B, L, width) to (B, queries * width)."""

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.to_k = nn.Linear(width, width, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens (B, L, width), mask (B, L) bool."""
        similarity = torch.einsum("q d, b l d -> b q l", self.queries, self.to_k(tokens))
        weights = similarity.masked_fill(~mask[:, None], float("-inf")).softmax(dim=-1)
        return rearrange(weights @ tokens, "b q d -> b (q d)")


class Conditioning(nn.Module):
    """Time, caption and frame index to a `Condition`.

    `cond_dim` null keeps the parts side by side, as video-diffusion-pytorch does; a number sums projections of that
    width and mixes them in a small MLP, per frame where `positions` is on.
    """

    pooled_mean: Tensor
    pooled_std: Tensor
    token_mean: Tensor
    token_std: Tensor

    def __init__(self, p: UnetParams, *, frames: int, text_width: int) -> None:
        super().__init__()
        self.dim, time_dim = p.dim, 4 * p.dim
        self.time_mlp = nn.Sequential(nn.Linear(p.dim, time_dim), nn.GELU(), nn.Linear(time_dim, time_dim))
        self.frame_table = nn.Parameter(torch.randn(frames, time_dim) * 0.5) if p.positions else None
        self._build_text(p, text_width)
        widths = [time_dim, *([time_dim] if p.positions else []), text_width]
        widths += [p.text_queries * self.token_dim] if p.text_queries else []
        self.projections, self.mix = None, None
        self.out_dim = sum(widths)
        if p.cond_dim is not None:
            self.out_dim = p.cond_dim
            self.projections = nn.ModuleList([nn.Linear(width, p.cond_dim) for width in widths])
            self.mix = nn.Sequential(nn.SiLU(), nn.Linear(p.cond_dim, p.cond_dim))

    def _build_text(self, p: UnetParams, width: int) -> None:
        self.register_buffer("pooled_mean", torch.zeros(width))
        self.register_buffer("pooled_std", torch.ones(width))
        self.register_buffer("token_mean", torch.zeros(width))
        self.register_buffer("token_std", torch.ones(width))
        self.null_pooled = nn.Parameter(torch.randn(width))
        self.uses_tokens, self.token_dim = p.text_queries > 0 or any(p.cross_attention), 0
        if self.uses_tokens:
            self.token_dim = min(width, p.cond_dim or width)
            self.null_token = nn.Parameter(torch.randn(width))
            self.to_token = nn.Linear(width, self.token_dim)
            self.token_norm = nn.LayerNorm(self.token_dim)
        self.pooling = TokenPooling(self.token_dim, p.text_queries) if p.text_queries else None

    def forward(
        self,
        t: Tensor,  # (B,) in [0, 1]
        text: TextBatch | None,  # of B captions
        drop_text: Tensor | None,  # (B,) bool
        drop_pooled: Tensor | None,  # (B,) bool
    ) -> Condition:
        time = self.time_mlp(sinusoidal_embedding(t.float() * TIME_SCALE, self.dim))  # (B, 4 dim)
        parts = [time[:, None]]  # each (B or 1, F or 1, its width)
        if self.frame_table is not None:
            parts.append(self.frame_table[None])  # (1, F, 4 dim)
        drop = self._drop(t, text, drop_text)  # (B,)
        parts.append(self._pooled(text, drop, drop_pooled)[:, None])  # (B, 1, text_width)
        tokens, mask = self._tokens(text, drop) if self.uses_tokens else (None, None)  # (B, L, token_dim), (B, L)
        if self.pooling is not None:
            assert tokens is not None
            assert mask is not None
            parts.append(self.pooling(tokens, mask)[:, None])  # (B, 1, queries * token_dim)
        return Condition(self._join(parts), tokens, mask)

    def of_text(self, text: TextBatch) -> Tensor:
        """(B, D): what captions alone put into the condition, before time and frames are mixed in."""
        drop = torch.zeros(len(text), dtype=torch.bool, device=text.pooled.device)
        parts = [self._pooled(text, drop, None)]
        if self.pooling is not None:
            parts.append(self.pooling(*self._tokens(text, drop)))
        if self.projections is None:
            return torch.cat(parts, dim=-1)
        projections = self.projections[len(self.projections) - len(parts) :]
        return torch.stack([project(part) for project, part in zip(projections, parts, strict=True)]).sum(0)

    def _drop(self, t: Tensor, text: TextBatch | None, drop_text: Tensor | None) -> Tensor:
        if text is None:
            return torch.ones_like(t, dtype=torch.bool)
        return torch.zeros_like(t, dtype=torch.bool) if drop_text is None else drop_text

    def _pooled(self, text: TextBatch | None, drop: Tensor, drop_pooled: Tensor | None) -> Tensor:
        """(B, text_width)."""
        if text is None:
            return repeat(self.null_pooled, "d -> b d", b=len(drop))
        pooled = (text.pooled - self.pooled_mean) / self.pooled_std
        if drop_pooled is not None:  # the mean vector is hidden, the tokens stay: they have to be read too
            pooled = torch.where(drop_pooled[:, None], torch.zeros_like(pooled), pooled)
        return torch.where(drop[:, None], self.null_pooled, pooled)

    def _tokens(self, text: TextBatch | None, drop: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, L, token_dim) and mask (B, L) bool; of a dropped caption, the null token alone."""
        if text is None:
            raw: Tensor = repeat(self.null_token, "d -> b 1 d", b=len(drop))
            mask = torch.ones_like(drop)[:, None]
        else:
            raw = (text.tokens - self.token_mean) / self.token_std
            raw = torch.where(drop[:, None, None], self.null_token, raw)
            first = torch.arange(raw.shape[1], device=raw.device) == 0
            mask = (drop[:, None] & first) | (~drop[:, None] & text.mask)
        return self.token_norm(self.to_token(raw)), mask

    def _join(self, parts: list[Tensor]) -> Tensor:
        """(B, F or 1, out_dim)."""
        batch, frames = max(part.shape[0] for part in parts), max(part.shape[1] for part in parts)
        if self.projections is None or self.mix is None:
            return torch.cat([part.expand(batch, frames, -1) for part in parts], dim=-1)
        total = self.projections[0](parts[0])
        for projection, part in zip(self.projections[1:], parts[1:], strict=True):
            total = total + projection(part)
        return total + self.mix(total)
