"""What is held out stays out: combinations and wordings; and each caption means one thing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import product

import pytest

from pipeline.config.data import Colour, Shape, ShapeMotion
from pipeline.synthetic.grammar import ObjectPhrase, Template, build_grammar, say
from pipeline.synthetic.shapes import shapes_set
from tests.synthetic_toys import members, shapes_params, whole_grammar


def words(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text))


def meanings() -> list[tuple[ObjectPhrase, str | None]]:
    """Every motion, colour and word once at least."""
    found: list[tuple[ObjectPhrase, str | None]] = []
    speeds, sizes, grounds = (
        ("slow", "normal", "fast", None),
        ("small", "medium", "large", None),
        ("dots", "solid", None),
    )
    for n, (how, colour, shape) in enumerate(product(members(ShapeMotion), members(Colour), members(Shape))):
        to = "red" if colour != "red" else "orange"
        still = how in ("still", "change-colour")
        found.append(
            (
                ObjectPhrase(
                    shape,
                    colour,
                    how,
                    size=sizes[n % 4],
                    speed=None if still else speeds[n % 3],
                    colour_to=to if how == "change-colour" else "",
                ),
                grounds[n % 3],
            )
        )
    return found


def digit_meanings() -> list[tuple[ObjectPhrase, str | None]]:
    motions = [how for how in members(ShapeMotion) if how.startswith(("left", "right", "up", "down", "bounce"))]
    return [(ObjectPhrase("digit", str(digit), how), None) for digit, how in product(range(10), motions)]


@pytest.fixture(scope="module")
def templates() -> tuple[list[tuple[Template, ...]], list[tuple[Template, ...]]]:
    grammar = build_grammar(shapes_params(held_out_templates=8), (1, 2))
    return list(grammar.train), list(grammar.reworded)


def test_reworded_captions_use_only_words_of_train_for_the_same_meaning(templates) -> None:
    train, reworded = templates
    for phrase, ground in meanings() + digit_meanings():
        other = (
            ObjectPhrase("circle", "pink", "still") if phrase.noun != "digit" else ObjectPhrase("digit", "7", "left")
        )
        for several, objects in ((False, [phrase]), (True, [phrase, other])):
            known = set().union(*(words(say(template, objects, ground)) for template in train[several]))
            for template in reworded[several]:
                assert words(say(template, objects, ground)) <= known, (template.id, say(template, objects, ground))


def test_no_sentence_form_of_reworded_occurs_in_train(templates) -> None:
    train, reworded = templates
    forms = {(template.opening, template.clause, template.join) for kind in train for template in kind}
    assert not forms & {(template.opening, template.clause, template.join) for kind in reworded for template in kind}
    for phrase, ground in meanings() + digit_meanings():
        said = [say(template, [phrase], ground) for template in (*train[0], *reworded[0])]
        assert len(set(said)) == len(said) >= 36


def test_a_caption_has_one_meaning(templates) -> None:
    train, reworded = templates
    meant: dict[str, tuple] = {}
    for phrase, ground in meanings() + digit_meanings():
        for template in (*train[0], *reworded[0]):
            caption = say(template, [phrase], ground)
            assert meant.setdefault(caption, (phrase, ground)) == (phrase, ground), caption
            assert phrase.adjective in caption or phrase.noun == "digit"
            assert phrase.noun in caption or phrase.noun == "digit"


def test_captions_are_tidy_english(templates) -> None:
    for phrase, ground in meanings():
        for template in (*templates[0][0], *templates[1][0]):
            caption = say(template, [phrase], ground)
            assert not re.search(r"  |[{}]|\ba [aeiou]|\ban [^aeiou8]|ly \w+ly\b| ,|^ | $", caption), caption
            assert len(caption.split()) <= 30


@pytest.mark.parametrize("objects", [(1,), (1, 2, 3)])
def test_no_held_out_combination_or_template_in_train(objects: tuple[int, ...]) -> None:
    drawn = shapes_set(shapes_params(objects=objects))
    held = set(drawn.combinations.held_out)
    kept = drawn.description()["templates"]
    assert len(held) == 12
    assert not set(kept["train"]) & set(kept["reworded"])
    said: dict[str, set[str]] = defaultdict(set)
    for split in ("train", "val", "held_out", "reworded"):
        for index in range(84):
            row = drawn.row(split, index)
            for thing in row.attributes["objects"]:
                is_held = (thing["shape"], thing["colour"], thing["motion"]) in held
                assert is_held == (split == "held_out"), (split, index)
            assert set(row.attributes["templates"]) <= set(kept["reworded" if split == "reworded" else "train"])
            assert len(set(row.captions)) == len(row.captions) == len(row.attributes["templates"]) == 4
            said[split].update(row.captions)
    assert not said["train"] & said["reworded"]
    assert not said["train"] & said["held_out"]


@pytest.mark.parametrize("seed", range(3))
def test_each_value_keeps_most_of_its_combinations(seed: int) -> None:
    combinations = shapes_set(whole_grammar().model_copy(update={"seed": seed})).combinations
    seen = Counter((place, value) for item in combinations.seen for place, value in enumerate(item))
    held = Counter((place, value) for item in combinations.held_out for place, value in enumerate(item))
    shares = [held[key] / (held[key] + seen[key]) for key in seen]
    assert set(held) <= set(seen)
    assert max(shares) < 0.19
    assert min(shares) > 0.06


def test_combinations_have_equally_many_clips_and_every_speed() -> None:
    drawn = shapes_set(shapes_params())
    counts: Counter = Counter()
    for index in range(84 * 2 + 40):
        thing = drawn.row("train", index).attributes["objects"][0]
        counts[thing["shape"], thing["colour"], thing["motion"], thing["speed"]] += 1
    combinations: Counter = Counter()
    for (*combination, _), count in counts.items():
        combinations[tuple(combination)] += count
    assert len(combinations) == 84
    assert len(counts) == 168
    assert set(combinations.values()) == {2, 3}


def test_the_default_set_has_few_enough_captions_to_embed() -> None:
    grammar = build_grammar(shapes_params(), (1,))
    assert 24 <= len(grammar.train[0]) <= 32
    assert len(grammar.reworded[0]) == 4
    assert (len(grammar.train[0]) + len(grammar.reworded[0])) * 3 * 4 * 8 * 2 <= 8000


def test_words_for_what_does_not_vary_are_left_out() -> None:
    one = shapes_set(shapes_params(speeds=["fast"]))
    text = " ".join(caption for index in range(40) for caption in one.row("train", index).captions)
    assert not words(text) & {"quickly", "rapidly", "fast", "pace", "speed", "medium-sized", "background"}
    more = shapes_set(shapes_params(sizes=["small", "large"], backgrounds=["white", "dots"]))
    for index in range(20):
        row = more.row("train", index)
        ground = {"white": "white background", "dots": "dotted background"}[row.attributes["background"]]
        assert all(ground in caption and row.attributes["objects"][0]["size"] in caption for caption in row.captions)


def test_one_value_lists_and_empty_splits_are_fine() -> None:
    only = {"shapes": ["star"], "colours": ["red"], "motions": ["left"], "speeds": ["fast"]}
    drawn = shapes_set(
        shapes_params(**only, held_out_share=0.0, held_out_clips=0, held_out_templates=0, reworded_clips=0)
    )
    assert drawn.row("train", 3).attributes["objects"][0]["motion"] == "left"
    with pytest.raises(ValueError, match="train_clips"):
        shapes_params(train_clips=0)
