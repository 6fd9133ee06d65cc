"""The GAN's generator: one content code and one motion path give a whole video.

The content code (noise and text) grows from an 8x8 stem, DCGAN-wise, into a few sprites with opacity. The background
grows beside them from the noise alone, unless params say otherwise: conditioned on the caption it drew the object,
which then stood still.
The motion path (its own noise, text, frame index) is a temporal convolution that gives each sprite a pose and a tint in
each frame. A frame is its posed sprites laid over the background (two streams and a mask as in VGAN, arXiv:1609.02612;
the warp of spatial transformers, arXiv:1506.02025). Codes are drawn once per clip: frames can differ by the path alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from pipeline.config.models import check_doubled
from pipeline.config.training import TrainGanParams
from pipeline.gan.text_encoder import TEXT_DIM, TextEncoder, Vocabulary
from pipeline.model_io.model_card import ModelCard, read_section

STEM = 8  # px, height and width of the first grid
NARROWEST = 16  # channels
POSE = 4  # x, y, log zoom, angle
POSE_GAINS = (1.0, 1.0, 0.3, 0.3)  # of these: places come first, turning and growing are learnt where clips show it
TINT_GAIN = 0.3
SPRITE_SHARE = 0.6  # of the frame's side that a sprite covers before training
BEND = 0.03  # gain of the path's curved part: it starts straight, and learns slowly to tremble
HARMONICS = 3  # of the frame index, beside the index itself


@dataclass(frozen=True)
class Layers:
    """A clip before it is rendered: its pictures, and their places in each frame."""

    background: Tensor  # (B, C, H, W) in [-1, 1]
    sprites: Tensor  # (B, K, C + 1, H, W): colour times opacity, and opacity in [0, 1]
    poses: Tensor  # (B, F, K, 4)
    tints: Tensor  # (B, F, K, C), added to a sprite's colour

    def at(self, frames: Tensor) -> Layers:
        """The same clip with only the frames (B, k)."""
        rows = torch.arange(len(frames), device=frames.device)[:, None]
        return Layers(self.background, self.sprites, self.poses[rows, frames], self.tints[rows, frames])


def doublings(resolution: int) -> int:
    """The number of times the stem doubles to reach `resolution`. Raises ValueError where it never does."""
    check_doubled(resolution)
    return round(math.log2(resolution / STEM))


class GrowBlock(nn.Module):
    """(B, C, H, W) to (B, C', 2H, 2W): a transposed convolution, scaled and shifted by the code."""

    def __init__(self, dim: int, dim_out: int, code_dim: int) -> None:
        super().__init__()
        self.grow = nn.ConvTranspose2d(dim, dim_out, 4, stride=2, padding=1)
        self.norm = nn.GroupNorm(math.gcd(8, dim_out), dim_out)
        self.film = nn.Linear(code_dim, 2 * dim_out)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.film(code)[:, :, None, None].chunk(2, dim=1)  # (B, C', 1, 1) each
        return F.leaky_relu(self.norm(self.grow(x)) * (1 + scale) + shift, 0.2)


class Canvas(nn.Module):
    """code (B, code_dim) to images (B, dim_out, resolution, resolution), by doublings of an 8x8 stem."""

    def __init__(self, code_dim: int, dim: int, dim_out: int, resolution: int) -> None:
        super().__init__()
        times = doublings(resolution)
        dims = [max(dim >> level, NARROWEST) for level in range(times)]
        self.stem = nn.Linear(code_dim, dims[0] * STEM * STEM)
        self.blocks = nn.ModuleList(GrowBlock(wide, narrow, code_dim) for wide, narrow in pairwise(dims))
        self.last = nn.Conv2d(dims[-1], dim_out, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        x = rearrange(self.stem(code), "b (c h w) -> b c h w", h=STEM, w=STEM)  # (B, dim, 8, 8)
        x = F.leaky_relu(x, 0.2)
        for block in self.blocks:
            x = block(x, code)  # half the channels, twice the sides
        x = F.interpolate(x, scale_factor=2, mode="bilinear")  # bilinear: no checkerboard in the picture
        return self.last(x)  # (B, dim_out, resolution, resolution)


class MotionPath(nn.Module):
    """code (B, D) to one vector per frame (B, F, dim_out): a smooth function of the frame index."""

    basis: Tensor

    def __init__(self, code_dim: int, frames: int, dim: int, dim_out: int) -> None:
        super().__init__()
        self.rise = nn.Linear(code_dim, dim_out)
        self.start = nn.Linear(code_dim, dim_out)
        self.bend_in = nn.Linear(code_dim, dim)
        self.bend_mid = nn.Conv1d(dim, dim, 5, padding=2, padding_mode="replicate")
        self.bend_out = nn.Conv1d(dim, dim_out, 5, padding=2, padding_mode="replicate")
        tau = torch.linspace(-1.0, 1.0, frames) if frames > 1 else torch.zeros(1)
        waves = [wave(math.pi * k * tau) for k in range(1, HARMONICS + 1) for wave in (torch.sin, torch.cos)]
        self.register_buffer("basis", torch.stack([tau, *waves]), persistent=False)  # (1 + 2 HARMONICS, F)
        self.phase = nn.Linear(len(self.basis), dim, bias=False)

    def forward(self, code: Tensor) -> Tensor:
        tau = self.basis[0]  # (F,)
        line = self.start(code)[:, :, None] + self.rise(code)[:, :, None] * tau  # (B, dim_out, F)
        bend = F.silu(self.bend_in(code)[:, :, None] + self.phase(self.basis.T).T)  # (B, dim, F)
        bend = self.bend_out(F.silu(self.bend_mid(bend)))  # (B, dim_out, F)
        return rearrange(line + BEND * bend, "b d f -> b f d")


class VideoGenerator(nn.Module):
    """Noise and caption to a video (B, C, F, H, W) in [-1, 1]."""

    def __init__(self, params: TrainGanParams, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.params = params
        self.vocabulary = Vocabulary(vocabulary)
        self.reader = TextEncoder(params, len(self.vocabulary))  # so called in saved weights
        code_dim, k, c = params.code_dim, params.sprites, params.channels
        self.content = nn.Sequential(nn.Linear(TEXT_DIM + params.noise_dim, code_dim), nn.SiLU())
        self.motion = nn.Sequential(nn.Linear(TEXT_DIM + params.motion_dim, code_dim), nn.SiLU())
        scene_dim = code_dim if params.background_sees_text else params.noise_dim
        self.background = Canvas(scene_dim, max(params.base_dim // 2, 1), c, params.resolution)
        self.canvas = Canvas(code_dim, params.base_dim, k * (c + 1), params.resolution)
        self.path = MotionPath(code_dim, params.frames, code_dim // 2, k * (POSE + c))

    def own_parameters(self) -> list[nn.Parameter]:
        """All but the text encoder's, which are trained with the discriminators."""
        return [weight for name, weight in self.named_parameters() if not name.startswith("reader.")]

    def noise(self, generators: Sequence[torch.Generator]) -> Tensor:
        """(B, noise_dim + motion_dim), one row per generator."""
        width = self.params.noise_dim + self.params.motion_dim
        return torch.stack([torch.randn(width, generator=generator) for generator in generators])

    def layers(self, noise: Tensor, text: Tensor) -> Layers:
        """The clip's layers. noise (B, noise_dim + motion_dim); text: word indices (B, L)."""
        k = self.params.sprites
        text_features = F.layer_norm(self.reader(text).detach(), (TEXT_DIM,))  # (B, TEXT_DIM)
        content_noise, motion_noise = noise.split([self.params.noise_dim, self.params.motion_dim], dim=1)
        content = self.content(torch.cat([text_features, content_noise], 1))  # (B, code_dim)
        path = self.path(self.motion(torch.cat([text_features, motion_noise], 1)))  # (B, F, K (4 + C))
        path = rearrange(path, "b f (k d) -> b f k d", k=k)
        sprites = rearrange(self.canvas(content), "b (k c) h w -> b k c h w", k=k)  # (B, K, C + 1, H, W)
        opacity = torch.sigmoid(sprites[:, :, -1:])  # (B, K, 1, H, W)
        return Layers(
            background=torch.tanh(self.background(content if self.params.background_sees_text else content_noise)),
            sprites=torch.cat([torch.tanh(sprites[:, :, :-1]) * opacity, opacity], dim=2),
            poses=path[..., :POSE] * path.new_tensor(POSE_GAINS),
            tints=path[..., POSE:] * TINT_GAIN,
        )

    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        return render(self.layers(noise, text))

    def sample(self, captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """(B, C, F, H, W). One clip at a time: a sample depends on its seed and caption, never on its neighbours."""
        device = next(self.parameters()).device
        inputs = [self.vocabulary.indices([caption]) for caption in captions]
        noises = [self.noise([torch.Generator().manual_seed(seed)]) for seed in seeds]
        clips = [self(z.to(device), one.to(device)) for z, one in zip(noises, inputs, strict=True)]
        return torch.cat(clips)


def render(layers: Layers, resolution: int | None = None) -> Tensor:
    """Layers to video (B, C, F, R, R); a lower `resolution` draws from layers that were averaged down to it."""
    background, sprites = layers.background, layers.sprites
    b, f, k = layers.poses.shape[:3]
    if resolution is not None and resolution < background.shape[-1]:
        factor = background.shape[-1] // resolution
        background = F.avg_pool2d(background, factor)
        sprites = F.avg_pool2d(sprites.flatten(0, 1), factor).unflatten(0, (b, k))
    video = repeat(background, "b c h w -> b c f h w", f=f)  # (B, C, F, R, R)
    for index in range(k):
        drawn = _posed(sprites[:, index], layers.poses[:, :, index])  # (B, C + 1, F, R, R)
        tint = rearrange(layers.tints[:, :, index], "b f c -> b c f 1 1")
        opacity = drawn[:, -1:]
        video = video * (1 - opacity) + (drawn[:, :-1] + opacity * tint)
    return video


def _posed(sprite: Tensor, poses: Tensor) -> Tensor:
    """sprite (B, C + 1, H, W), colour times opacity, at poses (B, F, 4) to (B, C + 1, F, H, W); nothing outside it."""
    b, c, h, w = sprite.shape
    f = poses.shape[1]
    x, y, zoom, angle = poses.unbind(-1)
    scale = torch.exp(-zoom) / SPRITE_SHARE
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([cos, sin, -(cos * x + sin * y), -sin, cos, sin * x - cos * y], dim=-1)  # (B, F, 6)
    matrix = rearrange(matrix, "b f (i j) -> (b f) i j", i=2)
    grid = F.affine_grid(matrix, [b * f, c, h, w], align_corners=False)  # (B F, h, w, 2)
    grid = rearrange(grid, "(b f) h w i -> b (f h) w i", b=b)
    drawn = F.grid_sample(sprite, grid, padding_mode="zeros", align_corners=False)
    return rearrange(drawn, "b c (f h) w -> b c f h w", f=f)


def build_gan(card: ModelCard) -> VideoGenerator:
    """The untrained generator that a model card describes."""
    return VideoGenerator(read_section(TrainGanParams, card, "train_gan"), card.vocabulary)
