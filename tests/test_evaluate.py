"""evaluate on toy models whose answers are known: right, wrong, out of memory, stopped; and on awkward real sets."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from pipeline.config.evaluation import EvaluateParams, JudgeParams
from pipeline.data.gif import Clip
from pipeline.data.samples import Sample, read_samples
from pipeline.data.shards import Row, read_rows, to_row, write_set, write_shard
from pipeline.evaluation import evaluate, plots
from pipeline.evaluation.prompt_sampler import PromptSampler, Samples
from pipeline.evaluation.prompts import PromptSet, load_prompts
from pipeline.evaluation.scoring import EvaluatedPrompts, evaluate_prompts
from pipeline.evaluation.showcase import showcase
from pipeline.evaluation.shuffle_control import reading_key
from pipeline.judge.build import build_judge
from pipeline.judge.features import FeatureNet
from pipeline.judge.judge import Judge, JudgeCard, save_judge
from pipeline.model_io.model_card import ModelCard
from pipeline.sampling.video_model import VideoModel
from pipeline.synthetic.shapes import shapes_set
from stages import evaluate as stage
from tests.model_toys import HashEncoder, toy_card, write_toy_model
from tests.synthetic_toys import shapes_params
from tests.training_toys import write_toy_params, write_toy_set

EVALUATE = EvaluateParams(
    prompts=24,
    batch_size=5,
    feature_clips=24,
    curve_prompts=6,
    guidance_scales=(1.0, 2.0),
    steps=(2,),
    unsaid_clips=0,
    showcase_prompts=2,
    showcase_seeds=2,
    seed=1000,
)
IN_PLAY = {
    "shape": ["circle", "square"],
    "colour": ["red", "blue"],
    "motion": ["left", "right", "up", "down", "up-left", "up-right", "down-left", "down-right"],
}


class Parrot(nn.Module):
    """A GAN that answers a caption with a real clip of it, or of the caption that `mistakes` puts in its place.

    Of captions that no clip has, it shows the clip that its seed falls on.
    """

    def __init__(self, clips: dict[str, np.ndarray], mistakes: dict[str, str] | None = None, limit: int = 99) -> None:
        super().__init__()
        self.clips = clips  # by caption
        self.mistakes, self.limit = mistakes or {}, limit
        self.batches: list[int] = []

    def sample(self, captions: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
        if len(captions) > self.limit:
            raise torch.OutOfMemoryError("no room")
        self.batches.append(len(captions))
        return self(torch.zeros(len(captions)), captions, seeds)

    def forward(self, _: torch.Tensor, captions: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
        free = list(self.clips)
        told = [
            self.mistakes.get(caption, caption if caption in self.clips else free[seed * 17 % len(free)])
            for caption, seed in zip(captions, seeds, strict=True)
        ]
        return torch.from_numpy(np.stack([self.clips[each] for each in told])).permute(0, 4, 1, 2, 3) / 127.5 - 1.0


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real shapes set: small, drawn by the pipeline."""
    folder = tmp_path_factory.mktemp("set") / "shapes"
    generated = shapes_set(shapes_params(shapes=("circle", "square"), colours=("red", "blue"), speeds=("slow",)))
    counts = {"train": 60, "val": 24, "held_out": 12, "reworded": 12}
    write_shard(
        folder / "shard-00000.parquet",
        [generated.row(split, index) for split, count in counts.items() for index in range(count)],
    )
    write_set(folder, {"set": "shapes", "counts": counts, "resolution": 64, "frames": 16, "fps": 10.0})
    return folder


