"""The name of a motion and its speed, from a thing's trajectory.

Lengths are shares of the picture's height over the whole clip, so neither resolution nor frame count matters. Limits
lie between what the generators draw, with room for a hand that is not quite steady; else the answer is "unclear".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNCLEAR = "unclear"
STILL_WITHIN = 0.045  # of the height: what a still thing may wander
MOVES_BEYOND = 0.06
TURNS_WITHIN = 0.085  # what a turning, growing or colour-changing thing may wander
STRAIGHT = 0.85  # net way over whole way, of a way without reversals
DIRECTION_WITHIN_DEG = 18.0  # from one of the eight
SIDEWAYS = 0.25  # of the way: how far a straight path may stray
MOVING_SHARE = 0.65  # of the frames, in which a moving thing must move
SWING = 0.25  # of the range: a reversal smaller than this is a tremble
BOUNCE_SWINGS = (2, 4)
ZIGZAG_SWINGS = (3, 6)
STATIC_AXIS = 0.35  # of the moving axis's range
GROWS_BEYOND = 0.34  # logarithm of last radius over first
TURNS_BEYOND_DEG = 60.0
STEADY = 0.8  # agreement of the steps of a turn or a growth
SPEED_LIMITS = {  # between slow and normal, normal and fast; then least and most for any word
    "path": (0.276, 0.427, 0.13, 0.85),
    "turn": (142.0, 221.0, 70.0, 420.0),
    "growth": (0.655, 0.863, 0.34, 1.6),
}
DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")  # by 45°, y down


@dataclass(frozen=True)
class Motion:
    """A motion's name ("unclear" where none fits), its speed word and its length."""

    name: str
    speed: str  # slow | normal | fast | none | unclear
    path: float  # of the height, over the clip; 0 where nothing travels


def read_motion(
    path: np.ndarray,  # (F, 2) centre, of the height, y down
    radius: np.ndarray,  # (F,) any unit
    angle: np.ndarray | None,  # (F,) rad modulo 2π / symmetry; None where no turn can be seen
    symmetry: int,
    *,
    changes_colour: bool,
) -> Motion:
    """Name a motion."""
    extent = float(np.ptp(path, axis=0).max())
    growth, grows_steadily = _growth(radius)
    if extent < TURNS_WITHIN:
        if abs(growth) > GROWS_BEYOND and grows_steadily and not changes_colour:
            return Motion("grow" if growth > 0 else "shrink", _speed_word("growth", abs(growth)), 0.0)
        turn, turns_steadily = _turn(angle, symmetry)
        if abs(turn) > TURNS_BEYOND_DEG and turns_steadily and extent < MOVES_BEYOND:
            name = "rotate-clockwise" if turn > 0 else "rotate-counterclockwise"
            return Motion(name, _speed_word("turn", abs(turn)), 0.0)
    if abs(growth) > GROWS_BEYOND:
        return Motion(UNCLEAR, UNCLEAR, 0.0)
    if extent < MOVES_BEYOND:
        if changes_colour:
            return Motion("change-colour", "none", 0.0)
        return Motion("still" if extent < STILL_WITHIN else UNCLEAR, "none", 0.0)
    return Motion(UNCLEAR, UNCLEAR, 0.0) if changes_colour else _read_way(path)


def _read_way(path: np.ndarray) -> Motion:
    """A motion from place to place: straight, bouncing or zigzagging."""
    steps = np.diff(path, axis=0)
    if not _keeps_going(np.linalg.norm(steps, axis=1)):
        return Motion(UNCLEAR, UNCLEAR, float(np.linalg.norm(steps, axis=1).sum()))
    whole, net, span = np.abs(steps).sum(axis=0), path[-1] - path[0], np.ptp(path, axis=0)
    main = int(span.argmax())
    other = 1 - main
    length = float(np.linalg.norm(net))
    one_way = np.abs(net) > STRAIGHT * whole
    if one_way[main] and (one_way[other] or span[other] < SIDEWAYS * span[main]):
        name = _direction(path, net, length)
        if name != UNCLEAR:
            return Motion(name, _speed_word("path", length), length)
    swings = [_swings(path[:, axis]) for axis in (0, 1)]
    axes = ("horizontal", "vertical")
    if span[other] < STATIC_AXIS * span[main] and _between(swings[main], BOUNCE_SWINGS):
        way = float(whole[main])
        return Motion(f"bounce-{axes[main]}", _speed_word("path", way), way)
    for along in (0, 1):
        if one_way[along] and _between(swings[1 - along], ZIGZAG_SWINGS) and span[along] > STILL_WITHIN:
            way = float(np.hypot(*whole))
            return Motion(f"zigzag-{axes[along]}", _speed_word("path", way), way)
    return Motion(UNCLEAR, UNCLEAR, float(np.linalg.norm(steps, axis=1).sum()))


def _keeps_going(lengths: np.ndarray) -> bool:
    """True where a thing moves in most of its frames, rather than jumps once or stops half way."""
    brisk = float(np.quantile(lengths, 0.9))
    return float((lengths > 0.25 * brisk).mean()) >= MOVING_SHARE


def _direction(path: np.ndarray, net: np.ndarray, length: float) -> str:
    """The nearest of eight directions, where the path keeps to it."""
    sideways = np.ptp((path - path[0]) @ np.array([-net[1], net[0]]) / length)
    degrees = float(np.degrees(np.arctan2(net[1], net[0])))
    sector = round(degrees / 45.0)
    if abs(degrees - 45.0 * sector) > DIRECTION_WITHIN_DEG or sideways > SIDEWAYS * length:
        return UNCLEAR
    return DIRECTIONS[sector % 8]


def _swings(values: np.ndarray) -> int:
    """Number of times that a coordinate goes one way by a good part of its range before it goes the other way."""
    limit = SWING * float(np.ptp(values))
    count, way, turn = 0, 0.0, float(values[0])
    for value in values[1:].tolist():
        if way == 0.0:
            if abs(value - turn) >= limit:
                way, count, turn = float(np.sign(value - turn)), 1, value
        elif (value - turn) * way > 0.0:
            turn = value
        elif (turn - value) * way >= limit:
            way, count, turn = -way, count + 1, value
    return count


def _growth(radius: np.ndarray) -> tuple[float, bool]:
    """Logarithm of last radius over first by a straight fit, and whether the radius keeps to it."""
    logs = np.log(np.maximum(radius, 1e-6))
    progress = np.linspace(-0.5, 0.5, len(logs))
    slope = float(progress @ (logs - logs.mean()) / (progress @ progress))
    left = logs - logs.mean() - slope * progress
    return slope, float(left.std()) < 0.25 * abs(slope)


def _turn(angle: np.ndarray | None, symmetry: int) -> tuple[float, bool]:
    """Degrees turned, clockwise positive (y is down), and whether the steps agree."""
    if angle is None:
        return 0.0, False
    period = 2.0 * np.pi / symmetry
    steps = np.diff(angle)
    steps -= period * np.round(steps / period)
    whole = float(np.abs(steps).sum())
    return float(np.degrees(steps.sum())), whole > 0.0 and abs(steps.sum()) > STEADY * whole


def _speed_word(kind: str, amount: float) -> str:
    slow, fast, least, most = SPEED_LIMITS[kind]
    if not least <= amount <= most:
        return UNCLEAR
    return "slow" if amount < slow else "normal" if amount < fast else "fast"


def _between(count: int, limits: tuple[int, int]) -> bool:
    return limits[0] <= count <= limits[1]
