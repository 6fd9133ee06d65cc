"""Own clips with labels: what is a label, readers that are right about clips they never saw, and what evaluate says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config.evaluation import JudgeParams
from pipeline.data.gif import Clip
from pipeline.data.shards import Row, load_rows, read_rows, to_row, write_set, write_shard
from pipeline.evaluation import evaluate
from pipeline.evaluation.labels import label_control, label_table
from pipeline.evaluation.prompt_sampler import Samples
from pipeline.evaluation.prompts import PromptSet, load_prompts
from pipeline.evaluation.scoring import EvaluatedPrompts
from pipeline.judge.build import build_judge, measure_readers
from pipeline.judge.judge import Judge, load_judge, save_judge
from pipeline.judge.label_readers import find_labels, score_label, train_label_reader, vary
from tests.test_evaluate import EVALUATE, clips_of, parrot

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "gray": (120, 120, 120)}
FORMS = ("bars", "block", "frame", "poles")
TINY = JudgeParams(steps=2, batch_size=8, lr=4e-3, width=8, feature_dim=16, seed=0)
PARAMS = TINY.model_copy(update={"steps": 120, "batch_size": 14})
HELD = {("red", "poles"), ("blue", "block")}


def form_row(split: str, number: int, colour: str, form: str) -> Row:
    """A form of 16 px that shakes somewhere on 32 px."""
    rng = np.random.default_rng([number, len(split), *map(ord, colour + form)])
    frames = np.full((4, 32, 32, 3), 255, np.uint8)
    mask = np.ones((16, 16), bool)
    if form == "frame":
        mask[3:-3, 3:-3] = False
    elif form != "block":
        mask = np.tile(np.arange(16) // 4 % 2 == 0, (16, 1))
    place = rng.integers(1, 14, 2)
    for frame in frames:
        y, x = place + rng.integers(-1, 2, 2)
        frame[y : y + 16, x : x + 16][mask if form != "bars" else mask.T] = COLOURS[colour]
    told = {"colour": colour, "form": form, "note": f"{split} {colour} {form} {number}", "kind": "shaking"}
    caption = f"a {colour} {form} shakes, {split} {number}"
    return to_row(Clip(f"{split}-{colour}-{form}-{number}", split, (caption,), frames, 10.0, "test", told))


def labelled_set(folder: Path, validation: dict[str, Any] | None = None, copies: int = 4) -> Path:
    """All combinations but HELD in train, those in held_out; in `validate` one clip of each seen one, or as said."""
    pairs = [(colour, form) for colour in COLOURS for form in FORMS]
    rows = [form_row("train", n, *pair) for n in range(copies) for pair in pairs if pair not in HELD]
    rows += [form_row("held_out", n, *pair) for n in range(2) for pair in sorted(HELD)]
    new = [form_row("validate", 9, *pair) for pair in pairs if pair not in HELD]
    rows += new if validation is None else [dataclasses.replace(each, attributes=validation) for each in new]
    write_shard(folder / "videos/shard-00000.parquet", rows)
    counts = {split: sum(row.split == split for row in rows) for split in ("train", "validate", "held_out")}
    write_set(
        folder / "videos",
        {"set": "videos", "counts": counts, "held_out": sorted(HELD), "held_out_columns": ["colour", "form"]},
    )
    return folder / "videos"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled_set(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def judge(shards: Path) -> Judge:
    """The judge that the stage builds of a few steps, its readers trained to the end."""
    few = build_judge(shards, TINY, torch.device("cpu")).judge
    train = load_rows(read_rows(shards, "train"))
    few.readers = tuple(
        train_label_reader(name, values, train.frames, train.attributes, PARAMS, few.device)
        for name, values in find_labels(train.attributes).items()
    )
    return measure_readers(few, shards)


def test_a_label_is_a_column_whose_values_clips_share() -> None:
    clips: list[dict[str, Any]] = [
        {"tone": "dark", "take": 1, "url": f"u{n}", "same": "x", "objects": [{}], "few": n // 7} for n in range(8)
    ]
    clips += [{"tone": "light", "take": 2, "url": "u8"}, {"tone": "light", "url": "u9"}]
    assert find_labels(clips) == {"few": ("0", "1"), "take": ("1", "2"), "tone": ("dark", "light")}


def test_a_score_is_of_the_labels_that_a_clip_has() -> None:
    values = {"tone": ("dark", "light"), "take": ("1", "2")}
    read = {"tone": "dark", "take": "2"}
    assert score_label(read, {"tone": "dark", "take": 2, "url": "u"}, values) == {
        "tone": True,
        "take": True,
        "joint": True,
    }
    assert score_label(read, {"tone": "light", "take": 2}, values) == {"tone": False, "take": True, "joint": False}
    assert score_label(read, {"take": 1}, values) == {"take": False, "joint": False}
    assert score_label(read, {"tone": "blue", "take": 2}, values) == {}, "a value that train never has"
    assert score_label(read, {"url": "u"}, values) == {}


def test_varied_clips_keep_their_shape_and_range_and_differ() -> None:
    video = torch.rand(3, 3, 2, 32, 32) * 2 - 1
    one, same, other = (vary(video, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one.shape == video.shape
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    flat = vary(torch.zeros(2, 3, 2, 16, 16), torch.Generator().manual_seed(0))
    assert float(flat.std()) < 0.15, "edges are repeated, not blackened"


@pytest.mark.slow
def test_readers_are_right_about_clips_that_they_never_saw(judge: Judge, shards: Path, tmp_path: Path) -> None:
    assert judge.card.in_play == {"colour": sorted(COLOURS), "form": sorted(FORMS)}
    for name in ("colour", "form", "joint"):
        assert judge.card.metrics[f"oracle_on_real.{name}"] >= 0.75
    assert (judge.card.metrics["oracle_on_real.clips"], judge.card.metrics["oracle_on_real.unread"]) == (18, 0)
    held = load_rows(read_rows(shards, "held_out"))
    save_judge(tmp_path / "judge", judge, None)
    loaded = load_judge(tmp_path / "judge")
    assert loaded.card == judge.card
    assert loaded.read_labels(held.frames) == judge.read_labels(held.frames)
    save_judge(tmp_path / "again", loaded, None)
    for file in (tmp_path / "judge").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def evaluated(shards: Path, judge: Judge, mistakes: Callable[[str], str | None] = lambda _: None) -> dict[str, Any]:
    wrong = {caption: other for caption in clips_of(shards) if (other := mistakes(caption))}
    sampler = parrot(shards, mistakes=wrong)
    sampler.model.card = dataclasses.replace(sampler.model.card, dataset="videos")
    result = evaluate.evaluate_model(sampler, judge, shards, EVALUATE)
    json.dumps(evaluate.rounded(result.metrics), allow_nan=False)
    return result.metrics | {"samples": result.samples, "table": result.tables["accuracy"]}


@pytest.mark.slow
def test_a_model_that_is_right_reaches_the_ceiling_and_the_control_does_not(shards: Path, judge: Judge) -> None:
    found = evaluated(shards, judge)
    for kind, clips in (("seen", 14), ("held_out", 4), ("trained", 24)):
        assert (found[f"{kind}.clips"], found[f"{kind}.unread"]) == (clips, 0)
        assert found[f"{kind}.joint_low"] < found[f"{kind}.joint"] <= found[f"{kind}.joint_high"]
    assert found["seen.joint"] >= 0.9
    right = 14 * found["seen.joint"] + 4 * found["held_out.joint"]  # the samples are the very clips of the ceiling
    assert right / 18 == pytest.approx(judge.card.metrics["oracle_on_real.joint"], abs=1e-4)
    assert found["oracle_on_real.joint"] == judge.card.metrics["oracle_on_real.joint"]
    assert found["caption_shuffle.colour_chance"] < 0.35
    assert found["caption_shuffle.joint"] < 0.3
    assert found["trained.own_clip"] > 0.9
    assert "retrieval.r1" in found
    shown = next(sample for sample in found["samples"] if sample.role == "model")
    assert shown.scores.reading == {name: shown.wanted[name] for name in ("colour", "form")}
    values = [(row["attribute"], row["value"]) for row in found["table"] if row["kind"] == "held_out"]
    assert values == [
        *((name, "all") for name in ("colour", "form", "joint")),
        *(("colour", value) for value in ("blue", "red")),
        *(("form", value) for value in ("block", "poles")),
    ]


@pytest.mark.slow
def test_a_model_that_mistakes_a_colour_is_told_so(shards: Path, judge: Judge) -> None:
    others = {caption: caption.replace("a red", "a green") for caption in clips_of(shards)}
    found = evaluated(shards, judge, lambda caption: others[caption] if others[caption] in clips_of(shards) else None)
    assert found["seen.form"] >= 0.9
    assert found["seen.colour"] == pytest.approx(11 / 14, abs=0.08)
    assert found["seen.joint"] <= found["seen.colour"]
    assert found["seen.failures"] == round(14 * (1 - found["seen.joint"]))


@pytest.mark.slow
def test_without_validation_clips_of_seen_combinations_training_captions_are_asked(tmp_path: Path) -> None:
    shards = labelled_set(tmp_path, {"colour": "violet", "form": "block"})
    card = dataclasses.replace(parrot(shards).model.card, dataset="videos")
    asked = load_prompts(shards, card, count=7, seed=0)
    assert [(each.kind, each.split, len(each)) for each in asked] == [("seen", "train", 7), ("held_out", "held_out", 4)]
    rows = list(read_rows(shards, "train"))
    assert asked[0].keys == [rows[place].key for place in np.linspace(0, len(rows) - 1, 7).round().astype(int)]
    judge = build_judge(shards, TINY, torch.device("cpu")).judge
    assert judge.card.metrics["oracle_on_real.unread"] == 14
    assert judge.card.metrics["oracle_on_real.clips"] == 4


def test_the_control_is_the_mean_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    values = {"tone": ("a", "b", "c"), "take": ("1", "2")}
    wanted = [{"tone": str(rng.choice(values["tone"])), "url": "u"} for _ in range(9)]
    wanted = [each | ({"take": str(rng.choice(values["take"]))} if n % 3 else {}) for n, each in enumerate(wanted)]
    read = [{name: str(rng.choice(of)) for name, of in values.items()} for _ in range(9)]
    scores = [score_label(*pair, values) for pair in zip(read, wanted, strict=True)]
    prompts = PromptSet("seen", [""] * 9, list(wanted), [""] * 9, np.zeros((9, 1, 1, 1, 3), np.uint8), 0)
    each = EvaluatedPrompts(prompts, Samples(prompts.real, 1.0, 9), [], scores, list(read))
    found = label_control(each, values, seed=0)
    pairs = [(score_label(read[i], wanted[j], values), i, j) for i in range(9) for j in range(9) if i != j]
    assert found["caption_shuffle.joint_chance"] == pytest.approx(np.mean([score["joint"] for score, _, _ in pairs]))
    assert found["caption_shuffle.tone_chance"] == pytest.approx(np.mean([score["tone"] for score, _, _ in pairs]))
    both = [score["take"] for score, i, j in pairs if "take" in wanted[i] and "take" in wanted[j]]
    assert found["caption_shuffle.take_chance"] == pytest.approx(np.mean(both))
    assert sorted(row["clips"] for row in label_table(each) if row["value"] == "all") == [6, 9, 9]
