"""The corruption ladder: real clips corrupted on purpose, in steps from a little to wholly, and read by the oracles.

Every corruption takes uint8 frames (F, H, W, 3) and a strength in (0, 1]; those that must know what is where read the
clip's true attributes. What each one breaks, and nothing else, should go down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from pipeline.judge.oracles.silhouettes import SHAPES, corner_reach, outline_at

STRENGTHS = (0.125, 0.25, 0.5, 1.0)
BLUR = 0.125  # standard deviation at strength 1, of the height
NOISE = 160.0  # standard deviation at strength 1, of 255


@dataclass(frozen=True)
class TrueClip:
    """A real clip with its true attributes and its number, from which its seed comes."""

    frames: np.ndarray  # uint8 (F, H, W, 3)
    attributes: Mapping[str, Any]
    number: int

    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.number, 7])


@dataclass(frozen=True)
class Corruption:
    """A named way to corrupt a clip, the attributes it breaks, and those it must spare at every strength."""

    name: str
    breaks: tuple[str, ...]
    spares: tuple[str, ...]
    corrupt: Callable[[TrueClip, TrueClip, float], np.ndarray]  # a clip, another one, strength


def blur(clip: TrueClip, _: TrueClip, strength: float) -> np.ndarray:
    """Gaussian blur within each frame."""
    sigma = strength * BLUR * clip.frames.shape[1]
    soft = ndimage.gaussian_filter(clip.frames.astype(np.float32), (0, sigma, sigma, 0), mode="nearest")
    return soft.round().astype(np.uint8)


def noise(clip: TrueClip, _: TrueClip, strength: float) -> np.ndarray:
    """Gaussian noise, new in each frame."""
    noisy = clip.frames + strength * NOISE * clip.rng().standard_normal(clip.frames.shape, np.float32)
    return noisy.round().clip(0, 255).astype(np.uint8)


def shuffle(clip: TrueClip, _: TrueClip, strength: float) -> np.ndarray:
    """A share of the frames, anywhere, in another order: each moves to the next one's place in a random round."""
    n = len(clip.frames)
    chosen = clip.rng().permutation(n)[: max(2, round(strength * n))]
    order = np.arange(n)
    order[chosen] = np.roll(chosen, 1)
    return clip.frames[order]


def freeze(clip: TrueClip, _: TrueClip, strength: float) -> np.ndarray:
    """The last share of the clip stands still."""
    n = len(clip.frames)
    return clip.frames[np.minimum(np.arange(n), n - max(1, round(strength * n)))]


def reverse(clip: TrueClip, _: TrueClip, strength: float) -> np.ndarray:
    """The last share of the clip runs backwards; all of it at strength 1."""
    n = len(clip.frames)
    first = n - max(2, round(strength * n))
    return np.concatenate([clip.frames[:first], clip.frames[first:][::-1]])


def swap_colour(clip: TrueClip, _: TrueClip, strength: float) -> np.ndarray:
    """Blend towards the same picture with its channels exchanged: white stays white, red becomes blue."""
    frames = clip.frames.astype(np.float32)
    return ((1.0 - strength) * frames + strength * frames[..., [1, 2, 0]]).round().astype(np.uint8)


def swap_shape(clip: TrueClip, _: TrueClip, strength: float) -> np.ndarray:
    """Warp each object's outline towards the next shape's, at the same place, angle and size."""
    frames = clip.frames
    for thing in clip.attributes["objects"]:
        other = SHAPES[(SHAPES.index(thing["shape"]) + 1) % len(SHAPES)]
        frames = _warp(frames, np.array(thing["trajectory"], np.float32), thing["shape"], other, strength)
    return frames


def swap_digit(clip: TrueClip, other: TrueClip, strength: float) -> np.ndarray:
    """In a share of the frames, another clip's digit in the place of each."""
    frames = clip.frames.copy()
    n, h, w, _ = frames.shape
    swapped = np.sort(clip.rng().permutation(n)[: max(1, round(strength * n))])
    theirs = other.attributes["objects"][0]
    for f in swapped.tolist():
        frames[f] = 0
        for thing in clip.attributes["objects"]:
            x, y = (round(float(v)) for v in thing["trajectory"][f][:2])
            from_x, from_y = (round(float(v)) for v in theirs["trajectory"][f][:2])
            half = max(int(theirs["height_px"]), int(theirs["width_px"])) // 2 + 1
            left, up = min(half, x, from_x), min(half, y, from_y)
            right, down = min(half, w - x, w - from_x), min(half, h - y, h - from_y)
            ink = other.frames[f, from_y - up : from_y + down, from_x - left : from_x + right]
            target = frames[f, y - up : y + down, x - left : x + right]
            np.maximum(target, ink, out=target)
    return frames


def swap_caption(clip: TrueClip, other: TrueClip, strength: float) -> np.ndarray:
    """Another clip in a share of the cases: the caption then speaks of what is not there."""
    return other.frames if clip.rng().random() < strength else clip.frames


