"""Scores of a reading of the whole world, each kind by what its captions say; and the caption that it must not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.judge.oracles.motion import UNCLEAR
from pipeline.judge.oracles.reading import AGREEMENT
from pipeline.judge.oracles.score_reading import pair_things, score_reading
from pipeline.judge.oracles.world.events import Event
from pipeline.judge.oracles.world.reading import WorldReading

OBJECTS = "objects"  # the kind of things on their own ways
SIZES = {1: "one", 2: "two"}  # what evaluation calls clips of that kind, by how many things; of more: several
OPPOSITE_SIDE = {"left": "right", "right": "left", "up": "down", "down": "up"}
SWELLS = {"grow-shrink": "shrink-grow", "shrink-grow": "grow-shrink"}


def kind_of(attributes: Mapping[str, Any]) -> str:
    """The name under which a clip's scores are reported: one, two, several, or its kind."""
    kind = str(attributes.get("kind", OBJECTS))
    return SIZES.get(len(attributes["objects"]), "several") if kind == OBJECTS else kind


def is_single(attributes: Mapping[str, Any]) -> bool:
    """Whether a clip shows one thing on its own way, whose shape, colour, size, motion and speed can each be asked."""
    return len(attributes["objects"]) == 1 and attributes.get("kind", OBJECTS) == OBJECTS


def score_world(
    reading: WorldReading,
    attributes: Mapping[str, Any],
    in_play: Mapping[str, Sequence[Any]],
    *,
    resolution: int | None = None,
) -> dict[str, bool | float]:
    """Right or wrong for each attribute that a caption says, and `joint`, as `score_reading` gives them."""
    kind = str(attributes.get("kind", OBJECTS))
    if kind == OBJECTS:
        return score_reading(reading, attributes, in_play, resolution=resolution)
    if kind == "counts":
        return _joint(_score_count(reading, attributes), reading, attributes, in_play)
    if kind in ("order", "contact"):  # what moves when is said as a whole
        timeless = [
            {name: value for name, value in thing.items() if name != "motion"} for thing in attributes["objects"]
        ]
        right = _score_things(reading, {**attributes, "objects": timeless}, in_play)
        right[kind] = (_has_order if kind == "order" else _has_event)(reading, attributes)
        return _joint(right, reading, attributes, in_play)
    right = _score_things(reading, attributes, in_play)
    if kind == "relations":
        right["relation"] = _has_relation(reading, attributes)
    return _joint(right, reading, attributes, in_play)


def swapped(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The attributes of the caption that says the opposite: the control that a clip must not fit. None: there is none.

    Relations, hiding and contact by exchanging the two things (a wall: the opposite one), counts by one more or less,
    orders and changes backwards.
    """
    opposite = OPPOSITES.get(str(attributes.get("kind", OBJECTS)))
    return {**attributes, **opposite(attributes)} if opposite else None


def _opposite_count(attributes: Mapping[str, Any]) -> dict[str, Any]:
    count = attributes["count"]
    return {"count": count - 1 if count % 2 == 0 or count == MOST else count + 1}


def _opposite_change(attributes: Mapping[str, Any]) -> dict[str, Any]:
    thing = dict(attributes["objects"][0])
    if thing["motion"] in SWELLS:
        thing["motion"] = SWELLS[thing["motion"]]
    else:
        thing |= {"colour": thing["colour_to"], "colour_to": thing["colour"]}
    return {"objects": [thing]}


def _opposite_contact(attributes: Mapping[str, Any]) -> dict[str, Any]:
    if len(attributes["objects"]) > 1:
        return {"objects": attributes["objects"][::-1]}
    return {"side": OPPOSITE_SIDE[attributes["side"]]}


MOST = 9  # that captions count to
OPPOSITES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "counts": _opposite_count,
    "relations": lambda attributes: {"objects": attributes["objects"][::-1]},
    "change": _opposite_change,
    "contact": _opposite_contact,
    "order": lambda attributes: {"first": attributes["then"], "then": attributes["first"]},
}


def _score_count(reading: WorldReading, attributes: Mapping[str, Any]) -> dict[str, bool]:
    """Things all alike: their number, and each attribute right for most and another for none: they are small."""
    truth = attributes["objects"][0]
    right = {"count": reading.count == attributes["count"]}
    for name in ("shape", "colour", "motion"):
        named = [getattr(thing, name) for thing in reading.objects]
        enough = named.count(truth[name]) >= max(1.0, AGREEMENT * len(named))
        right[name] = enough and set(named) <= {truth[name], UNCLEAR}
    return right


def _score_things(
    reading: WorldReading, attributes: Mapping[str, Any], in_play: Mapping[str, Sequence[Any]]
) -> dict[str, bool]:
    scores = score_reading(reading, attributes, in_play)
    return {name: value for name, value in scores.items() if isinstance(value, bool) and name != "joint"}


def _has_order(reading: WorldReading, attributes: Mapping[str, Any]) -> bool:
    return reading.stages == ((attributes["first"], attributes["then"]),)


def _has_event(reading: WorldReading, attributes: Mapping[str, Any]) -> bool:
    places = _places(reading, attributes)
    if not places:
        return False
    return (
        Event(attributes["event"], attributes["side"], places[0], places[1] if len(places) > 1 else None)
        in reading.events
    )


def _has_relation(reading: WorldReading, attributes: Mapping[str, Any]) -> bool:
    """Whether the two things that fit the caption best are to each other as it says."""
    places = _places(reading, attributes)
    return len(places) == 2 and (attributes["relation"], *places) in reading.relations


def _places(reading: WorldReading, attributes: Mapping[str, Any]) -> list[int]:
    """Places in the reading of the things that fit those of a caption best; none where there are fewer."""
    pairs = pair_things(reading.objects, attributes["objects"], ("colour", "shape"))
    return [next(n for n, thing in enumerate(reading.objects) if thing is found) for found, _ in pairs]


def _joint(
    right: Mapping[str, bool],
    reading: WorldReading,
    attributes: Mapping[str, Any],
    in_play: Mapping[str, Sequence[Any]],
) -> dict[str, bool | float]:
    result: dict[str, bool | float] = dict(right)
    if len(in_play.get("background", ())) > 1:
        result["background"] = reading.background == attributes["background"]
    result["joint"] = all(result.values())
    identity = [thing.identity for thing in reading.objects]
    result["identity"] = sum(identity) / len(identity) if identity else 0.0
    result["flicker"] = reading.flicker
    return result