@pytest.fixture(scope="module")
def judge() -> Judge:
    """The real oracles, with a feature network that was never trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = FeatureNet(8, 8)
    card = JudgeCard("shapes", 64, 16, 8, 8, IN_PLAY, {})
    return Judge(card, net, torch.zeros(8), torch.ones(8))


@cache
def clips_of(shards: Path) -> dict[str, np.ndarray]:
    """Clips of a set by each of their captions."""
    decoded = ((row.captions, row.frames()) for row in read_rows(shards))
    return {caption: frames for captions, frames in decoded for caption in captions}


def parrot(shards: Path, batch_size: int = 5, kept: Path | None = None, **options: Any) -> PromptSampler:
    clips = clips_of(shards)
    frames, side, *_ = next(iter(clips.values())).shape
    card: ModelCard = toy_card("gan", dataset="shapes", frames=frames, resolution=side)
    model = VideoModel(card, Parrot(clips, **options), torch.device("cpu"))
    return PromptSampler(model, None, None, batch_size, kept)


def asked_of(shards: Path, sampler: PromptSampler, count: int, seed: int = 0) -> PromptSet:
    return load_prompts(shards, sampler.model.card, count=count, seed=seed)[0]


@pytest.mark.slow
def test_a_model_that_is_right_scores_right_and_the_control_does_not(shards: Path, judge: Judge) -> None:
    result = evaluate.evaluate_model(parrot(shards), judge, shards, EVALUATE.model_copy(update={"unsaid_clips": 16}))
    found = result.metrics
    for kind, n in (("seen", 24), ("held_out", 12), ("reworded", 12)):
        assert found[f"{kind}.joint"] > 0.95
        assert found[f"{kind}.clips"] == n
        assert found[f"{kind}.joint_low"] < found[f"{kind}.joint"] <= found[f"{kind}.joint_high"]
    assert found["oracle_on_real.joint"] > 0.95
    assert found["caption_shuffle.joint"] < 0.35
    assert found["caption_shuffle.joint_chance"] < 0.2
    shapes = [row.attributes["objects"][0]["shape"] for row in read_rows(shards, "val")]
    alike = [a == b for i, a in enumerate(shapes) for j, b in enumerate(shapes) if i != j]
    assert found["caption_shuffle.shape_chance"] == pytest.approx(np.mean(alike), abs=0.01)
    assert found["seen.speed_error"] < 0.1
    assert 0.0 < found["real_pairs.speed_error"] < 0.2
    assert found["nearest_pixels.ratio"] == 1.0  # the samples are the very clips of the floor
    assert {"frechet.ratio", "kernel.floor", "coverage", "clips"} <= set(found)
    assert found["evaluations_per_clip"] == 1.0
    assert found["blank_share"] == found["part_blank_share"] == found["seen.blank_share"] == 0.0
    assert (found["blank.clips"], found["blank.seeds"]) == (24 + 12 + 12 + 16, 24 + 16)
    assert found["unsaid.clips"] == 16
    assert {sample.role for sample in result.samples if sample.kind == "unsaid"} <= {"model", "failure"}
    assert {"seconds", "seconds_per_clip", "device"} <= set(found)
    json.dumps(evaluate.rounded(found), allow_nan=False)


def test_only_captions_that_have_vectors_are_asked(shards: Path) -> None:
    card = parrot(shards).model.card
    rows = list(read_rows(shards, "val", limit=3))
    known = {rows[0].captions[1], *rows[2].captions}
    asked = load_prompts(shards, card, count=3, seed=0, known=known)[0]
    assert set(asked.captions) <= known
    assert asked.keys[0] == rows[0].key
    assert rows[1].key not in asked.keys or known & set(rows[1].captions)
    with pytest.raises(ValueError, match=r"raise embed\.max_tokens"):
        load_prompts(shards, card, count=3, seed=0, known=set())


def remembered(clips: np.ndarray, order: list[int], kind: str = "trained") -> dict[str, float]:
    asked = PromptSet(kind, list("abcd"), [{}] * 4, list("abcd"), clips, 0)
    noisy = (clips[order] * 0.9).astype(np.uint8)
    return evaluate.memory_metrics(EvaluatedPrompts(asked, Samples(noisy, 1.0, 4), [], []), 0)


def test_a_remembered_clip_is_its_captions_own_and_another_is_not() -> None:
    clips = np.random.default_rng(0).integers(256, size=(4, 2, 32, 32, 3), dtype=np.uint8)
    assert remembered(clips, [0, 1, 2, 3]) == {
        "trained.clips": 4,
        "trained.own_clip": 1.0,
        "trained.own_clip_chance": 0.25,
        "trained.own_clip_shuffled": 0.0,
    }
    assert remembered(clips, [0, 1, 3, 2])["trained.own_clip"] == 0.5
    assert remembered(clips, [0, 1, 2, 3], kind="seen") == {}


def test_a_clip_that_stands_there_twice_is_one() -> None:
    clips = np.random.default_rng(0).integers(256, size=(4, 2, 32, 32, 3), dtype=np.uint8)
    clips[2:] = clips[:2]
    found = remembered(clips, [0, 1, 2, 3])
    assert (found["trained.own_clip"], found["trained.own_clip_chance"]) == (1.0, 0.5)


@pytest.mark.slow
def test_a_model_that_errs_is_caught_and_its_failures_kept(shards: Path, judge: Judge) -> None:
    rows = list(read_rows(shards, "val"))
    asked = [row.captions[index % len(row.captions)] for index, row in enumerate(rows)]
    colour = [row.attributes["objects"][0]["colour"] for row in rows]
    other = {
        caption: next(c for c, k in zip(asked, colour, strict=True) if k != colour[index])
        for index, caption in enumerate(asked)
    }
    result = evaluate.evaluate_model(parrot(shards, mistakes=other), judge, shards, EVALUATE)
    assert result.metrics["seen.colour"] == 0.0
    assert result.metrics["seen.failures"] == 24
    assert result.metrics["held_out.joint"] > 0.7
    failures = [sample for sample in result.samples if sample.role == "failure" and sample.kind == "seen"]
    assert [sample.index for sample in failures] == [2, 3]  # the showcase has the first two
    assert all(sample.scores is not None and "colour" in sample.scores.wrong for sample in failures)
    table = {(row["kind"], row["attribute"], row["value"]): row for row in result.tables["accuracy"]}
    assert table["seen", "colour", "red"]["share"] == 0.0
    assert table["seen", "colour", "all"]["clips"] == 24


@pytest.mark.slow
def test_every_showcase_prompt_has_its_real_clip_and_takes(shards: Path, judge: Judge) -> None:
    sampler = parrot(shards)
    asked = asked_of(shards, sampler, 4, seed=1000)
    samples = list(showcase(sampler, judge, evaluate_prompts(judge, asked, sampler.sample(asked)), EVALUATE))
    assert [(sample.role, sample.take, sample.index) for sample in samples] == [
        (role, take, index) for role, take in (("real", 0), ("model", 0), ("model", 1)) for index in (0, 1)
    ]
    assert [sample.seed for sample in samples[2:]] == [1000, 1001, 101000, 101001]
    assert (samples[0].frames() == asked.real[0]).mean() > 0.99
    assert samples[0].scores is None
    assert samples[2].scores is not None
    assert samples[2].scores.reading["shape"] in IN_PLAY["shape"]
    again = [Sample.from_row(sample.to_row()) for sample in samples]
    assert again == samples


def test_samples_of_earlier_versions_are_read(shards: Path) -> None:
    row = next(read_rows(shards))
    facts = {"kind": "seen", "index": 3, "role": "model", "seed": 101003, "right": False, "wrong": ["motion"]}
    sample = Sample.from_row(dataclasses.replace(row, key="seen/00003/model-1", attributes=facts))
    assert (sample.take, sample.is_first_take) == (1, False)
    assert sample.scores is not None
    assert sample.scores.wrong == ("motion",)


@pytest.mark.usefixtures("two_cores")
def test_batches_on_several_cores_come_back_in_order_and_are_counted(shards: Path) -> None:
    sampler = parrot(shards, batch_size=2)
    asked = asked_of(shards, sampler, 7)
    samples = sampler.sample(asked)
    assert (samples.frames == asked.real).all()
    assert samples.passes == 7


def test_a_batch_that_does_not_fit_is_halved(shards: Path) -> None:
    sampler = parrot(shards, batch_size=7, limit=2)
    asked = asked_of(shards, sampler, 7)
    samples = sampler.sample(asked)
    assert len(samples.frames) == 7
    assert max(sampler.model.network.batches) <= 2  # type: ignore[arg-type, type-var]
    assert (samples.frames[3] == asked.real[3]).all()
    with pytest.raises(ValueError, match="one clip does not fit"):
        parrot(shards, batch_size=1, limit=0).sample(asked)


def test_samples_are_kept_under_all_that_decides_them(shards: Path, tmp_path: Path) -> None:
    sampler = parrot(shards, kept=tmp_path)
    network = sampler.model.network
    assert isinstance(network, Parrot)
    asked = asked_of(shards, sampler, 6)
    first, drawn = sampler.sample(asked), len(network.batches)
    again = sampler.sample(asked)
    assert len(network.batches) == drawn
    assert (again.frames == first.frames).all()
    assert (again.seconds, again.passes) == (first.seconds, first.passes)
    for other in (dataclasses.replace(asked, first_seed=1), asked.first(5)):
        sampler.sample(other)
    sampler.sample(asked, take=1)
    assert len(list(tmp_path.iterdir())) == 4
    sampler.forget()
    assert list(tmp_path.iterdir()) == []


def test_another_sets_judge_is_refused(judge: Judge) -> None:
    with pytest.raises(ValueError, match="the judge is for shapes, the model for videos"):
        evaluate.check_fit(toy_card(dataset="videos"), judge, None)


def test_sets_too_small_for_a_distance_say_so(shards: Path, judge: Judge) -> None:
    sampler = parrot(shards)
    asked = asked_of(shards, sampler, 3)
    evaluated = EvaluatedPrompts(asked, Samples(asked.real, 1.0, 3), [], [])
    assert list(evaluate.distance_metrics(judge, evaluated, shards, sampler.model.card, EVALUATE)) == ["distances_note"]


def test_equal_readings_have_equal_keys(shards: Path, judge: Judge) -> None:
    rows = list(read_rows(shards, "val"))
    readings = [judge.read(row.frames()) for row in rows]
    for one in rows:
        by_key: dict[Any, Any] = {}
        for reading in readings:
            scores = {k: v for k, v in judge.score_reading(reading, one.attributes).items() if isinstance(v, bool)}
            assert by_key.setdefault(reading_key(reading), scores) == scores


def real_row(split: str, number: int, caption: str) -> Row:
    """A grey clip with a little noise of its own; equal numbers are equal clips."""
    rng = np.random.default_rng(number)
    frames = np.full((4, 16, 16, 3), 20 * (number % 12), np.uint8) + rng.integers(0, 9, (4, 16, 16, 3), np.uint8)
    return to_row(Clip(f"{split}-{number}", split, (caption,), frames, 10.0, "test"))


def real_set(folder: Path, splits: dict[str, Sequence[int]], caption: str = "a grey clip number {}") -> Path:
    rows = [real_row(split, number, caption.format(number)) for split, numbers in splits.items() for number in numbers]
    write_shard(folder / "videos/shard-00000.parquet", rows)
    counts = {split: len(numbers) for split, numbers in splits.items()}
    write_set(folder / "videos", {"set": "videos", "counts": counts})
    return folder / "videos"


RATIOS = ("frechet.ratio", "nearest_train.ratio", "nearest_pixels.ratio")
TINY_JUDGE = JudgeParams(steps=2, batch_size=8, lr=1e-3, width=8, feature_dim=8, seed=0)


def evaluated_real_set(shards: Path) -> dict[str, Any]:
    """Metrics of a toy model on a set of real video, judged by a judge of that set: the stages' own way."""
    judge = build_judge(shards, TINY_JUDGE, torch.device("cpu")).judge
    sampler = parrot(shards)
    model = sampler.model
    model.card = dataclasses.replace(model.card, dataset="videos")
    result = evaluate.evaluate_model(sampler, judge, shards, EVALUATE)
    json.dumps(evaluate.rounded(result.metrics) | judge.card.metrics, allow_nan=False)
    plots.write_plots(shards / "plots", result)
    return result.metrics


