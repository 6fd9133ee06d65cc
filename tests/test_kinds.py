"""Kinds of scene: captions true of every frame, what is held out, and an oracle that reads them and notices a fault."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from pipeline.config.data import Colour, Shape, ShapeMotion
from pipeline.data.shards import Row
from pipeline.evaluation.prompt_sampler import Samples
from pipeline.evaluation.prompts import PromptSet
from pipeline.evaluation.scenes import scene_metrics, scene_table
from pipeline.evaluation.scoring import EvaluatedPrompts, score_readings
from pipeline.judge.features import FeatureNet
from pipeline.judge.judge import Judge, JudgeCard
from pipeline.judge.oracles.world.reading import WorldReading, read_world
from pipeline.judge.oracles.world.score import score_world, swapped
from pipeline.synthetic.backgrounds import make_background
from pipeline.synthetic.kinds.drawn import draw_scene
from pipeline.synthetic.kinds.kind import Kind, Scene
from pipeline.synthetic.shapes import ShapesSet, shapes_set
from pipeline.synthetic.words import does
from tests.synthetic_toys import members, shapes_params

SEED = 9213  # no threshold was set on clips of this seed
KINDS = ("counts", "relations", "change", "order", "contact")
SPLITS = ("train", "val", "held_out", "reworded")


@cache
def world(*kinds: str, backgrounds: tuple[str, ...] = ("white", "solid", "dots", "grid", "stripes")) -> ShapesSet:
    """Every shape, colour and motion in play."""
    return shapes_set(
        shapes_params(
            shapes=members(Shape),
            colours=members(Colour),
            motions=members(ShapeMotion),
            backgrounds=backgrounds,
            kinds=kinds,
            seed=SEED,
        )
    )


def score(reading: WorldReading, attributes: dict[str, Any], *kinds: str) -> dict[str, bool | float]:
    return score_world(reading, attributes, world(*kinds).description()["attributes"])


def rows_of(kind: str, count: int) -> list[Row]:
    made = world(kind)
    return [made.row(SPLITS[1 + n % 3], n) for n in range(count)]


def kind_of_scene(name: str) -> Kind:
    return next(kind for kind in world(*KINDS, backgrounds=("white",)).kinds if kind.name == name)


def on_white(scene: Scene, *, layered: bool = False) -> np.ndarray:
    """uint8 (F, 64, 64, 3)."""
    background = make_background("white", [], 64, np.random.default_rng(0))
    return draw_scene(scene, background, layered=layered).frames()


# Captions


@pytest.mark.parametrize("name", KINDS)
def test_what_is_held_out_never_occurs_in_train(name: str) -> None:
    made = world(name)
    kind = made.kinds[0]
    held = {tuple(item) for item in made.description()["kinds"][name]["held_out"]}
    assert len(held) >= 10
    assert held.isdisjoint(kind.combinations.seen)
    said: dict[str, set[str]] = {}
    for split in SPLITS:
        rows = [made.row(split, n) for n in range(40)]
        for row in rows:
            assert (combination_of(name, row) in held) == (split == "held_out")
            forms = kind.forms.reworded if split == "reworded" else kind.forms.train
            assert set(row.attributes["templates"]) <= {form.id for form in forms}
            assert len(set(row.captions)) == len(row.captions) == 4
        said[split] = {caption for row in rows for caption in row.captions}
    assert not said["train"] & (said["reworded"] | said["held_out"])


def combination_of(name: str, row: Row) -> tuple[str, ...]:
    """What is held out of a kind, from what its shards publish."""
    told, things = row.attributes, row.attributes["objects"]
    shape, colour = things[0]["shape"], things[0]["colour"]
    return {
        "counts": lambda: (shape, colour, str(told["count"])),
        "relations": lambda: (told["relation"], colour, things[1]["colour"]),
        "change": lambda: (shape, colour, things[0].get("colour_to", told["change"])),
        "order": lambda: (told["first"], told["then"]),
        "contact": lambda: (told["event"], told["side"], colour),
    }[name]()


@pytest.mark.parametrize("name", KINDS)
def test_new_sentences_use_words_of_train_for_the_same_meaning(name: str) -> None:
    kind = kind_of_scene(name)
    rng = np.random.default_rng(0)
    texts = {form.text for form in kind.forms.train}
    for combination in kind.combinations.seen[:: len(kind.combinations.seen) // 30]:
        scene = kind.scene(combination, rng)
        known = {word for form in kind.forms.train for word in words(form.say(kind.slots(scene, form), "dots"))}
        for form in kind.forms.reworded:
            caption = form.say(kind.slots(scene, form), "dots")
            assert form.text not in texts
            assert words(caption) <= known, caption
            assert not re.search(r"  |[{}]|\ba [aeiou]|\ban [^aeiou]| ,|^ | $", caption), caption


def words(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text))


def test_captions_are_true_of_every_frame() -> None:
    for row in rows_of("counts", 30):
        paths = np.array([thing["trajectory"] for thing in row.attributes["objects"]])
        assert len(paths) == row.attributes["count"]
        for one, other in combinations(paths, 2):
            assert (np.abs(one - other)[:, :2].max(axis=1) > 7.0).all()
    for row in rows_of("relations", 60):
        first, second = (np.array(thing["trajectory"]) for thing in row.attributes["objects"])
        away = (second - first)[:, :2]
        if row.attributes["relation"] == "behind":
            assert (np.hypot(*away.T) < first[:, 2] + second[:, 2]).all()
        else:
            along = 0 if row.attributes["relation"] == "left" else 1
            assert (away[:, along] > 2 * np.abs(away[:, 1 - along])).all()
        noun = [f"{thing['colour']} {thing['shape']}" for thing in row.attributes["objects"]]
        asked = noun if row.attributes["said"] == row.attributes["relation"] else noun[::-1]
        assert all(caption.index(asked[0]) < caption.index(asked[1]) for caption in row.captions)


def test_a_caption_in_order_names_the_first_motion_first_unless_it_says_after() -> None:
    kind = kind_of_scene("order")
    scene = kind.scene(("left", "up"), np.random.default_rng(0))
    for form in (*kind.forms.train, *kind.forms.reworded):
        caption = form.say(kind.slots(scene, form), None)
        first, then = (does(how, form.word, form.way) for how in ("left", "up"))
        places = [min(caption.find(words) % 999 for words in said) for said in (first, then)]
        turned = ("{g2}" in form.text and form.text.startswith("before")) or "{v2} after" in form.text
        assert (places[0] > places[1]) == turned, caption


def test_the_default_set_says_nothing_of_kinds() -> None:
    made = shapes_set(shapes_params())
    assert made.shares == ("objects",)
    assert not {"kind", "kinds"} & (set(made.row("val", 0).attributes) | set(made.description()))
    assert "kind" not in made.description()["attributes"]


def test_kinds_take_turns_and_the_number_of_objects_counts() -> None:
    made = shapes_set(shapes_params(objects=(1, 2), kinds=("objects", "counts")))
    assert [made.row("train", n).attributes["kind"] for n in range(6)] == ["objects", "objects", "counts"] * 2


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"kinds": ("counts",), "resolution": 32}, "resolution"),
        ({"kinds": ("order",), "frames": 9}, "frames"),
        ({"kinds": ("objects", "relations"), "colours": ("red",), "held_out_share": 0.25}, "colours"),
    ],
)
def test_kinds_that_cannot_be_seen_are_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        shapes_params(**changes)


def test_a_kind_with_too_little_to_hold_out_is_refused() -> None:
    few = shapes_params(kinds=("order",), motions=("left", "right"))
    with pytest.raises(ValueError, match="order"):
        shapes_set(few)
    with pytest.raises(ValueError, match="nothing can be shown of order"):
        shapes_set(shapes_params(kinds=("order",), motions=("still", "left"), held_out_clips=0))


# The oracle


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_and_its_opposite_is_not(name: str) -> None:
    for row in rows_of(name, 12):
        reading = read_world(row.frames())
        assert score(reading, row.attributes, name)["joint"], (row.key, row.captions)
        opposite = swapped(row.attributes)
        assert opposite is not None
        assert not score(reading, opposite, name)["joint"], (row.key, row.captions)


@pytest.mark.parametrize("name", KINDS)
def test_what_a_person_can_still_read_is_read(name: str) -> None:
    """Soft edges, a wrong shade and noise: a blurred thing is not two, a pale rim and a core."""
    made, rng = world(name, backgrounds=("white",)), np.random.default_rng(0)
    found = []
    for row in [made.row(SPLITS[1 + n % 3], n) for n in range(8)]:
        soft = ndimage.gaussian_filter(row.frames().astype(np.float32), (0, 0.7, 0.7, 0))
        frames = (0.94 * soft + 8.0 + rng.normal(0.0, 6.0, soft.shape)).round().clip(0, 255).astype(np.uint8)
        found.append(score(read_world(frames), row.attributes, name))
    assert all(each["count"] for each in found)
    assert np.mean([each["joint"] for each in found]) >= (0.85 if name in ("relations", "contact") else 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_real_clips_of_every_kind_are_read(name: str) -> None:
    right = [score(read_world(row.frames()), row.attributes, name)["joint"] for row in rows_of(name, 60)]
    assert np.mean(right) >= 0.99


def scene_of(name: str, combination: tuple[str, ...], seed: int = 3) -> tuple[Kind, Scene, dict[str, Any]]:
    kind = kind_of_scene(name)
    scene = kind.scene(combination, np.random.default_rng(seed))
    return kind, scene, {"kind": name, **scene.told, "background": "white", "objects": scene.truths()}


@pytest.mark.parametrize("count", [2, 5, 9])
def test_a_count_off_by_one_is_noticed(count: int) -> None:
    _, scene, truth = scene_of("counts", ("star", "red", str(count)))
    assert score(read_world(on_white(scene)), truth, "counts")["joint"]
    fewer = replace(scene, things=scene.things[1:], paths=scene.paths[1:])
    right = score(read_world(on_white(fewer)), truth, "counts")
    assert [name for name, value in right.items() if value is False] == ["count", "joint"]


def test_a_mirrored_relation_is_noticed() -> None:
    for relation, axis in (("left", 2), ("above", 1)):
        _, scene, truth = scene_of("relations", (relation, "red", "blue"))
        still = replace(scene, paths=[np.repeat(path[:1], len(path), axis=0) for path in scene.paths])
        truth["objects"] = [{**thing, "motion": "still"} for thing in truth["objects"]]
        frames = on_white(still, layered=True)
        assert score(read_world(frames), truth, "relations")["joint"]
        mirrored = score(read_world(np.flip(frames, axis)), truth, "relations")
        assert not mirrored["relation"]
        assert mirrored["colour"]
        assert mirrored["count"]


@pytest.mark.parametrize("seed", range(4))
def test_the_wrong_thing_in_front_is_noticed(seed: int) -> None:
    _, scene, truth = scene_of("relations", ("behind", "orange", "cyan"), seed)
    assert score(read_world(on_white(scene, layered=True)), truth, "relations")["joint"]
    turned = replace(scene, things=scene.things[::-1], paths=scene.paths[::-1])
    right = score(read_world(on_white(turned, layered=True)), truth, "relations")
    assert not right["relation"]
    assert right["colour"]


def test_a_change_run_backwards_is_noticed() -> None:
    _, scene, truth = scene_of("change", ("square", "green", "purple"))
    frames = on_white(scene)
    assert score(read_world(frames), truth, "change")["joint"]
    assert not score(read_world(frames[::-1]), truth, "change")["colour"]
    _, scene, truth = scene_of("change", ("square", "green", "grow-shrink"))
    frames = on_white(scene)
    inside_out = np.concatenate([frames[8:], frames[:8]])
    assert score(read_world(frames), truth, "change")["joint"]
    assert not score(read_world(inside_out), truth, "change")["motion"]


@pytest.mark.parametrize("combination", [("left", "up"), ("grow", "down"), ("up-right", "rotate-clockwise")])
def test_halves_in_the_other_order_are_noticed(combination: tuple[str, str]) -> None:
    _, scene, truth = scene_of("order", combination)
    frames = on_white(scene)
    assert score(read_world(frames), truth, "order")["joint"]
    right = score(read_world(np.concatenate([frames[8:], frames[:8]])), truth, "order")
    assert [name for name, value in right.items() if value is False] == ["order", "joint"]


@pytest.mark.parametrize("event", ["wall", "off", "push"])
def test_a_contact_that_is_taken_away_is_noticed(event: str) -> None:
    """All as it was, but for a few px between the thing and what it should touch."""
    _, scene, truth = scene_of("contact", (event, "left", "red"))
    assert score(read_world(on_white(scene, layered=True)), truth, "contact")["joint"]
    away = scene.paths[0] + np.array([4.0, 0.0, 0.0, 0.0])
    right = score(read_world(on_white(replace(scene, paths=[away, *scene.paths[1:]]), layered=True)), truth, "contact")
    assert [name for name, value in right.items() if value is False] == ["contact", "joint"]


def test_things_in_contact_touch_and_do_not_cover_each_other() -> None:
    """By pixels: the frame in which they meet has both whole, with no clear line between them."""
    for seed, (side, axis) in enumerate((("left", 1), ("right", 1), ("up", 0), ("down", 0))):
        _, scene, _ = scene_of("contact", ("off", side, "red"), seed)
        meets = int(np.abs(np.diff(scene.paths[0][:, 1 - axis], 2)).argmax()) + 1
        alone = [
            on_white(Scene([t], [p], {}), layered=True)[meets] for t, p in zip(scene.things, scene.paths, strict=True)
        ]
        one, other = ((frame < 170).any(axis=-1) for frame in alone)
        assert (one & other).sum() <= 0.06 * min(one.sum(), other.sum())
        spans = [np.flatnonzero(mask.any(axis=1 - axis)) for mask in (one, other)]
        assert max(span[0] for span in spans) - min(span[-1] for span in spans) <= 1


def painted(draw: Any) -> np.ndarray:
    """A still clip of what `draw(canvas)` paints at eight times the size: no code of the generator's."""
    big = Image.new("RGB", (512, 512), "white")
    draw(ImageDraw.Draw(big))
    return np.repeat(np.asarray(big.resize((64, 64), Image.Resampling.BOX))[None], 16, axis=0)


