"""Contact: a thing turns back where it meets a wall or another thing that stays, or sets another one going.

Paths say who turns or sets off when; pixels say whether the two touch then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np

from pipeline.judge.oracles.motion import STILL_WITHIN
from pipeline.judge.oracles.reading import AGREEMENT, at_every_frame
from pipeline.judge.oracles.tracking import Track
from pipeline.judge.oracles.world.parts import Parts

SIDES = (("left", "right"), ("up", "down"))  # by axis: towards lower and towards higher coordinates
LEAST_LEG = 0.09  # of the height: each leg of a thing that turns back, and the way of one that is pushed
STRAIGHT = 0.85  # net way over whole way, of a leg
ASIDE = 0.3  # of the way: how far it may stray across
TURNS = (0.25, 0.75)  # of the clip: when a thing turns back or is set going
AT_WALL = 0.025  # of the height: the gap that a touched wall leaves
LATE = 1  # frames about a turn in which the touch must be seen


class Event(NamedTuple):
    """wall | off | push, the side that a thing comes towards, its place in `objects`, and that of what it meets."""

    name: str
    side: str
    thing: int
    other: int | None


@dataclass(frozen=True)
class _Way:
    """A path (F, 2), of the height, along one axis."""

    path: np.ndarray
    axis: int

    @property
    def along(self) -> np.ndarray:
        return self.path[:, self.axis]

    def leg(self, start: int, stop: int) -> float:
        """Signed length from frame `start` to `stop`, of the height; 0 where it is not straight or strays."""
        steps = np.diff(self.along[start : stop + 1])
        across = float(np.ptp(self.path[start : stop + 1, 1 - self.axis]))
        net = float(steps.sum())
        straight = abs(net) > STRAIGHT * np.abs(steps).sum() and across < ASIDE * abs(net)
        return net if straight and abs(net) > LEAST_LEG else 0.0


def read_events(parts: Parts, things: Sequence[Track], n_frames: int, height: int, width: int) -> frozenset[Event]:
    """Every contact of a clip's things."""
    blobs = parts.blobs
    paths = [
        at_every_frame(thing, np.column_stack([blobs.x[thing.blobs], blobs.y[thing.blobs]]) / height, n_frames)
        for thing in things
    ]
    found = set()
    for i, path in enumerate(paths):
        side, turn = _turns_back(path)
        if side and _reaches_wall(parts, things[i], side, turn, height, width):
            found.add(Event("wall", side, i, None))
    for i, j in permutations(range(len(things)), 2):
        touch = _touch(parts, things[i], things[j], n_frames)
        side, turn = _turns_back(paths[i])
        if side and np.ptp(paths[j], axis=0).max() < STILL_WITHIN and touch[turn - LATE : turn + LATE + 1].any():
            found.add(Event("off", side, i, j))
        side, turn = _sets_off(paths[i], paths[j])
        if side and touch[turn + 1 :].mean() >= AGREEMENT:
            found.add(Event("push", side, i, j))
    return frozenset(found)


def _turns_back(path: np.ndarray) -> tuple[str, int]:
    """The side at which a path (F, 2) turns back, and its frame; empty where it does not."""
    way = _Way(path, int(np.ptp(path, axis=0).argmax()))
    last = len(path) - 1
    for sign, side in zip((-1.0, 1.0), SIDES[way.axis], strict=True):
        turn = int((sign * way.along).argmax())
        if TURNS[0] * last <= turn <= TURNS[1] * last and sign * way.leg(0, turn) > 0 > sign * way.leg(turn, last):
            return side, turn
    return "", 0


def _sets_off(mover: np.ndarray, other: np.ndarray) -> tuple[str, int]:
    """The side to which one path goes throughout while the other waits and then goes with it, and from which frame."""
    last = len(other) - 1
    way = _Way(other, int(np.ptp(other, axis=0).argmax()))
    turn = int(np.flatnonzero(np.abs(way.along - way.along[0]) < STILL_WITHIN / 2).max(initial=0))
    length = way.leg(turn, last)
    whole = _Way(mover, way.axis).leg(0, last)
    if not TURNS[0] * last <= turn <= TURNS[1] * last or length * whole <= 0.0:
        return "", 0
    if np.ptp(other[: turn + 1], axis=0).max() > STILL_WITHIN:
        return "", 0
    return SIDES[way.axis][int(length > 0.0)], turn


def _touch(parts: Parts, one: Track, other: Track, n_frames: int) -> np.ndarray:
    """bool (F,): the frames in which two things are one piece."""
    touch = np.zeros(n_frames, bool)
    frames, at_one, at_other = np.intersect1d(one.frames, other.frames, return_indices=True)
    touch[frames] = parts.piece[one.blobs[at_one]] == parts.piece[other.blobs[at_other]]
    return touch


def _reaches_wall(parts: Parts, thing: Track, side: str, turn: int, height: int, width: int) -> bool:
    """Whether a thing touches a side of the picture about a frame."""
    blobs = parts.blobs
    near = thing.blobs[np.abs(thing.frames - turn) <= LATE]
    own = np.isin(blobs.pixel_blob, near) & (blobs.pixel_alpha > 0.5)
    if not own.any():
        return False
    x, y = blobs.pixel_x[own], blobs.pixel_y[own]
    gap = {"left": x.min(), "right": width - 1 - x.max(), "up": y.min(), "down": height - 1 - y.max()}[side]
    return bool(gap <= AT_WALL * height)
