"""Blobs of single frames joined into tracks of things: who is who from frame to frame, and what is left over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.judge.oracles.foreground import Blobs

MAX_PER_FRAME = 12  # more blobs than this in a frame are noise, not things
COLOUR_SCALE = 400.0  # RGB units that weigh as much as the picture's height
LEAST_PRESENCE = 0.5  # share of the frames in which a thing must be seen


@dataclass(frozen=True)
class Track:
    """One thing: the frames it is seen in, ascending, and its blob in each."""

    frames: np.ndarray  # (m,)
    blobs: np.ndarray  # (m,)


@dataclass(frozen=True)
class Tracks:
    """The things of a clip, and the share of the foreground that belongs to none of them."""

    things: list[Track]
    leftover: float


def track(blobs: Blobs, n_frames: int, height: int) -> Tracks | None:
    """Join blobs over frames by place and colour. None where a clip is too crowded to hold things."""
    per_frame = np.bincount(blobs.frame, minlength=n_frames)
    if per_frame.max(initial=0) > MAX_PER_FRAME:
        return None
    order = np.argsort(blobs.frame, kind="stable")
    if (per_frame == 1).all():
        return Tracks([Track(np.arange(n_frames), order)], blobs.speck_area / max(1.0, blobs.area.sum()))
    looks = np.column_stack([blobs.x / height, blobs.y / height, blobs.colour / COLOUR_SCALE])
    chains: list[list[int]] = []
    for members in np.split(order, np.cumsum(per_frame)[:-1]):
        _extend(chains, members, looks)
    seen = [np.array(chain) for chain in chains if len(chain) >= LEAST_PRESENCE * n_frames]
    things = [Track(blobs.frame[chain], chain) for chain in seen]
    total = float(blobs.area.sum()) + blobs.speck_area
    kept = float(sum(blobs.area[thing.blobs].sum() for thing in things))
    return Tracks(things, 1.0 - kept / total if total else 0.0)


def _extend(chains: list[list[int]], members: np.ndarray, looks: np.ndarray) -> None:
    """Give each of a frame's blobs to the chain whose last blob looks most like it; the others begin chains."""
    taken: set[int] = set()
    if chains and len(members):
        last = looks[[chain[-1] for chain in chains]]
        cost = np.linalg.norm(last[:, None] - looks[members][None], axis=-1)
        for chain, member in zip(*linear_sum_assignment(cost), strict=True):
            chains[chain].append(int(members[member]))
            taken.add(int(member))
    chains.extend([int(blob)] for member, blob in enumerate(members) if member not in taken)
