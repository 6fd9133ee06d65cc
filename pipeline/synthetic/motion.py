"""Trajectories of an object: places in each frame, (F, 4) of x, y, radius in px and angle in degrees, clockwise.

Coordinates run over the canvas [0, resolution), x to the right and y down; the centre of the first pixel is 0.5.
Speeds are shares of the canvas crossed in the whole clip, so they look alike at any resolution and frame count.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from pipeline.synthetic.draw import extents

DIAGONAL = math.sqrt(0.5)
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
    "up-left": (-DIAGONAL, -DIAGONAL),
    "up-right": (DIAGONAL, -DIAGONAL),
    "down-left": (-DIAGONAL, DIAGONAL),
    "down-right": (DIAGONAL, DIAGONAL),
}
AXES: dict[str, int] = {"horizontal": 0, "vertical": 1}
WITHOUT_SPEED = ("still", "change-colour")

PATH_SHARE = {"slow": 0.211, "normal": 0.352, "fast": 0.516}  # of the canvas, along the path of the clip
TURN_DEG = {"slow": 110.0, "normal": 180.0, "fast": 270.0}  # in the clip
GROWTH = {"slow": 1.75, "normal": 2.15, "fast": 2.65}  # last radius over first
SPEED_JITTER = 0.08  # of the speed, the turn and the logarithm of the growth: the words never overlap
ZIGZAG_DEG = 55.0  # between a leg and the way forward
MARGIN_PX = 0.5  # between an object and the edge of the canvas
GAP_PX = 2.0  # between objects, in every frame: a clear pixel at least
TRIES = (32, 160)  # random starts, in two goes, before several objects are said to have no room


def jitter(rng: np.random.Generator) -> float:
    return 1.0 + SPEED_JITTER * rng.uniform(-1.0, 1.0)


def unplaced(
    motion: str,
    speed: str | None,  # None for a motion that has none
    radius_px: float,  # for grow and shrink the geometric mean over the clip
    *,
    frames: int,
    resolution: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """The trajectory (frames, 4) of an object that starts at (0, 0)."""
    path = np.zeros((frames, 4))
    path[:, 2] = radius_px
    if speed is None:
        return path
    progress = np.linspace(0.0, 1.0, frames)
    if motion.startswith("rotate"):
        sign = 1.0 if motion == "rotate-clockwise" else -1.0
        path[:, 3] = sign * TURN_DEG[speed] * jitter(rng) * progress
    elif motion in ("grow", "shrink"):
        sign = 1.0 if motion == "grow" else -1.0
        path[:, 2] *= np.exp(sign * math.log(GROWTH[speed]) * jitter(rng) * (progress - 0.5))
    else:
        step_px = PATH_SHARE[speed] * jitter(rng) * resolution / (frames - 1)
        path[:, :2] = walk(motion, step_px, frames - 1, rng)
    return path


def walk(motion: str, step_px: float, steps: int, rng: np.random.Generator) -> np.ndarray:
    """The path of a moving object's centre (steps + 1, 2), from (0, 0), by steps of equal length."""
    path = np.zeros((steps + 1, 2))
    path[1:] = np.cumsum(step_px * headings(motion, steps, rng), axis=0)
    return path


def headings(motion: str, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors (steps, 2): where each step goes. Turns fall on frames, so no step is cut short."""
    if motion in DIRECTIONS:
        return np.tile(DIRECTIONS[motion], (steps, 1))
    kind, _, axis = motion.partition("-")
    along = AXES[axis]
    way = np.zeros((steps, 2))
    if kind == "bounce":
        leg = int(rng.integers(max(2, round(0.4 * steps)), max(2, round(0.55 * steps)) + 1))
        way[:, along] = _alternate(steps, leg, rng)
        return way
    assert kind == "zigzag", motion
    leg = max(2, round(steps / 3))
    way[:, along] = math.cos(math.radians(ZIGZAG_DEG)) * rng.choice((-1.0, 1.0))
    way[:, 1 - along] = math.sin(math.radians(ZIGZAG_DEG)) * _alternate(steps, leg, rng)
    return way


def _alternate(steps: int, leg: int, rng: np.random.Generator) -> np.ndarray:
    """+1 and -1 (steps,), changing sign every `leg` steps, from a random point of a leg."""
    first = int(rng.integers(0, leg))
    return rng.choice((-1.0, 1.0)) * (1.0 - 2.0 * ((np.arange(steps) + first) // leg % 2))


def speed_px(path: np.ndarray) -> float:
    """Mean px a frame along the path of the centre of (F, 2 or more)."""
    return float(np.hypot(*np.diff(path[:, :2], axis=0).T).mean())


def reach(shape: str, path: np.ndarray) -> np.ndarray:
    """(F, 4): px from the centre to the object's left, right, top and bottom in each frame."""
    return path[:, 2:3] * extents(shape, path[:, 3])


def start_range(path: np.ndarray, reach_px: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest start (2,), at which the object stays whole on the canvas for the whole path."""
    low = MARGIN_PX - (path[:, :2] - reach_px[:, 0::2]).min(axis=0)
    high = resolution - MARGIN_PX - (path[:, :2] + reach_px[:, 1::2]).max(axis=0)
    return low, high


def place(
    paths: list[np.ndarray],  # (F, 2 or more) each, starting at (0, 0)
    reaches: list[np.ndarray],  # (F, 4) each
    resolution: int,
    rng: np.random.Generator,
    gap_px: float = GAP_PX,
) -> list[np.ndarray] | None:
    """Start each object at random so that all stay on the canvas and apart; None where no start was found."""
    ranges = [start_range(path, reach_px, resolution) for path, reach_px in zip(paths, reaches, strict=True)]
    if any((low > high).any() for low, high in ranges):
        return None
    for tries in TRIES if len(paths) > 1 else (1,):
        starts = [rng.uniform(low, high, (tries, 2)) for low, high in ranges]
        boxes = [_boxes(path, reach, start) for path, reach, start in zip(paths, reaches, starts, strict=True)]
        good = np.ones(tries, bool)
        for one, other in combinations(boxes, 2):
            good &= _apart(one, other, gap_px)
        if good.any():
            return [_moved(path, start[good.argmax()]) for path, start in zip(paths, starts, strict=True)]
    return None


def _boxes(path: np.ndarray, reach_px: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corners (2, tries, F) of an object's bounding box, for each start."""
    low, high = path[:, :2] - reach_px[:, 0::2], path[:, :2] + reach_px[:, 1::2]
    return starts.T[:, :, None] + low.T[:, None, :], starts.T[:, :, None] + high.T[:, None, :]


def _apart(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], gap_px: float) -> np.ndarray:
    """(tries,): do two boxes stay apart in every frame?"""
    clear = (one[1] + gap_px <= other[0]) | (other[1] + gap_px <= one[0])
    return np.asarray((clear[0] | clear[1]).all(axis=1))


def _moved(path: np.ndarray, start: np.ndarray) -> np.ndarray:
    moved = path.copy()
    moved[:, :2] += start
    return moved
