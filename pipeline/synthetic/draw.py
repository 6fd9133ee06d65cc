"""Anti-aliased objects on a still background, drawn straight as palette indices.

A picture is a map of background tones; each paint (a colour that an object has in some frame) owns one ramp of blends
with each tone. So a clip needs one palette, and its GIF returns exactly what was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RGB: dict[str, tuple[int, int, int]] = {
    "red": (222, 38, 38),
    "green": (36, 158, 64),
    "blue": (38, 78, 222),
    "yellow": (246, 208, 24),
    "orange": (247, 130, 16),
    "purple": (152, 44, 164),
    "cyan": (20, 196, 214),
    "pink": (250, 128, 190),
    "brown": (130, 70, 20),
    "black": (18, 18, 18),
    "gray": (108, 108, 108),
}
CORNERS = {"square": 4, "triangle": 3, "star": 5}
CORNER_RADIUS = {"circle": 1.0, "square": 1.24, "triangle": 1.2, "star": 1.1}  # over the object's radius
STAR_NOTCH = 0.5  # radius of its inner corners over that of its outer ones
LEVELS = 15  # of anti-aliasing
MAX_PALETTE = 256


@dataclass(frozen=True)
class Background:
    """A still backdrop: which tone each pixel has."""

    name: str
    tones: tuple[tuple[int, int, int], ...]
    pattern: np.ndarray  # uint8 (H, W), indices of `tones`


@dataclass(frozen=True)
class Drawing:
    """A clip as palette indices."""

    indices: np.ndarray  # uint8 (F, H, W)
    palette: np.ndarray  # uint8 (n, 3)

    def frames(self) -> np.ndarray:
        """uint8 (F, H, W, 3)."""
        return self.palette[self.indices]


def outline(shape: str) -> np.ndarray:
    """Corners (n, 2) of an upright object of radius 1, y down; a circle by 32 points."""
    if shape == "circle":
        angles = np.linspace(0.0, 2 * math.pi, 32, endpoint=False)
        return np.stack([np.cos(angles), np.sin(angles)], 1)
    n = CORNERS[shape]
    first = math.pi / 4 if shape == "square" else 0.0
    angles = first + 2 * math.pi * np.arange(n) / n
    return CORNER_RADIUS[shape] * np.stack([np.sin(angles), -np.cos(angles)], 1)


def extents(shape: str, angles_deg: np.ndarray) -> np.ndarray:
    """(F, 4): how far an object of radius 1 reaches left, right, up and down at each angle."""
    if shape == "circle" or not np.any(angles_deg):
        turned = outline(shape)[None].repeat(len(angles_deg), 0)
    else:
        a = np.radians(angles_deg)
        turn = np.stack([np.cos(a), np.sin(a), -np.sin(a), np.cos(a)], 1).reshape(-1, 2, 2)
        turned = outline(shape) @ turn
    low, high = turned.min(axis=1), turned.max(axis=1)
    return np.stack([-low[:, 0], high[:, 0], -low[:, 1], high[:, 1]], 1)


def coverage(shape: str, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of each pixel by an object: float32 (F, b, b) in boxes, whose top left corners are int (F, 2)."""
    box = int(2 * CORNER_RADIUS[shape] * path[:, 2].max()) + 4
    corner = np.floor(path[:, :2]).astype(int) - box // 2
    grid = np.arange(box, dtype=np.float32) + 0.5
    x = grid[None, None, :] + (corner[:, 0] - path[:, 0]).astype(np.float32)[:, None, None]
    y = grid[None, :, None] + (corner[:, 1] - path[:, 1]).astype(np.float32)[:, None, None]
    radius = path[:, 2].astype(np.float32)[:, None, None]
    inside = radius - np.hypot(x, y) if shape == "circle" else _inside(shape, x, y, radius, np.radians(path[:, 3]))
    return np.clip(inside + 0.5, 0.0, 1.0), corner


def _inside(shape: str, x: np.ndarray, y: np.ndarray, radius: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Signed distance to the outline, by folding the plane onto half a sector, whose border is one straight edge.

    A regular polygon is the star whose inner corners lie on the edges.
    """
    sector = 2 * math.pi / CORNERS[shape]
    notch = STAR_NOTCH if shape == "star" else math.cos(sector / 2)
    first = sector / 2 if shape == "square" else 0.0
    theta = np.arctan2(x, -y) - (angles.astype(np.float32) + np.float32(first))[:, None, None]
    theta = np.abs(theta - sector * np.rint(theta / sector))
    distance = np.hypot(x, y)
    across, along = notch * math.sin(sector / 2), 1.0 - notch * math.cos(sector / 2)
    length = math.hypot(across, along)
    tip = CORNER_RADIUS[shape] * radius
    return (across * tip - distance * (along * np.sin(theta) + across * np.cos(theta))) / np.float32(length)


@dataclass(frozen=True)
class Painted:
    """An object to draw: its coverage, and the number of its paint in each frame."""

    shape: str
    path: np.ndarray  # (F, 4)
    paints: np.ndarray  # int (F,), indices of the clip's paints


def draw(background: Background, objects: list[Painted], paints: np.ndarray) -> Drawing:
    """Draw objects that don't overlap, with paints uint8 (n, 3), over a background."""
    n_tones = len(background.tones)
    levels = min(LEVELS, (MAX_PALETTE - n_tones) // (n_tones * len(paints)))
    assert levels >= 3, f"{len(paints)} paints on {n_tones} tones leave {levels} levels of anti-aliasing"
    indices = np.repeat(background.pattern[None], len(objects[0].path), axis=0)
    for item in objects:
        covered, corner = coverage(item.shape, item.path)
        level = np.rint(covered * levels).astype(np.uint8)
        ramp = (n_tones + item.paints * n_tones * levels).astype(np.uint8)
        for f in range(len(indices)):
            _blend(indices[f], background.pattern, level[f], int(ramp[f]), corner[f], levels)
    return Drawing(indices, _palette(background.tones, paints, levels))


def _blend(
    frame: np.ndarray, pattern: np.ndarray, level: np.ndarray, ramp: int, corner: np.ndarray, levels: int
) -> None:
    height, width = frame.shape
    box = len(level)
    x, y = int(corner[0]), int(corner[1])
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + box, width), min(y + box, height)
    level = level[y0 - y : y1 - y, x0 - x : x1 - x]
    tone = pattern[y0:y1, x0:x1]
    target = frame[y0:y1, x0:x1]
    np.copyto(target, ramp + tone * levels + level - 1, where=level > 0, casting="unsafe")


def _palette(tones: tuple[tuple[int, int, int], ...], paints: np.ndarray, levels: int) -> np.ndarray:
    """uint8 (n, 3): the tones, then for each paint and tone the blends from almost tone to all paint."""
    base = np.asarray(tones, float)
    share = (np.arange(levels) + 1.0)[None, None, :, None] / levels
    blends = base[None, :, None] * (1 - share) + paints.astype(float)[:, None, None] * share
    return np.rint(np.concatenate([base, blends.reshape(-1, 3)])).astype(np.uint8)
