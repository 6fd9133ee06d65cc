"""The GAN's judges: one of single frames, one of whole clips, both told the caption.

The frame judge sees a few frames of each clip at full resolution, and asks what is there and not where: it stops at a
fine grid and pools it, so that an outline is learnt once and not anew at each place. The clip judge sees every frame,
small and stacked as channels, so that a displacement is one convolution away, and keeps what is where. Each adds a
projection of the caption to its logit (arXiv:1802.05637); together they also embed the clip beside its caption, for the
contrastive loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pipeline.config.params import TrainGanParams
from pipeline.gan.text_encoder import SAID

LAST_GRID = 4  # px, where the clip judge flattens
FRAME_HALVINGS = 3  # of the frame judge, before it pools
FEATURES = 128


@dataclass(frozen=True)
class Seen:
    """What the judges made of clips: (B, k, D) of k frames, (B, D) of the clip."""

    frames: Tensor
    clip: Tensor

    def take(self, clips: Tensor) -> Seen:
        """Of the clips with these numbers, (N,)."""
        return Seen(self.frames[clips], self.clip[clips])


class Pool(nn.Module):
    """(B, C, h, w) to (B, 2 C): each channel's strongest answer, and its mean."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], dim=1)


def halvings(dims: list[int]) -> list[nn.Module]:
    """Strided convolutions from one width to the next."""
    layers: list[nn.Module] = []
    for dim, dim_out in pairwise(dims):
        layers += [nn.Conv2d(dim, dim_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return layers


def what(channels: int, dim: int) -> nn.Sequential:
    """(B, channels, R, R) to (B, FEATURES), wherever in the picture it is."""
    dims = [channels, *(dim << level for level in range(FRAME_HALVINGS))]
    return nn.Sequential(*halvings(dims), Pool(), nn.Linear(2 * dims[-1], FEATURES), nn.LeakyReLU(0.2))


def what_and_where(channels: int, dim: int, resolution: int) -> nn.Sequential:
    """(B, channels, R, R) to (B, FEATURES): down to 4x4, then flat."""
    times = max(1, round(math.log2(resolution / LAST_GRID)))
    dims = [channels, *(dim * min(2**level, 4) for level in range(times))]
    grid = resolution >> times
    head = nn.Linear(dims[-1] * grid * grid, FEATURES)
    return nn.Sequential(*halvings(dims), nn.Flatten(), head, nn.LeakyReLU(0.2))


class Discriminator(nn.Module):
    """Both judges. What a caption says, (B, SAID), comes from the reader that the generator keeps."""

    def __init__(self, params: TrainGanParams) -> None:
        super().__init__()
        self.clip_resolution = min(params.clip_resolution, params.resolution)
        self.frame_judge = what(params.channels, params.discriminator_dim)
        clip_dim = params.discriminator_dim * 2
        self.clip_judge = what_and_where(params.channels * params.frames, clip_dim, self.clip_resolution)
        self.frame_logit = nn.Linear(FEATURES, 1)
        self.clip_logit = nn.Linear(FEATURES, 1)
        self.embed = nn.Linear(2 * FEATURES, FEATURES)
        self.frame_projection = nn.Linear(SAID, FEATURES, bias=False)
        self.clip_projection = nn.Linear(SAID, FEATURES, bias=False)
        self.text_embed = nn.Linear(SAID, FEATURES)

    def shrink(self, video: Tensor) -> Tensor:
        """(B, C, F, H, W) to what the clip judge sees, (B, C, F, h, w)."""
        factor = video.shape[-1] // self.clip_resolution
        return F.avg_pool2d(video.flatten(1, 2), factor).unflatten(1, video.shape[1:3])

    def look(self, frames: Tensor, clip: Tensor) -> Seen:
        """frames (B, C, k, H, W), clip (B, C, F, h, w) as made by `shrink`."""
        one_by_one = self.frame_judge(rearrange(frames, "b c k h w -> (b k) c h w"))
        return Seen(
            rearrange(one_by_one, "(b k) d -> b k d", b=len(frames)),
            self.clip_judge(rearrange(clip, "b c f h w -> b (c f) h w")),
        )

    def logits(self, seen: Seen, said: Tensor) -> tuple[Tensor, Tensor]:
        """Of the frames (B, k) and of the clip (B,): high where they look real and fit the caption."""
        frames = self.frame_logit(seen.frames).squeeze(-1)
        frames = frames + (seen.frames * self.frame_projection(said)[:, None]).sum(-1)
        clip = self.clip_logit(seen.clip).squeeze(-1)
        return frames, clip + (seen.clip * self.clip_projection(said)).sum(-1)

    def embeddings(self, seen: Seen, said: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (…, FEATURES) of the clips and of captions (…, SAID)."""
        both = torch.cat([seen.frames.mean(1), seen.clip], dim=-1)
        return F.normalize(self.embed(both), dim=-1), F.normalize(self.text_embed(said), dim=-1)