@pytest.mark.parametrize(
    ("splits", "caption"),
    [
        ({"train": range(24), "validate": range(24)}, "a grey clip number {}"),
        ({"train": [*range(20), *range(20)], "validate": range(20)}, "a grey clip"),
    ],
    ids=["validation clips are training clips", "clips twice, all captions equal"],
)
def test_a_floor_of_zero_gives_no_ratio_and_says_why(
    tmp_path: Path, splits: dict[str, Sequence[int]], caption: str
) -> None:
    found = evaluated_real_set(real_set(tmp_path, splits, caption))
    for name in ("nearest_train", "nearest_pixels"):
        assert found[f"{name}.floor"] == 0.0
        assert found[f"{name}.ratio"] is None
        assert "its floor is 0" in found[f"{name}.note"]
    assert (found["frechet.ratio"] is None) == (found["frechet.floor"] == 0.0)


def test_clips_that_are_all_alike_give_no_ratio(tmp_path: Path) -> None:
    found = evaluated_real_set(real_set(tmp_path, {"train": [1] * 24, "validate": [1] * 12}, "a grey clip"))
    assert [found[name] for name in RATIOS] == [None, None, None]
    assert found["trained.own_clip"] == found["trained.own_clip_chance"] == 1.0


@pytest.mark.parametrize(
    ("splits", "notes"),
    [
        ({"train": range(20)}, {"validation_note", "frechet.note", "nearest_train.note", "nearest_pixels.note"}),
        ({"train": range(20), "test": range(30, 42)}, set()),
        ({"train": range(20), "validate": [30]}, {"distances_note", "retrieval.note"}),
        ({"train": [0]}, {"validation_note", "distances_note", "retrieval.note"}),
        ({"train": [0], "validate": [1]}, {"distances_note", "retrieval.note"}),
    ],
    ids=["no validation clips", "test clips only", "one validation clip", "one clip", "one of each"],
)
def test_small_and_lopsided_sets_are_evaluated_to_the_end(
    tmp_path: Path, splits: dict[str, Sequence[int]], notes: set[str]
) -> None:
    found = evaluated_real_set(real_set(tmp_path, splits))
    assert {key for key in found if key.endswith("note")} == notes | {"clip_similarity_note"}
    assert found["clips"] == sum(min(len(numbers), 24) for numbers in splits.values())


