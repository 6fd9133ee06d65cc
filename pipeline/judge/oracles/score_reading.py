"""Scores of a reading: its agreement with the attributes that a caption was written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from pipeline.judge.oracles.reading import ObjectReading, Reading

Scores = Mapping[str, bool | float]  # of one clip: right or wrong by attribute, `joint`, and a few floats
MAX_PAIRED = 5  # things: no caption speaks of more


def score_reading(
    reading: Reading,
    attributes: Mapping[str, Any],
    in_play: Mapping[str, Sequence[Any]],
    *,
    resolution: int | None = None,  # of the true trajectories, px; None: the reading's own
) -> dict[str, bool | float]:
    """Right or wrong for each attribute of a caption, and `joint`: everything that the caption says.

    Attributes with one value in play are never said, so they are left out, as are the size of a growing thing and the
    speed of a still one. With several things, an attribute is right when it is right for each.
    """
    truths = attributes["objects"]
    said = [name for name in ("shape", "colour", "digit", "motion") if name in truths[0]]
    said += [name for name in ("size", "speed") if name in truths[0] and len(in_play.get(name, ())) > 1]
    count_right = reading.count == len(truths)
    pairs = pair_things(reading.objects, truths, said)
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


def pair_things(
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
    n_frames = truth["frames"] if "frames" in truth else len(truth["trajectory"])  # a prompt list says no more
    true_path = truth["speed_px"] * (n_frames - 1) / (resolution or reading.height)
    path = thing.speed_px * (reading.n_frames - 1) / reading.height
    return abs(path - true_path) / true_path
