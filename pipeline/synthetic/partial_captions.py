"""Captions that leave attributes out or are as terse as people type: true of the clip, and no more than that.

A network that has only read complete captions takes a missing word for a word it knows, or draws nothing at all. A
few captions of this kind teach that what is not said is free.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.synthetic.grammar import ObjectPhrase, Template, say
from pipeline.synthetic.words import STAYS_IN_PLACE

STREAM = 3  # of a clip's seed: its picture is the same with and without these captions
TEMPLATE = "partial"  # the id of them all
ANY_SHAPE = ("shape", "object", "thing")
# Slots as in grammar.py; {bare} red circle · {to} left, or the participle where a motion is no direction
_WITHOUT_VERB = (
    "{a}",
    "{bare}",
    "{the}",
    "{one}",
    "a video of {a}",
    "there is {a}",
    "the video shows {a}",
    "we see {a}",
    "an animation of {the}",
)
_WITH_VERB = (
    "{a} {v}{adv}{bg}",
    "{bare} {g}{adv}{bg}",
    "{the} is {g}{adv}{bg}",
    "{a} {g}{adv}{bg}",
    "{one} {v}{adv}{bg}",
    "a video of {a} {g}{adv}{bg}",
    "there is {a} {g}{adv}{bg}",
    "{the} {v}{adv}{bg}",
)
_TERSE = ("{bare} {to}{adv}{bg}", "{bare} {g}{adv}{bg}", "{bare}, {to}{adv}{bg}")


def replace_some(
    captions: Sequence[tuple[str, str]],  # of a clip of one object: template ids and texts
    share: float,
    item: ObjectPhrase,
    background: str | None,
    seed: int,  # of the clip
) -> list[tuple[str, str]]:
    """The captions, each replaced with probability `share` by a partial one that the clip has not got yet."""
    rng = np.random.default_rng([seed, STREAM])
    found = list(captions)
    for place in range(len(found)):
        replaces, text = rng.random() < share, partial_caption(item, background, rng)
        if replaces and all(text != other for _, other in found):
            found[place] = (TEMPLATE, text)
    return found


def partial_caption(item: ObjectPhrase, background: str | None, rng: np.random.Generator) -> str:
    """A caption that keeps any number of the attributes that `item` says, from none to all (then it is terse)."""
    said = [name for name in ("noun", "adjective", "motion", "size", "speed") if getattr(item, name) is not None]
    if item.noun == "digit":
        said.remove("noun")
    said += ["background"] if background is not None else []
    kept = set(rng.permutation(said)[: rng.integers(len(said) + 1)].tolist())
    shown = ObjectPhrase(
        noun=item.noun if "noun" in kept or "noun" not in said else ANY_SHAPE[rng.integers(len(ANY_SHAPE))],
        adjective=item.adjective if "adjective" in kept else None,
        motion=item.motion if "motion" in kept else None,
        size=item.size if "size" in kept else None,
        speed=item.speed if "speed" in kept else None,
        colour_to=item.colour_to,
    )
    forms = _forms(item.motion, kept, complete=len(kept) == len(said))
    verb, way, speed, before = rng.integers(60, size=4).tolist()  # 60: divides by the length of every list of words
    template = Template(TEMPLATE, forms[rng.integers(len(forms))], verb, way, speed, before)
    return say(template, [shown], background if "background" in kept else None)


def _forms(motion: str | None, kept: set[str], *, complete: bool) -> tuple[str, ...]:
    if complete:
        return _TERSE
    if "motion" in kept:
        return _WITH_VERB + _TERSE
    if motion in STAYS_IN_PLACE:  # "it moves" would be a lie
        return _WITHOUT_VERB
    return _WITH_VERB if "speed" in kept else _WITHOUT_VERB + _WITH_VERB