def test_clips_painted_by_another_hand_are_read() -> None:
    def seven(canvas: ImageDraw.ImageDraw) -> None:
        for n in range(7):
            x, y = 60 + 150 * (n % 3), 70 + 150 * (n // 3)
            canvas.ellipse((x - 40, y - 40, x + 40, y + 40), fill=(222, 38, 38))

    def behind(canvas: ImageDraw.ImageDraw) -> None:
        canvas.rectangle((140, 140, 280, 280), fill=(38, 78, 222))
        canvas.ellipse((220, 200, 360, 340), fill=(246, 208, 24))

    reading = read_world(painted(seven))
    assert reading.count == 7
    assert {(thing.colour, thing.shape, thing.motion) for thing in reading.objects} == {("red", "circle", "still")}
    reading = read_world(painted(behind))
    named = {(thing.colour, thing.shape): place for place, thing in enumerate(reading.objects)}
    assert reading.relations == {("behind", named["blue", "square"], named["yellow", "circle"])}


# Evaluation


def test_metrics_come_by_kind_beside_their_controls() -> None:
    made = world(*KINDS)
    rows = [made.row("val", n) for n in range(20)]
    with_faults = [row.frames() for row in rows]
    with_faults[3] = with_faults[3][::-1]  # the clip of an order, backwards
    card = JudgeCard("shapes", 64, 16, 8, 8, made.description()["attributes"], {})
    judge = Judge(card, FeatureNet(8, 8), torch.zeros(8), torch.ones(8))
    attributes = [row.attributes for row in rows]
    readings = [judge.read(frames) for frames in with_faults]
    frames = np.stack(with_faults)
    prompts = PromptSet("seen", ["" for _ in rows], attributes, [row.key for row in rows], frames, 0, "val")
    evaluated = EvaluatedPrompts(
        prompts, Samples(frames, 0.0, 0), readings, score_readings(judge, readings, attributes)
    )
    metrics = scene_metrics(judge, evaluated, evaluated.scores, 0)
    assert [metrics[f"{name}.seen.joint"] for name in KINDS] == [1.0, 1.0, 1.0, 0.75, 1.0]
    assert [metrics[f"{name}.seen.swapped"] for name in KINDS] == [0.0] * 5
    assert metrics["order.seen.failures"] == 1
    assert metrics["order.seen.shuffled"] < 0.5
    curve = {key for key in metrics if key.startswith("counts.seen.exact_")}
    assert curve == {f"counts.seen.exact_{each['count']}" for each in attributes if each["kind"] == "counts"}
    table = {(row["kind"], row["attribute"], row["value"]): row["share"] for row in scene_table(evaluated)}
    assert table["order.seen", "order", "all"] == 0.75
