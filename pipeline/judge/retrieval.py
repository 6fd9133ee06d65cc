"""A small dual encoder for sets of real video: does a clip lie nearer to its own caption than to the others?

The video half is the feature network, the text half one linear layer on the pooled caption vectors of the embeddings
table, both trained by a contrastive loss (CLIP, Radford et al. 2021). Read every recall beside its shuffled control.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.params import JudgeParams
from pipeline.judge.features import FeatureNet, embed, fit
from pipeline.model_io.tensors import to_model

MAX_LOGIT_SCALE = 100.0


class TextHalf(nn.Module):
    """Pooled caption vectors (B, W) and video features (B, D) into one space, both of length 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, text_width: int, feature_dim: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_width, feature_dim)
        self.video = nn.Linear(feature_dim, feature_dim)
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(1 / 0.07))))
        self.register_buffer("mean", torch.zeros(text_width))
        self.register_buffer("std", torch.ones(text_width))

    def embed_text(self, pooled: Tensor) -> Tensor:
        return functional.normalize(self.text((pooled - self.mean) / self.std), dim=-1)

    def embed_video(self, features: Tensor) -> Tensor:
        return functional.normalize(self.video(functional.silu(features)), dim=-1)

    def logits(self, features: Tensor, pooled: Tensor) -> Tensor:
        """Scaled cosines (B, B): rows are videos, columns captions."""
        scale = self.log_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        return scale * self.embed_video(features) @ self.embed_text(pooled).T


class Retrieval:
    """The trained dual encoder."""

    def __init__(self, features: FeatureNet, half: TextHalf, device: torch.device) -> None:
        self.features, self.half, self.device = features, half, device

    @torch.no_grad()
    def similarity(self, frames: np.ndarray, pooled: np.ndarray) -> np.ndarray:
        """Cosines (M, N) of M captions (M, W) with N clips, uint8 (N, F, H, W, 3)."""
        videos = torch.from_numpy(embed(self.features, frames, self.device)).to(self.device)
        texts = torch.as_tensor(np.asarray(pooled, np.float32)).to(self.device)
        return (self.half.embed_text(texts) @ self.half.embed_video(videos).T).cpu().numpy()


def train_retrieval(
    frames: np.ndarray,  # uint8 (N, F, H, W, 3)
    caption_rows: Sequence[Sequence[int]],  # of each clip, rows of `pooled`
    pooled: np.ndarray,  # (captions, W)
    judge: JudgeParams,
    device: torch.device,
) -> Retrieval:
    """Train both halves; each visit of a clip takes one of its captions, by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(judge.seed)
        net = FeatureNet(judge.width, judge.feature_dim).to(device)
        half = TextHalf(pooled.shape[1], judge.feature_dim).to(device)
    used = np.unique(np.concatenate([np.asarray(rows, int) for rows in caption_rows]))
    half.mean.copy_(torch.from_numpy(pooled[used].astype(np.float32).mean(axis=0)))
    half.std.copy_(torch.from_numpy(pooled[used].astype(np.float32).std(axis=0).clip(min=1e-4)))
    rng = np.random.default_rng(judge.seed)

    def loss(index: Tensor) -> Tensor:
        chosen = [caption_rows[i][int(rng.integers(len(caption_rows[i])))] for i in index.tolist()]
        texts = torch.from_numpy(pooled[chosen].astype(np.float32)).to(device)
        logits = half.logits(net(to_model(frames[index.numpy()]).to(device)), texts)
        own = torch.arange(len(index), device=device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2.0

    fit([net, half], loss, len(frames), judge, desc="dual encoder")
    return Retrieval(net, half, device)


def recall(similarity: np.ndarray, k: int) -> float:
    """Text to video: the share of captions (rows) whose own clip (same column) is among the k nearest.

    Ties count as misses, so a model whose clips are all alike scores nothing.
    """
    assert similarity.shape == (len(similarity), len(similarity)), similarity.shape
    own = np.diag(similarity)[:, None]
    return float(((similarity >= own).sum(axis=1) <= k).mean())


def recall_metrics(similarity: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """R@1 and R@10 of (N, N) similarities, with the same clips under shuffled captions as the control."""
    order = np.random.default_rng(seed).permutation(len(similarity))
    return {
        "retrieval.r1": recall(similarity, 1),
        "retrieval.r10": recall(similarity, 10),
        "retrieval.r1_shuffled": recall(similarity[order], 1),
        "retrieval.r10_shuffled": recall(similarity[order], 10),
    }
