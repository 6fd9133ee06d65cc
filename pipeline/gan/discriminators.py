"""The GAN's two discriminators, of single frames and of whole clips, both conditioned on the caption.

The frame discriminator sees a few frames of each clip at full resolution. It stops at a fine grid and pools it, so that
it learns an outline once and not anew at each place. The clip discriminator sees every frame, small and stacked as
channels, so that a displacement is one convolution away, and keeps places apart. Each adds a projection of the caption
to its logit (arXiv:1802.05637); together they also embed the clip beside its caption, for the contrastive loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pipeline.config.training import TrainGanParams
from pipeline.gan.text_encoder import TEXT_DIM

LAST_GRID = 4  # px, where the clip discriminator flattens
FRAME_HALVINGS = 3  # of the frame discriminator, before it pools
VIDEO_DIM = 128


@dataclass(frozen=True)
class Views:
    """Inputs of the discriminators: k frames in full (B, C, k, H, W), and all frames small (B, C, F, h, w)."""

    frames: Tensor
    clip: Tensor

    def detach(self) -> Views:
        return Views(self.frames.detach(), self.clip.detach())

    def requires_grad_(self) -> Views:
        return Views(self.frames.requires_grad_(), self.clip.clone().requires_grad_())


@dataclass(frozen=True)
class VideoFeatures:
    """Features of B clips: (B, k, VIDEO_DIM) of k frames each, (B, VIDEO_DIM) of the whole clips."""

    frames: Tensor
    clip: Tensor

    def select(self, index: Tensor) -> VideoFeatures:
        """The clips at `index`, int64 (N,)."""
        return VideoFeatures(self.frames[index], self.clip[index])


class Pool(nn.Module):
    """(B, C, h, w) to (B, 2 C): each channel's maximum, and its mean."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], dim=1)


def halvings(dims: list[int]) -> list[nn.Module]:
    """Strided convolutions from one width to the next."""
    layers: list[nn.Module] = []
    for dim, dim_out in pairwise(dims):
        layers += [nn.Conv2d(dim, dim_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return layers


def frame_backbone(channels: int, dim: int) -> nn.Sequential:
    """(B, channels, R, R) to (B, VIDEO_DIM): pooled over places."""
    dims = [channels, *(dim << level for level in range(FRAME_HALVINGS))]
    return nn.Sequential(*halvings(dims), Pool(), nn.Linear(2 * dims[-1], VIDEO_DIM), nn.LeakyReLU(0.2))


def clip_backbone(channels: int, dim: int, resolution: int) -> nn.Sequential:
    """(B, channels, R, R) to (B, VIDEO_DIM): down to a grid of 4x4, then flat, so that places stay apart."""
    times = max(1, round(math.log2(resolution / LAST_GRID)))
    dims = [channels, *(dim * min(2**level, 4) for level in range(times))]
    grid = resolution >> times
    head = nn.Linear(dims[-1] * grid * grid, VIDEO_DIM)
    return nn.Sequential(*halvings(dims), nn.Flatten(), head, nn.LeakyReLU(0.2))


class Discriminator(nn.Module):
    """Both discriminators. Captions come as features (…, TEXT_DIM) of the text encoder that the generator keeps."""

    def __init__(self, params: TrainGanParams) -> None:
        super().__init__()
        self.clip_resolution = min(params.clip_resolution, params.resolution)
        self.frame_backbone = frame_backbone(params.channels, params.discriminator_dim)
        clip_dim = params.discriminator_dim * 2
        self.clip_backbone = clip_backbone(params.channels * params.frames, clip_dim, self.clip_resolution)
        self.frame_logit = nn.Linear(VIDEO_DIM, 1)
        self.clip_logit = nn.Linear(VIDEO_DIM, 1)
        self.embed = nn.Linear(2 * VIDEO_DIM, VIDEO_DIM)
        self.frame_projection = nn.Linear(TEXT_DIM, VIDEO_DIM, bias=False)
        self.clip_projection = nn.Linear(TEXT_DIM, VIDEO_DIM, bias=False)
        self.text_embed = nn.Linear(TEXT_DIM, VIDEO_DIM)

    def shrink(self, video: Tensor) -> Tensor:
        """(B, C, F, H, W) to the clip discriminator's input (B, C, F, h, w)."""
        factor = video.shape[-1] // self.clip_resolution
        return F.avg_pool2d(video.flatten(1, 2), factor).unflatten(1, video.shape[1:3])

    def features(self, views: Views) -> VideoFeatures:
        frames = self.frame_backbone(rearrange(views.frames, "b c k h w -> (b k) c h w"))  # (B k, VIDEO_DIM)
        clip = self.clip_backbone(rearrange(views.clip, "b c f h w -> b (c f) h w"))  # (B, VIDEO_DIM)
        return VideoFeatures(rearrange(frames, "(b k) d -> b k d", b=len(clip)), clip)

    def logits(self, video: VideoFeatures, text: Tensor) -> tuple[Tensor, Tensor]:
        """Of the frames (B, k) and of the clips (B,): high where they look real and fit the text (B, TEXT_DIM)."""
        frames = self.frame_logit(video.frames).squeeze(-1)  # (B, k)
        frames = frames + (video.frames * self.frame_projection(text)[:, None]).sum(-1)  # (B, k, D) x (B, 1, D)
        clip = self.clip_logit(video.clip).squeeze(-1)  # (B,)
        return frames, clip + (video.clip * self.clip_projection(text)).sum(-1)

    def embeddings(self, video: VideoFeatures, text: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of the clips (B, VIDEO_DIM) and of captions (…, VIDEO_DIM), of text (…, TEXT_DIM)."""
        both = torch.cat([video.frames.mean(1), video.clip], dim=-1)  # (B, 2 VIDEO_DIM)
        return F.normalize(self.embed(both), dim=-1), F.normalize(self.text_embed(text), dim=-1)