TIMELESS = ("count", "shape", "size", "background", "digit")
COMMON = (
    Corruption("blur", ("shape", "digit", "joint"), (), blur),
    Corruption("noise", ("shape", "digit", "joint"), (), noise),
    Corruption("frame shuffle", ("motion", "joint"), TIMELESS, shuffle),
    Corruption("frozen frames", ("motion", "joint"), TIMELESS, freeze),
    Corruption("time reversal", ("motion", "joint"), TIMELESS, reverse),
)
CAPTION_SWAP = Corruption("caption swap", ("motion", "joint"), (), swap_caption)
COLOUR_SWAP = Corruption("colour swap", ("colour", "joint"), ("count", "shape", "size", "speed", "motion"), swap_colour)
SHAPE_SWAP = Corruption("shape swap", ("shape", "joint"), ("count", "colour"), swap_shape)
DIGIT_SWAP = Corruption("digit swap", ("digit", "joint"), (), swap_digit)
CORRUPTIONS = {
    "shapes": (*COMMON, COLOUR_SWAP, SHAPE_SWAP, CAPTION_SWAP),
    "moving_mnist": (*COMMON, DIGIT_SWAP, CAPTION_SWAP),
}


def run_ladder(
    clips: np.ndarray,  # uint8 (N, F, H, W, 3), real
    attributes: Sequence[Mapping[str, Any]],
    corruptions: Sequence[Corruption],
    score: Callable[[np.ndarray, Mapping[str, Any]], Mapping[str, bool | float]],
) -> dict[str, Any]:
    """The ladder as a table: shares right by attribute, of the real clips and at every step."""
    numbered = enumerate(zip(clips, attributes, strict=True))
    whole = [TrueClip(frames, truth, number) for number, (frames, truth) in numbered]
    real = shares_right([score(clip.frames, clip.attributes) for clip in whole])
    steps = []
    for corruption in corruptions:
        for strength in STRENGTHS:
            pairs = [(clip, other_clip(whole, clip)) for clip in whole]
            scores = [score(corruption.corrupt(clip, other, strength), clip.attributes) for clip, other in pairs]
            steps.append(
                {
                    "corruption": corruption.name,
                    "strength": strength,
                    "breaks": [name for name in corruption.breaks if name in real],
                    "spares": [name for name in corruption.spares if name in real],
                    "right": shares_right(scores),
                }
            )
    return {"clips": len(whole), "real": real, "rungs": steps}


def other_clip(clips: Sequence[TrueClip], clip: TrueClip) -> TrueClip:
    """Another clip, of as many things none of which is alike, or simply the next one where there is none."""
    candidates = [clips[(clip.number + ahead) % len(clips)] for ahead in range(1, len(clips))]
    mine = {_kind(thing) for thing in clip.attributes["objects"]}
    for other in candidates:
        if not mine & {_kind(thing) for thing in other.attributes["objects"]}:
            return other
    return candidates[0] if candidates else clip


def shares_right(scores: Sequence[Mapping[str, bool | float]]) -> dict[str, float]:
    """Mean of each right-or-wrong attribute over clips; of those that every clip has."""
    names = [name for name in scores[0] if all(isinstance(score.get(name), bool) for score in scores)]
    return {name: round(float(np.mean([score[name] for score in scores])), 4) for name in names}


def _kind(thing: Mapping[str, Any]) -> Any:
    return thing.get("shape", thing.get("digit"))


def _warp(frames: np.ndarray, trajectory: np.ndarray, old: str, new: str, strength: float) -> np.ndarray:
    """Frames in which the outline `old` of an object at trajectory (F, 4) of x, y, radius, degrees has become `new`."""
    _, h, w, _ = frames.shape
    x = np.arange(w, dtype=np.float32)[None, None] + 0.5 - trajectory[:, 0, None, None]
    y = np.arange(h, dtype=np.float32)[None, :, None] + 0.5 - trajectory[:, 1, None, None]
    theta, r = np.arctan2(y, x) - np.radians(trajectory[:, 3, None, None]), np.hypot(x, y)
    before, after = (outline_at(shape, theta) for shape in (old, new))
    ratio = (before / after) ** strength
    reach = max(corner_reach(old), corner_reach(new)) * trajectory[:, 2, None, None]
    fade = ((r - 1.1 * reach) / (0.4 * reach)).clip(0.0, 1.0)  # back to the untouched picture further out
    ratio = (1.0 - fade) * ratio + fade
    from_x, from_y = x * ratio + trajectory[:, 0, None, None], y * ratio + trajectory[:, 1, None, None]
    grid = torch.from_numpy(np.stack([2.0 * from_x / w - 1.0, 2.0 * from_y / h - 1.0], axis=-1).astype(np.float32))
    video = torch.from_numpy(frames.astype(np.float32)).permute(0, 3, 1, 2)
    moved = functional.grid_sample(video, grid, padding_mode="border", align_corners=False)
    return moved.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
