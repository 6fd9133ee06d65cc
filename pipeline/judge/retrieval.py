"""A small dual encoder for sets of real video: does a clip lie nearer to its own caption than to the others?

The video half is the feature network, the text half the mean of trained word vectors; both are trained by a contrastive
loss (CLIP, Radford et al. 2021) on the set's train clips. It reads words and not the embeddings table, so that a
measurement never changes with the encoder that a model is given. Read every recall beside its shuffled control.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.evaluation import JudgeParams
from pipeline.judge.features import FeatureNet, embed, fit
from pipeline.model_io.tensors import to_model
from pipeline.runtime.row_file import RowFile
from pipeline.text.vocabulary import vocabulary_of, words_of

MAX_LOGIT_SCALE = 100.0
RANKS = (1, 10)  # of recall
WORD_DIM = 128


class TextHalf(nn.Module):
    """Captions and video features (B, D) into one space, both of length 1."""

    def __init__(self, vocabulary: Sequence[str], feature_dim: int) -> None:
        super().__init__()
        self.vocabulary = tuple(vocabulary)
        self._index = {word: row for row, word in enumerate(self.vocabulary)}
        self.words = nn.EmbeddingBag(len(self.vocabulary), WORD_DIM, mode="mean")
        nn.init.zeros_(self.words.weight)  # a word counts for as much as training has seen of it
        self.text = nn.Linear(WORD_DIM, feature_dim)
        self.video = nn.Linear(feature_dim, feature_dim)
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(1 / 0.07))))

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """(B, D). Words outside the vocabulary are passed over; a caption of no others is all zeros to the words."""
        rows = [[self._index[word] for word in words_of(caption) if word in self._index] for caption in captions]
        flat = torch.tensor([index for row in rows for index in row], dtype=torch.long)
        offsets = torch.tensor([0, *np.cumsum([len(row) for row in rows])[:-1]], dtype=torch.long)
        device = self.words.weight.device
        return functional.normalize(self.text(self.words(flat.to(device), offsets.to(device))), dim=-1)

    def embed_video(self, features: Tensor) -> Tensor:
        return functional.normalize(self.video(functional.silu(features)), dim=-1)

    def logits(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """Scaled cosines (B, B): rows are videos, columns captions."""
        scale = self.log_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        return scale * self.embed_video(features) @ self.embed_text(captions).T


class Retrieval:
    """The trained dual encoder."""

    def __init__(self, features: FeatureNet, half: TextHalf, device: torch.device) -> None:
        self.features, self.half, self.device = features, half, device

    @torch.no_grad()
    def similarity(self, frames: np.ndarray | RowFile, captions: Sequence[str]) -> np.ndarray:
        """Cosines (M, N) of M captions with N clips, uint8 (N, F, H, W, 3)."""
        videos = torch.from_numpy(embed(self.features, frames, self.device)).to(self.device)
        return (self.half.embed_text(captions) @ self.half.embed_video(videos).T).cpu().numpy()


def train_retrieval(
    frames: np.ndarray | RowFile,  # uint8 (N, F, H, W, 3)
    captions: Sequence[Sequence[str]],  # of each clip, at least one
    params: JudgeParams,
    device: torch.device,
) -> Retrieval:
    """Train both halves; each visit of a clip takes one of its captions, by the seed."""
    vocabulary = vocabulary_of([caption for offered in captions for caption in offered])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        net = FeatureNet(params.width, params.feature_dim).to(device)
        half = TextHalf(vocabulary, params.feature_dim).to(device)
    rng = np.random.default_rng(params.seed)

    def loss(index: Tensor) -> Tensor:
        chosen = [captions[i][int(rng.integers(len(captions[i])))] for i in index.tolist()]
        logits = half.logits(net(to_model(frames[index.numpy()]).to(device)), chosen)
        own = torch.arange(len(index), device=device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2.0

    fit([net, half], loss, len(frames), params, desc="dual encoder")
    return Retrieval(net, half, device)


def recall(similarity: np.ndarray, k: int) -> float:
    """Text to video: the share of captions (rows) whose own clip (same column) is among the k nearest.

    Ties count as misses, so a model whose clips are all alike scores nothing.
    """
    assert similarity.shape == (len(similarity), len(similarity)), similarity.shape
    own = np.diag(similarity)[:, None]
    return float(((similarity >= own).sum(axis=1) <= k).mean())


def recall_metrics(similarity: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """R@1 and R@10 of (N, N) similarities, with the same clips under shuffled captions as the control.

    None, with a note, where every clip is among the k nearest of k clips or fewer.
    """
    n = len(similarity)
    order = np.random.default_rng(seed).permutation(n)
    metrics: dict[str, Any] = {}
    for k in RANKS:
        metrics[f"retrieval.r{k}"] = recall(similarity, k) if n > k else None
        metrics[f"retrieval.r{k}_shuffled"] = recall(similarity[order], k) if n > k else None
    if n <= max(RANKS):
        idle = " and ".join(str(k) for k in RANKS if n <= k)
        metrics["retrieval.note"] = f"no recall at {idle}: there are {n} clips to find the right one among"
    return metrics
