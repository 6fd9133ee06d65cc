"""Read a shapes clip: what is in the frames, or "unclear". No network, no training: answers can be followed by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.data.cielab import to_lab
from pipeline.judge.oracles.background import name_background
from pipeline.judge.oracles.colour_names import name_colours
from pipeline.judge.oracles.foreground import Blobs, find_blobs, find_palette
from pipeline.judge.oracles.motion import UNCLEAR, Motion, read_motion
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
from pipeline.judge.oracles.silhouettes import SHAPES, SYMMETRY, Silhouettes, corner_reach, fit_silhouettes
from pipeline.judge.oracles.tracking import Track, track

LEAST_OVERLAP = 0.80  # of the mask with the best shape
LEAST_LEAD = 0.03  # of the best shape's overlap over the next one's
COLOUR_CHANGE = 25.0  # CIELAB, between the first and the last colour
ONE_COLOUR = 45.0  # RGB units: standard deviation within a thing beyond which it has no one colour
SIZES = ((0.118, "small"), (0.164, "medium"), (0.24, "large"))  # upper limits of the radius over the height
LEAST_RADIUS = 0.06


def read_shapes(frames: np.ndarray) -> Reading:
    """Reading of a uint8 clip (F, H, W, 3) of coloured shapes. Raises ValueError on fewer than 4 frames."""
    check_frames(frames)
    palette = find_palette(frames)
    blobs = find_blobs(frames, palette)
    background = name_background(frames, palette)
    n_frames, height = frames.shape[:2]
    tracks = track(blobs, n_frames, height)
    empty = empty_share(blobs.frame, n_frames)
    if tracks is None:
        return Reading((), -1, background, 1.0, empty, n_frames, height)
    outlines = fit_silhouettes(blobs)
    things = tuple(read_thing(thing, blobs, outlines, n_frames, height) for thing in tracks.things)
    count = clear_count(things, tracks.leftover)
    return Reading(things, count, background, flicker(blobs.frame, len(things), n_frames), empty, n_frames, height)


def read_thing(thing: Track, blobs: Blobs, outlines: Silhouettes, n_frames: int, height: int) -> ObjectReading:
    """A tracked thing: its shape, colours, size and motion."""
    chosen = thing.blobs
    shape, colour = _read_shape(outlines.overlap[chosen]), _read_colour(blobs, chosen)
    k = shape.index
    path = at_every_frame(thing, np.column_stack([blobs.x[chosen], blobs.y[chosen]]) / height, n_frames)
    radius = at_every_frame(thing, outlines.radius[chosen, k] / corner_reach(SHAPES[k]), n_frames)
    turnable = SHAPES[k] != "circle" and len(thing.frames) == n_frames
    motion = read_motion(
        path,
        radius,
        outlines.angle[chosen, k] if turnable else None,
        int(SYMMETRY[k]),
        changes_colour=bool(colour.last),
    )
    mean_radius = float(np.exp(np.log(np.maximum(radius, 1e-6)).mean()))
    return ObjectReading(
        motion=motion.name,
        speed=motion.speed,
        speed_px=_speed_px(motion, n_frames, height),
        presence=len(thing.frames) / n_frames,
        identity=float((shape.agrees & colour.agrees).mean()),
        shape=shape.name,
        colour=colour.first,
        colour_to=colour.last,
        size=_name_size(mean_radius / height),
        radius_px=mean_radius,
    )


@dataclass(frozen=True)
class _Shape:
    name: str
    index: int  # of the best, also where it is unclear
    agrees: np.ndarray  # bool (m,): the frames that show it


@dataclass(frozen=True)
class _Colour:
    first: str
    last: str  # "" where it stays the same
    agrees: np.ndarray  # bool (m,)


def _read_shape(overlap: np.ndarray) -> _Shape:
    """The shape of a thing by its overlaps (m, 4)."""
    mean = overlap.mean(axis=0)
    k = int(mean.argmax())
    lead = mean[k] - np.delete(mean, k).max()
    agrees = (overlap.argmax(axis=1) == k) & (overlap[:, k] > LEAST_OVERLAP)
    clear = mean[k] > LEAST_OVERLAP and lead > LEAST_LEAD and agrees.mean() >= AGREEMENT
    return _Shape(SHAPES[k] if clear else UNCLEAR, k, agrees)


def _read_colour(blobs: Blobs, chosen: np.ndarray) -> _Colour:
    rgb = blobs.colour[chosen]
    quarter = max(1, len(rgb) // 4)
    first, last = np.median(rgb[:quarter], axis=0), np.median(rgb[-quarter:], axis=0)
    names = name_colours(np.vstack([first[None], last[None], np.median(rgb, axis=0)[None], rgb]))
    begin, end, middle, each = names[0], names[1], names[2], np.array(names[3:])
    if begin != end and np.linalg.norm(np.subtract(*to_lab(np.stack([first, last])))) > COLOUR_CHANGE:
        steady = (each[:quarter] == begin).mean() >= AGREEMENT and (each[-quarter:] == end).mean() >= AGREEMENT
        return _Colour(begin if steady else UNCLEAR, end if steady else UNCLEAR, np.ones(len(rgb), bool))
    agrees = (each == middle) & (blobs.colour_spread[chosen] < ONE_COLOUR)
    return _Colour(middle if agrees.mean() >= AGREEMENT else UNCLEAR, "", agrees)


def _speed_px(motion: Motion, n_frames: int, height: int) -> float:
    return motion.path * height / (n_frames - 1)


def _name_size(radius: float) -> str:
    if radius < LEAST_RADIUS:
        return UNCLEAR
    return next((name for limit, name in SIZES if radius < limit), UNCLEAR)
