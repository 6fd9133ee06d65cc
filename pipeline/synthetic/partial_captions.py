"""Captions that leave attributes out: "a triangle", "a red circle", "a shape moving left".

True of a clip, but of many others too. What a caption does not say is free: a model should choose it, each value about
as often as clips have it, and draw it as cleanly as what is said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from pipeline.synthetic.words import DIGITS, SIZES, SPEEDS, VERBS, does, with_article

ATTRIBUTES = ("shape", "digit", "colour", "size", "motion", "speed")  # that captions say of an object


@dataclass(frozen=True)
class PartialCaption:
    """A caption cut from one object, with the attributes that it says and those that it leaves out."""

    caption: str
    number: int  # of the object it was cut from
    said: tuple[str, ...]
    unsaid: tuple[str, ...]


def partial_captions(
    things: Sequence[Mapping[str, Any]],  # true attributes of objects, as in a clip's `attributes["objects"]`
    in_play: Mapping[str, Sequence[Any]],  # attribute values of the set, as set.json publishes them
    count: int,
    seed: int,
) -> list[PartialCaption]:
    """`count` captions, the ways to leave something out by turns, each of another object while there are any."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(things))
    captions = []
    for place in range(count):
        number = int(order[place % len(things)])
        thing = things[number]
        ways = _ways_to_leave_out(sayable(thing, in_play))
        if ways:
            said = ways[place % len(ways)]
            unsaid = tuple(name for name in sayable(thing, in_play) if name not in said)
            captions.append(PartialCaption(partial_caption(thing, said, place // len(ways)), number, said, unsaid))
    return captions


def sayable(thing: Mapping[str, Any], in_play: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """The attributes that a caption of an object can say: those it has, of more than one value in the set."""
    named = [name for name in ATTRIBUTES if thing.get(name) is not None and len(in_play.get(name, ())) > 1]
    if thing["motion"] in ("grow", "shrink"):  # its size is what changes
        named = [name for name in named if name != "size"]
    return tuple(named)


def partial_caption(thing: Mapping[str, Any], said: Collection[str], wording: int = 0) -> str:
    """A caption that says only `said` of an object; another `wording` chooses other words for the same."""
    words = [_noun_phrase(thing, said, wording), _motion(thing, said, wording)]
    if "speed" in said:
        speeds = SPEEDS[thing["speed"]]
        words.append(speeds[wording % len(speeds)])
    return " ".join(filter(None, words))


def _noun_phrase(thing: Mapping[str, Any], said: Collection[str], wording: int) -> str:
    size = SIZES[thing["size"]] if "size" in said else ""
    if "digit" in thing:
        name = str(thing["digit"]) if wording % 2 else DIGITS[thing["digit"]]
        return f"the digit {name}" if "digit" in said else "a digit"
    noun = thing["shape"] if "shape" in said else "shape"
    return with_article(" ".join(filter(None, (size, thing["colour"] if "colour" in said else "", noun))))


def _motion(thing: Mapping[str, Any], said: Collection[str], wording: int) -> str:
    if "motion" in said:
        return does(thing["motion"], wording, wording, thing.get("colour", ""), thing.get("colour_to", ""))[1]
    return VERBS[wording % len(VERBS)][1] if "speed" in said else ""


def _ways_to_leave_out(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every choice of some, but not all, of the attributes; those that say least and most by turns."""
    ways = [way for length in range(1, len(names)) for way in combinations(names, length)]
    return [way for pair in zip(ways, reversed(ways), strict=True) for way in pair][: len(ways)]