@pytest.fixture
def toy_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: Judge) -> Path:
    """A folder in which `evaluate` can run: a toy set whose clips all have one truth, toy models, a judge, params."""
    monkeypatch.setattr("pipeline.text.captions.load_encoder", lambda info: HashEncoder())
    write_toy_set(tmp_path)
    rows = list(read_rows(tmp_path / "data/shards/shapes"))
    thing = {"shape": "square", "colour": "red", "motion": "up", "speed_px": 1.0, "trajectory": [[0, 0]] * 8}
    told = [dataclasses.replace(row, attributes={"objects": [thing]}) for row in rows]
    (tmp_path / "data/shards/shapes/shard-00001.parquet").unlink()
    write_shard(tmp_path / "data/shards/shapes/shard-00000.parquet", told)
    for family in ("unet", "gan"):
        write_toy_model(tmp_path / f"models/{family}", family)
    save_judge(tmp_path / "models/judge", judge, None)
    write_toy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("family", ["unet", "gan"])
def test_the_stage_leaves_metrics_plots_and_samples(toy_run: Path, family: str) -> None:
    if family == "gan":  # it reads words
        (toy_run / "data/embeddings/shapes.parquet").unlink()
    stage.main(family)
    found = json.loads((toy_run / f"metrics/evaluate/{family}.json").read_text())
    assert found["seen.clips"] == found["held_out.clips"] == 6
    assert found["family"] == family
    assert not [key for key in found if "seconds" in key or key == "device"]
    assert "seconds" in json.loads((toy_run / f"metrics/machine/evaluate/{family}.json").read_text())
    samples = list(read_samples(toy_run / f"evaluations/{family}/samples.parquet"))
    shown = [sample for sample in samples if sample.kind != "unsaid"]
    assert len(shown) == 2 * 6 * 3  # two kinds, six prompts, a real clip and two takes of each
    assert pq.read_table(toy_run / f"evaluations/{family}/samples.parquet").num_rows == len(samples)
    folder = toy_run / f"plots/evaluate/{family}"
    tables = {"accuracy"} | ({"guidance", "steps", "loss_by_noise"} if family == "unet" else set())
    assert {path.stem for path in folder.glob("*.csv")} - {"unsaid"} == tables  # unsaid: where a clip could be read
    assert len(list((folder / "samples").glob("seen-*.gif"))) == 6
    assert not list((toy_run / ".scratch").rglob("*.npz"))
    if family == "unet":
        assert found["evaluations_per_clip"] == 4.0  # two steps, each with and without the caption
        with (folder / "guidance.csv").open() as file:
            assert [float(row["value"]) for row in csv.DictReader(file)] == [1.0, 1.5, 2.0, 3.0]


