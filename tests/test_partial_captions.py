"""Captions that leave attributes out: true, cut in every way, and silent about the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pipeline.synthetic.partial_captions import ATTRIBUTES, partial_caption, partial_captions, sayable
from pipeline.synthetic.shapes import shapes_set
from pipeline.synthetic.words import SPEEDS, WAYS
from tests.synthetic_toys import shapes_params, whole_grammar

SET = shapes_set(shapes_params())
IN_PLAY = SET.description()["attributes"]
THINGS = [SET.row("val", index).attributes["objects"][0] for index in range(40)]


def words_for(name: str, value: str) -> list[str]:
    """What a caption may say for an attribute's value."""
    if name == "motion":
        return list(WAYS[value])
    return list(SPEEDS[value]) if name == "speed" else [value]


def says(caption: str, name: str, value: str) -> bool:
    return any(re.search(rf"(^|\s){re.escape(words)}($|\s)", caption) for words in words_for(name, value))


def test_a_partial_caption_says_what_it_claims_and_nothing_else() -> None:
    for cut in partial_captions(THINGS, IN_PLAY, 120, seed=0):
        thing = THINGS[cut.number]
        assert set(cut.said) | set(cut.unsaid) == {"shape", "colour", "motion", "speed"}
        assert cut.said
        assert cut.unsaid
        for name in cut.said:
            assert says(cut.caption, name, thing[name]), cut
        for name in cut.unsaid:
            assert not any(says(cut.caption, name, value) for value in IN_PLAY[name]), cut


def test_every_way_to_leave_something_out_occurs_and_the_seed_repeats() -> None:
    cuts = partial_captions(THINGS, IN_PLAY, 28, seed=1)
    assert len({cut.said for cut in cuts}) == 14  # the subsets of four attributes but none and all
    assert cuts == partial_captions(THINGS, IN_PLAY, 28, seed=1)
    assert cuts != partial_captions(THINGS, IN_PLAY, 28, seed=2)


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        (("shape",), "a triangle"),
        (("shape", "colour"), "a red triangle"),
        (("motion",), "a shape moving left"),
        (("speed",), "a shape moving slowly"),
        (("colour", "size", "motion", "speed"), "a small red shape moving left slowly"),
    ],
)
def test_words(said: tuple[str, ...], caption: str) -> None:
    thing = {"shape": "triangle", "colour": "red", "size": "small", "motion": "left", "speed": "slow"}
    assert partial_caption(thing, said) == caption


def test_digits_are_left_out_too() -> None:
    thing = {"digit": 8, "motion": "up"}
    assert partial_caption(thing, ("motion",)) == "a digit moving up"
    assert partial_caption(thing, ("digit",)) == "the digit eight"
    assert partial_caption(thing, ("digit",), wording=1) == "the digit 8"


def test_what_a_caption_cannot_say_is_not_left_out() -> None:
    grammar = shapes_set(whole_grammar())
    in_play = grammar.description()["attributes"]
    by_motion: dict[str, dict[str, Any]] = {}
    for index in range(120):
        thing = grammar.row("val", index).attributes["objects"][0]
        by_motion.setdefault(thing["motion"], thing)
    assert "size" not in sayable(by_motion["grow"], in_play)
    assert "speed" not in sayable(by_motion["still"], in_play)
    assert set(sayable(by_motion["left"], in_play)) == set(ATTRIBUTES) - {"digit"}
    assert sayable(by_motion["left"], {**in_play, "colour": ["red"]}) == ("shape", "size", "motion", "speed")
    changing = by_motion["change-colour"]
    assert changing["colour_to"] in partial_caption(changing, ("motion",))


def test_a_world_of_one_attribute_leaves_nothing_out() -> None:
    assert partial_captions(THINGS, {"colour": ["red", "blue"], "shape": ["circle"]}, 5, seed=0) == []
