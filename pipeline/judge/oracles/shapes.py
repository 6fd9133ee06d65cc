"""Read a shapes clip: what is in the frames, or "unclear". No network, no training: answers can be followed by hand.

`read_shapes` never sees a caption; `score` compares a reading with the attributes that a caption was written from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from pipeline.judge.oracles.background import name_background
from pipeline.judge.oracles.colour_names import name_colours, to_lab
from pipeline.judge.oracles.foreground import Blobs, find_blobs, find_palette
from pipeline.judge.oracles.motion import UNCLEAR, Motion, read_motion
from pipeline.judge.oracles.silhouettes import SHAPES, SYMMETRY, Silhouettes, corner_reach, fit_silhouettes
from pipeline.judge.oracles.tracking import Track, track

LEAST_FRAMES = 4
LEAST_OVERLAP = 0.80  # of the mask with the best shape
LEAST_LEAD = 0.03  # of the best shape's overlap over the next one's
AGREEMENT = 0.75  # share of a thing's frames that must show its shape, and its colour
MAX_LEFTOVER = 0.12  # share of the foreground that belongs to nothing, beyond which the count is unclear
COLOUR_CHANGE = 25.0  # CIELAB, between the first and the last colour
ONE_COLOUR = 45.0  # RGB units: standard deviation within a thing beyond which it has no one colour
SIZES = ((0.118, "small"), (0.164, "medium"), (0.24, "large"))  # upper limits of the radius over the height
LEAST_RADIUS = 0.06
MAX_PAIRED = 5  # things: no caption speaks of more


@dataclass(frozen=True)
class ObjectReading:
    """One thing. Fields are a word, or "unclear"."""

    motion: str
    speed: str  # slow | normal | fast | none (of a thing that has no speed) | unclear
    speed_px: float  # px per frame along the path, at the clip's own resolution and frame count
    presence: float  # share of the frames that show it
    identity: float  # share of its frames with the thing's own shape and colour (a digit: its own value)
    shape: str = UNCLEAR
    colour: str = UNCLEAR  # of the first quarter, where the colour changes
    colour_to: str = ""  # of the last quarter, where the colour changes
    size: str = UNCLEAR
    radius_px: float = 0.0
    digit: int | None = None
    confidence: float = 0.0  # shapes: overlap with the named shape; digits: share of the votes


@dataclass(frozen=True)
class Reading:
    """A clip. `count` is -1 where it cannot be told."""

    objects: tuple[ObjectReading, ...]
    count: int
    background: str
    flicker: float  # share of the frames that don't show as many things as the clip holds
    n_frames: int
    height: int


def read_shapes(frames: np.ndarray) -> Reading:
    """What a uint8 clip (F, H, W, 3) of coloured shapes shows. Raises ValueError on fewer than 4 frames."""
    check_frames(frames)
    palette = find_palette(frames)
    blobs = find_blobs(frames, palette)
    background = name_background(frames, palette)
    n_frames, height = frames.shape[:2]
    tracks = track(blobs, n_frames, height)
    if tracks is None:
        return Reading((), -1, background, 1.0, n_frames, height)
    outlines = fit_silhouettes(blobs)
    things = tuple(_read_thing(thing, blobs, outlines, n_frames, height) for thing in tracks.things)
    count = clear_count(things, tracks.leftover)
    return Reading(things, count, background, flicker(blobs.frame, len(things), n_frames), n_frames, height)


def check_frames(frames: np.ndarray) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) < LEAST_FRAMES:
        raise ValueError(
            f"a clip of shape {frames.shape} and type {frames.dtype} cannot be read; "
            f"the oracles take uint8 (frames, height, width, 3) with at least {LEAST_FRAMES} frames"
        )


def clear_count(things: Sequence[ObjectReading], leftover: float) -> int:
    """How many things a clip holds; -1 where one of them comes and goes, or foreground is left over."""
    steady = all(thing.presence >= AGREEMENT for thing in things)
    return len(things) if steady and leftover <= MAX_LEFTOVER else -1


def flicker(blob_frames: np.ndarray, count: int, n_frames: int) -> float:
    """Share of the frames whose number of blobs is not `count`; 1 where there is nothing."""
    if count == 0:
        return 1.0
    return float((np.bincount(blob_frames, minlength=n_frames) != count).mean())


def at_every_frame(thing: Track, values: np.ndarray, n_frames: int) -> np.ndarray:
    """Values (m, …) at the frames of a track, filled in linearly at the others."""
    if len(thing.frames) == n_frames:
        return values
    every = np.arange(n_frames)
    columns = values.reshape(len(values), -1)
    filled = np.stack([np.interp(every, thing.frames, column) for column in columns.T], axis=1)
    return filled.reshape(n_frames, *values.shape[1:])


def _read_thing(thing: Track, blobs: Blobs, outlines: Silhouettes, n_frames: int, height: int) -> ObjectReading:
    chosen = thing.blobs
    shape, k, confidence, shape_agrees = _read_shape(outlines.overlap[chosen])
    colour, colour_to, colour_agrees = _read_colour(blobs, chosen)
    path = at_every_frame(thing, np.column_stack([blobs.x[chosen], blobs.y[chosen]]) / height, n_frames)
    radius = at_every_frame(thing, outlines.radius[chosen, k] / corner_reach(SHAPES[k]), n_frames)
    turnable = SHAPES[k] != "circle" and len(thing.frames) == n_frames
    motion = read_motion(
        path,
        radius,
        outlines.angle[chosen, k] if turnable else None,
        int(SYMMETRY[k]),
        changes_colour=bool(colour_to),
    )
    mean_radius = float(np.exp(np.log(np.maximum(radius, 1e-6)).mean()))
    return ObjectReading(
        motion=motion.name,
        speed=motion.speed,
        speed_px=_speed_px(motion, n_frames, height),
        presence=len(thing.frames) / n_frames,
        identity=float((shape_agrees & colour_agrees).mean()),
        shape=shape,
        colour=colour,
        colour_to=colour_to,
        size=_name_size(mean_radius / height),
        radius_px=mean_radius,
        confidence=confidence,
    )


def _read_shape(overlap: np.ndarray) -> tuple[str, int, float, np.ndarray]:
    """Name, its index (of the best, also where unclear), its overlap, and which frames agree; overlaps are (m, 4)."""
    mean = overlap.mean(axis=0)
    k = int(mean.argmax())
    lead = mean[k] - np.delete(mean, k).max()
    agrees = (overlap.argmax(axis=1) == k) & (overlap[:, k] > LEAST_OVERLAP)
    clear = mean[k] > LEAST_OVERLAP and lead > LEAST_LEAD and agrees.mean() >= AGREEMENT
    return (SHAPES[k] if clear else UNCLEAR), k, float(mean[k]), agrees


def _read_colour(blobs: Blobs, chosen: np.ndarray) -> tuple[str, str, np.ndarray]:
    """First colour, last colour ("" where it stays the same) and which frames agree."""
    rgb = blobs.colour[chosen]
    quarter = max(1, len(rgb) // 4)
    first, last = np.median(rgb[:quarter], axis=0), np.median(rgb[-quarter:], axis=0)
    names = name_colours(np.vstack([first[None], last[None], np.median(rgb, axis=0)[None], rgb]))
    begin, end, middle, each = names[0], names[1], names[2], np.array(names[3:])
    if begin != end and np.linalg.norm(np.subtract(*to_lab(np.stack([first, last])))) > COLOUR_CHANGE:
        steady = (each[:quarter] == begin).mean() >= AGREEMENT and (each[-quarter:] == end).mean() >= AGREEMENT
        return (begin if steady else UNCLEAR), (end if steady else UNCLEAR), np.ones(len(rgb), bool)
    agrees = (each == middle) & (blobs.colour_spread[chosen] < ONE_COLOUR)
    return (middle if agrees.mean() >= AGREEMENT else UNCLEAR), "", agrees


def _speed_px(motion: Motion, n_frames: int, height: int) -> float:
    return motion.path * height / (n_frames - 1)


def _name_size(radius: float) -> str:
    if radius < LEAST_RADIUS:
        return UNCLEAR
    return next((name for limit, name in SIZES if radius < limit), UNCLEAR)


def score(
    reading: Reading,
    attributes: Mapping[str, Any],
    in_play: Mapping[str, Sequence[Any]],
    *,
    resolution: int | None = None,  # of the true trajectories, px; None: the reading's own
) -> dict[str, bool | float]:
    """What a reading gets right of the attributes of a caption, and `joint`: everything that the caption says.

    Attributes with one value in play are never said, so they are left out, as are the size of a growing thing and the
    speed of a still one. With several things, an attribute is right when it is right for each.
    """
    truths = attributes["objects"]
    said = [name for name in ("shape", "colour", "digit", "motion") if name in truths[0]]
    said += [name for name in ("size", "speed") if len(in_play.get(name, ())) > 1]
    count_right = reading.count == len(truths)
    pairs = _pair(reading.objects, truths, said)
    result: dict[str, bool | float] = {"count": count_right}
    for name in said:
        result[name] = len(pairs) == len(truths) and all(_right(thing, truth, name) for thing, truth in pairs)
    if len(in_play.get("background", ())) > 1:
        result["background"] = reading.background == attributes["background"]
    result["joint"] = all(bool(value) for value in result.values())
    result["identity"] = float(np.mean([thing.identity for thing in reading.objects])) if reading.objects else 0.0
    result["flicker"] = reading.flicker
    errors = [_speed_error(thing, truth, reading, resolution) for thing, truth in pairs if truth["speed_px"] > 0.0]
    if errors:
        result["speed_error"] = float(np.mean(errors))
    return result


def _pair(
    things: Sequence[ObjectReading], truths: Sequence[Mapping[str, Any]], said: Sequence[str]
) -> list[tuple[ObjectReading, Mapping[str, Any]]]:
    """Each truth with the thing that fits it best, over all ways to pair them; nothing where there are too few."""
    if len(things) < len(truths) or len(things) > MAX_PAIRED:
        return []
    ways = permutations(things, len(truths))
    best = max(ways, key=lambda way: sum(_right(a, b, name) for a, b in zip(way, truths, strict=True) for name in said))
    return list(zip(best, truths, strict=True))


def _right(thing: ObjectReading, truth: Mapping[str, Any], name: str) -> bool:
    if name == "size" and truth["motion"] in ("grow", "shrink"):
        return True
    if name == "speed" and truth.get("speed") is None:
        return True
    if name == "colour":
        return thing.colour == truth["colour"] and thing.colour_to == truth.get("colour_to", "")
    return bool(getattr(thing, name) == truth[name])


def _speed_error(thing: ObjectReading, truth: Mapping[str, Any], reading: Reading, resolution: int | None) -> float:
    """|measured - true| / true, both over the whole clip, so that other frame counts and resolutions compare."""
    true_path = truth["speed_px"] * (len(truth["trajectory"]) - 1) / (resolution or reading.height)
    path = thing.speed_px * (reading.n_frames - 1) / reading.height
    return abs(path - true_path) / true_path