def test_a_diffusion_model_needs_its_embeddings(toy_run: Path) -> None:
    (toy_run / "data/embeddings/shapes.parquet").unlink()
    with pytest.raises(ValueError, match="no such embeddings table"):
        stage.main("unet")


@pytest.mark.slow
def test_an_evaluation_that_ends_late_leaves_nothing_half_and_samples_nothing_again(
    toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("the tail fails")

    def stop(folder: Path, *_: Any) -> None:
        assert list(folder.parent.glob("*.csv"))  # half of it is written
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(evaluate, "distance_metrics", fail)
        with pytest.raises(ValueError, match="the tail fails"):
            stage.main("gan")
    assert not (toy_run / "evaluations").exists()
    kept = {path.stem.partition("-")[0] for path in (toy_run / ".scratch").rglob("*.npz")}
    assert kept == {"seen", "held_out", "unsaid"}
    asked: list[str] = []
    draw = PromptSampler._draw
    monkeypatch.setattr(PromptSampler, "_draw", lambda self, *a: (asked.append(a[-1]), draw(self, *a))[1])
    with monkeypatch.context() as broken:
        broken.setattr(plots, "write_gifs", stop)
        with pytest.raises(KeyboardInterrupt):
            stage.main("gan")
    assert list((toy_run / "plots/evaluate").iterdir()) == []
    stage.main("gan")
    assert asked == ["more takes"] * 2  # of two kinds, all in the second run
    assert (toy_run / "plots/evaluate/gan/accuracy.csv").is_file()
    assert not list((toy_run / ".scratch").rglob("*.npz"))


@pytest.mark.slow
def test_kinds_of_scene_are_judged_each_by_itself(tmp_path: Path) -> None:
    """A set of six kinds: as many prompts of each, and a model that shows counts another clip's."""
    kinds = ("objects", "counts", "relations", "change", "order", "contact")
    motions = ("left", "right", "up", "down", "grow", "still")
    made = shapes_set(shapes_params(kinds=kinds, motions=motions, objects=(1, 2), sizes=("small",)))
    shards = tmp_path / "shapes"
    counts = {"train": 56, "val": 28, "held_out": 14, "reworded": 14}
    rows = [made.row(split, index) for split, count in counts.items() for index in range(count)]
    write_shard(shards / "shard-00000.parquet", rows)
    write_set(shards, {**made.description(), "counts": counts})
    net = FeatureNet(8, 8)
    card = JudgeCard("shapes", 64, 16, 8, 8, made.description()["attributes"], {})
    counted = [row for row in rows if row.split == "val" and row.attributes["kind"] == "counts"]
    asked = {row.captions[n % len(row.captions)] for n, row in enumerate(rows[56:84]) if row in counted}
    asked |= {caption for row in counted for caption in row.captions}
    one_more = next(row for row in rows if row.attributes["kind"] == "contact").captions[0]
    sampler = parrot(shards, mistakes=dict.fromkeys(asked, one_more))
    params = EVALUATE.model_copy(update={"prompts": 3, "unsaid_clips": 8})
    result = evaluate.evaluate_model(sampler, Judge(card, net, torch.zeros(8), torch.ones(8)), shards, params)
    found = result.metrics
    json.dumps(evaluate.rounded(found), allow_nan=False)
    for name in ("one", "two", "relations", "change", "order", "contact"):
        assert found[f"{name}.seen.joint"] == found[f"{name}.seen.oracle_joint"] == 1.0, name
        assert found[f"{name}.held_out.joint"] == 1.0
        assert found[f"{name}.seen.clips"] == 3
    assert found["counts.seen.joint"] == 0.0
    assert found["counts.seen.oracle_joint"] == 1.0
    assert found["order.seen.swapped"] == found["relations.seen.swapped"] == 0.0
    assert found["seen.joint"] == pytest.approx(6 / 7)
    assert found["unsaid.clips"] == 8
