"""Counting what captions leave open: blank clips, and how unsaid attributes are spread, on readings of known clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.prompts import PromptSet
from pipeline.evaluation.unsaid import UnsaidPrompts, blank_metrics, unsaid_metrics, unsaid_prompts, unsaid_wrong
from pipeline.judge.oracles.reading import Reading
from pipeline.judge.oracles.shapes import read_shapes
from pipeline.synthetic.shapes import shapes_set
from tests.synthetic_toys import shapes_params

SET = shapes_set(shapes_params())
IN_PLAY = SET.description()["attributes"]
COUNT = 400


@cache
def seen() -> PromptSet:
    attributes = [SET.row("val", index).attributes for index in range(80)]
    real = np.zeros((len(attributes), 1, 1, 1, 3), np.uint8)  # readings come from the truth below: no pixels needed
    return PromptSet("seen", [""] * 80, attributes, [f"val-{k}" for k in range(80)], real, 0)


@cache
def asked() -> UnsaidPrompts:
    found = unsaid_prompts(seen(), IN_PLAY, COUNT, seed=7)
    assert found is not None
    return found


@cache
def a_reading() -> Reading:
    return read_shapes(SET.row("val", 0).frames())


def readings(choose: Callable[[str, int], Any]) -> list[Reading]:
    """A model that shows what its caption says, and of the rest `choose(attribute, row)`."""
    prompts, shown = asked(), []
    for row, cut in enumerate(prompts.cuts):
        truth = prompts.prompts.attributes[row]["objects"][0]
        values = {name: truth[name] for name in cut.said} | {name: choose(name, row) for name in cut.unsaid}
        thing = dataclasses.replace(a_reading().objects[0], **values)
        shown.append(dataclasses.replace(a_reading(), objects=(thing,)))
    return shown


@cache
def real_things() -> list[dict[str, Any]]:
    return [SET.row("train", index).attributes["objects"][0] for index in range(400)]


def measured(shown: list[Reading]) -> dict[str, Any]:
    return unsaid_metrics(asked(), shown, real_things())[0]


def chosen_evenly(name: str, row: int) -> Any:
    values = IN_PLAY[name]
    return values[int(np.random.default_rng([row, len(name)]).integers(len(values)))]


def test_prompts_are_a_few_captions_by_many_seeds_of_their_own() -> None:
    prompts = asked().prompts
    assert len(prompts) == COUNT
    assert len(set(prompts.captions)) <= 25
    assert min(prompts.captions.count(caption) for caption in set(prompts.captions)) >= 16
    assert len(set(prompts.seeds())) == COUNT
    assert min(prompts.seeds()) == 7


def test_a_model_that_chooses_evenly_is_within_a_factor_of_two() -> None:
    found = measured(readings(chosen_evenly))
    assert found["unsaid.clean"] == 1.0
    for name in ("shape", "colour", "motion", "speed"):
        assert 0.5 < found[f"unsaid.{name}.least_ratio"] < 1.0 < found[f"unsaid.{name}.most_ratio"] < 2.0
        assert found[f"unsaid.{name}.clear"] == 1.0
        assert found[f"unsaid.{name}.agreement"] == pytest.approx(1 / len(IN_PLAY[name]), abs=0.05)
        assert found[f"unsaid.{name}.agreement_real"] == pytest.approx(1 / len(IN_PLAY[name]), abs=0.05)


def test_a_model_that_always_goes_right_is_caught() -> None:
    found = measured(readings(lambda name, row: "right" if name == "motion" else chosen_evenly(name, row)))
    assert found["unsaid.motion.least_ratio"] == 0.0
    assert found["unsaid.motion.most_ratio"] > 6.0
    assert found["unsaid.motion.agreement"] == 1.0
    assert found["unsaid.clean"] == 1.0
    assert found["unsaid.colour.least_ratio"] > 0.5


def test_a_caption_that_always_gives_the_same_is_caught_though_all_captions_together_are_even() -> None:
    captions = sorted(set(asked().prompts.captions))
    number = {caption: place for place, caption in enumerate(captions)}
    found = measured(
        readings(lambda name, row: IN_PLAY[name][number[asked().prompts.captions[row]] % len(IN_PLAY[name])])
    )
    assert found["unsaid.colour.agreement"] == 1.0
    assert found["unsaid.colour.agreement_real"] < 0.35


def test_an_olive_shape_is_not_clean_and_a_wrong_colour_that_was_said_is_wrong() -> None:
    olive = measured(readings(lambda name, row: "unclear" if name == "colour" else chosen_evenly(name, row)))
    said = sum("colour" in cut.said for cut in asked().cuts)
    assert olive["unsaid.clean"] == said / COUNT
    assert olive["unsaid.colour.clear"] == 0.0
    assert olive["unsaid.colour.least_ratio"] is None
    assert olive["unsaid.colour.agreement"] is None
    row = next(row for row, cut in enumerate(asked().cuts) if "colour" in cut.said and "shape" in cut.unsaid)
    shown = readings(chosen_evenly)[row]
    other = dataclasses.replace(shown, objects=(dataclasses.replace(shown.objects[0], colour="pink", shape="star"),))
    assert unsaid_wrong(asked(), row, shown) == ()
    assert unsaid_wrong(asked(), row, other) == ("colour", "shape")


def test_blank_and_part_blank_clips_are_counted() -> None:
    frames = SET.row("val", 1).frames()
    blank, part = np.full_like(frames, 255), frames.copy()
    part[5:8] = 255
    found = blank_metrics([read_shapes(clip) for clip in (frames, blank, part, frames)])
    assert found == {"blank_share": 0.25, "part_blank_share": 0.25}
    assert unsaid_wrong(asked(), 0, read_shapes(part)) == ("blank",)


def test_a_set_without_anything_to_leave_out_is_not_asked() -> None:
    assert unsaid_prompts(seen(), {"shape": ["circle"], "motion": ["left", "right"]}, 10, seed=0) is None
    assert unsaid_prompts(seen(), IN_PLAY, 0, seed=0) is None
