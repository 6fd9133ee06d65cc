"""Read a clip of the whole world: each thing as in a shapes clip, and what things are to each other and in time.

A reading never depends on what a caption asks: relations, stages and swells are read of every clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from pipeline.judge.oracles.background import name_background
from pipeline.judge.oracles.foreground import Blobs, find_palette
from pipeline.judge.oracles.motion import TURNS_WITHIN, UNCLEAR, read_motion
from pipeline.judge.oracles.reading import (
    AGREEMENT,
    ObjectReading,
    Reading,
    at_every_frame,
    check_frames,
    clear_count,
    empty_share,
    flicker,
)
from pipeline.judge.oracles.shapes import LEAST_LEAD, LEAST_OVERLAP, read_thing
from pipeline.judge.oracles.silhouettes import SHAPES, SYMMETRY, Silhouettes, corner_reach, fit_silhouettes
from pipeline.judge.oracles.tracking import Track, track
from pipeline.judge.oracles.world.events import Event, read_events
from pipeline.judge.oracles.world.overlap import Overlap, read_overlap
from pipeline.judge.oracles.world.parts import Parts, find_parts

SWELLS_BEYOND = 0.34  # logarithm of the largest radius over the smallest
SWELL_PEAK = (0.3, 0.7)  # of the clip: where a swell turns
SWELL_ENDS = 0.4  # of its range: how far its two ends may lie from each other
STEADY = 0.8  # share of a swell's way that goes the way it should
LEAST_HIDDEN = 0.07  # of a thing behind another, in each frame: with less they only touch
ASIDE = 0.8  # of the distance along, at most: how far apart across two things side by side may be


@dataclass(frozen=True)
class WorldReading(Reading):
    """A clip. `stages` has the first and the second motion of each thing."""

    stages: tuple[tuple[str, str], ...] = ()
    relations: frozenset[tuple[str, int, int]] = (
        frozenset()
    )  # left | above | behind, of a thing to another, by place in `objects`
    events: frozenset[Event] = frozenset()


def read_world(frames: np.ndarray) -> WorldReading:
    """Reading of a uint8 clip (F, H, W, 3). Raises ValueError on fewer than 4 frames."""
    check_frames(frames)
    palette = find_palette(frames)
    parts = find_parts(frames, palette)
    blobs = parts.blobs
    background = name_background(frames, palette)
    n_frames, height, width = frames.shape[:3]
    tracks = track(blobs, n_frames, height)
    empty = empty_share(blobs.frame, n_frames)
    if tracks is None:
        return WorldReading((), -1, background, 1.0, empty, n_frames, height)
    outlines = fit_silhouettes(blobs)
    things = [read_thing(thing, blobs, outlines, n_frames, height) for thing in tracks.things]
    stages = [_read_stages(thing, blobs, outlines, n_frames, height) for thing in tracks.things]
    for place, thing in enumerate(tracks.things):
        if things[place].motion in ("still", UNCLEAR) and not things[place].colour_to:
            swell = _read_swell(thing, blobs, outlines, n_frames, height)
            things[place] = replace(things[place], motion=swell or things[place].motion)
    relations: set[tuple[str, int, int]] = set()
    for i, j in combinations(range(len(things)), 2):
        one, other = tracks.things[i], tracks.things[j]
        meet = _meetings(one, other, parts)
        if len(meet) >= AGREEMENT * n_frames:
            whole = [outlines.overlap[thing.blobs].mean(axis=0).max() for thing in (one, other)]
            overlap = read_overlap(blobs, meet[:, 0], meet[:, 1], np.array(whole))
            if overlap is not None and (overlap.hidden >= LEAST_HIDDEN).all():
                behind, front = (i, j) if overlap.behind == 0 else (j, i)
                things[behind] = _completed(things[behind], overlap)
                relations.add(("behind", behind, front))
        else:
            relations |= _sides(one, other, blobs, n_frames, i, j)
    count = clear_count(things, tracks.leftover)
    flickers = flicker(blobs.frame, len(things), n_frames)
    return WorldReading(
        tuple(things),
        count,
        background,
        flickers,
        empty,
        n_frames,
        height,
        tuple(stages),
        frozenset(relations),
        read_events(parts, tracks.things, n_frames, height, width),
    )


def _meetings(one: Track, other: Track, parts: Parts) -> np.ndarray:
    """(m, 2): the blobs of two things in the frames in which they are one piece."""
    shared = np.intersect1d(one.frames, other.frames, return_indices=True)
    pairs = np.column_stack([one.blobs[shared[1]], other.blobs[shared[2]]])
    return pairs[parts.piece[pairs[:, 0]] == parts.piece[pairs[:, 1]]]


def _completed(thing: ObjectReading, overlap: Overlap) -> ObjectReading:
    """A thing with the shape that it has behind what hides it."""
    k = int(overlap.fit.argmax())
    clear = overlap.fit[k] > LEAST_OVERLAP and overlap.fit[k] - np.delete(overlap.fit, k).max() > LEAST_LEAD
    return replace(thing, shape=SHAPES[k] if clear else UNCLEAR, radius_px=float(overlap.radius[k]))


def _sides(one: Track, other: Track, blobs: Blobs, n_frames: int, i: int, j: int) -> set[tuple[str, int, int]]:
    """Sides of two things: one left of or above the other, in every frame."""
    paths = [np.column_stack([blobs.x[thing.blobs], blobs.y[thing.blobs]]) for thing in (one, other)]
    away = at_every_frame(other, paths[1], n_frames) - at_every_frame(one, paths[0], n_frames)
    found = set()
    for axis, name in ((0, "left"), (1, "above")):
        along, across = away[:, axis], np.abs(away[:, 1 - axis])
        if (across < ASIDE * along).all():
            found.add((name, i, j))
        elif (across < -ASIDE * along).all():
            found.add((name, j, i))
    return found


def _read_stages(thing: Track, blobs: Blobs, outlines: Silhouettes, n_frames: int, height: int) -> tuple[str, str]:
    """The motions of the first and the second half, the turn between them left out."""
    length = max(4, (n_frames - 2) // 2)
    k = int(outlines.overlap[thing.blobs].mean(axis=0).argmax())
    path, radius = _path(thing, blobs, n_frames, height), _radius(thing, outlines, k, n_frames)
    turnable = SHAPES[k] != "circle" and len(thing.frames) == n_frames
    angle = outlines.angle[thing.blobs, k] if turnable else None
    halves = [slice(0, length), slice(n_frames - length, n_frames)]
    names = [
        read_motion(
            path[half], radius[half], None if angle is None else angle[half], int(SYMMETRY[k]), changes_colour=False
        ).name
        for half in halves
    ]
    return names[0], names[1]


def _read_swell(thing: Track, blobs: Blobs, outlines: Silhouettes, n_frames: int, height: int) -> str:
    """grow-shrink | shrink-grow of a thing that stays in its place; empty where it is neither."""
    if np.ptp(_path(thing, blobs, n_frames, height), axis=0).max() > TURNS_WITHIN:
        return ""
    k = int(outlines.overlap[thing.blobs].mean(axis=0).argmax())
    logs = np.log(np.maximum(_radius(thing, outlines, k, n_frames), 1e-6))
    for name, sign in (("grow-shrink", 1.0), ("shrink-grow", -1.0)):
        values = sign * logs
        peak = int(values.argmax())
        lowest = max(values[0], values[-1])  # of the two ends, the nearer to the peak
        steps = np.diff(values) * np.where(np.arange(n_frames - 1) < peak, 1.0, -1.0)
        if (
            values[peak] - lowest > SWELLS_BEYOND
            and SWELL_PEAK[0] <= peak / (n_frames - 1) <= SWELL_PEAK[1]
            and abs(values[0] - values[-1]) < SWELL_ENDS * (values[peak] - lowest)
            and steps.sum() > STEADY * np.abs(steps).sum()
        ):
            return name
    return ""


def _path(thing: Track, blobs: Blobs, n_frames: int, height: int) -> np.ndarray:
    return at_every_frame(thing, np.column_stack([blobs.x[thing.blobs], blobs.y[thing.blobs]]) / height, n_frames)


def _radius(thing: Track, outlines: Silhouettes, k: int, n_frames: int) -> np.ndarray:
    return at_every_frame(thing, outlines.radius[thing.blobs, k] / corner_reach(SHAPES[k]), n_frames)
