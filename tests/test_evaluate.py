from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from pipeline.config.evaluation import EvaluateParams
from pipeline.config.params import load_params
from pipeline.data.shards import Row, read_rows, write_set, write_shard
from pipeline.evaluation import evaluate, metrics, prompts, scoring
from pipeline.evaluation.distances import set_distances
from pipeline.evaluation.prompts import PromptSet, Samples
from pipeline.evaluation.scoring import Answers
from pipeline.judge.features import FeatureNet
from pipeline.judge.judge import Judge, JudgeCard, save_judge
from pipeline.model_io.model_card import ModelCard
from pipeline.sampling.video_model import VideoModel
from pipeline.synthetic.shapes import shapes_set
from stages.evaluate import main
from tests.model_toys import HashEncoder, toy_card, write_toy_model
from tests.synthetic_toys import shapes_params
from tests.training_toys import write_toy_params, write_toy_set

ROOT = Path(__file__).parents[1]
EVALUATE = EvaluateParams(
    prompts=24,
    batch_size=5,
    feature_clips=24,
    curve_prompts=6,
    guidance_scales=(1.0, 2.0),
    steps=(2,),
    showcase_prompts=2,
    showcase_seeds=2,
    seed=1000,
)
IN_PLAY = {"shape": ["circle", "square"], "colour": ["red", "blue"], "motion": ["left", "right", "up", "down"]}


@pytest.mark.parametrize("clips", [12, 96, 600, 1000])
def test_an_interval_holds_its_share_to_the_last_bit(clips: int) -> None:
    for right in (0, 1, clips - 1, clips):
        share = metrics.wilson(right, clips)
        assert share.low <= share.value <= share.high


def test_wilson_against_published_intervals() -> None:
    # Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for (right, clips), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        share = metrics.wilson(right, clips)
        assert (share.low, share.high) == pytest.approx((low, high), abs=6e-5)
    with pytest.raises(ValueError, match="at least one clip"):
        metrics.wilson(0, 0)


def test_600_prompts_give_four_points() -> None:
    share = metrics.wilson(300, load_params(ROOT / "tests/params.yaml").evaluate.prompts)
    assert (share.high - share.low) / 2 < 0.0401


@pytest.mark.parametrize("n", [2, 3, 17])
def test_nothing_keeps_its_place_in_a_derangement(n: int) -> None:
    order = metrics.derangement(n, seed=3)
    assert sorted(order) == list(range(n))
    assert (order != np.arange(n)).all()
    assert (order == metrics.derangement(n, seed=3)).all()


def test_chance_is_the_mean_over_all_other_prompts() -> None:
    rng = np.random.default_rng(0)
    readings, wanted = rng.integers(0, 4, 40).tolist(), rng.integers(0, 4, 40).tolist()

    def mark(reading: int, want: int) -> dict[str, bool | float]:
        return {"joint": reading == want, "parity": reading % 2 == want % 2, "speed_error": 0.5}

    found = metrics.exact_chance(readings, wanted, mark, reading_key=lambda r: r, wanted_key=lambda w: w)
    pairs = [(i, j) for i in range(40) for j in range(40) if i != j]
    for name in ("joint", "parity"):
        by_hand = np.mean([mark(readings[i], wanted[j])[name] for i, j in pairs])
        assert found[name] == pytest.approx(by_hand)
    assert set(found) == {"joint", "parity"}


class Parrot(nn.Module):
    """A GAN that answers a caption with a real clip of it, or of the caption that `mistakes` puts in its place."""

    def __init__(self, rows: Sequence[Row], mistakes: dict[str, str] | None = None, limit: int = 99) -> None:
        super().__init__()
        self.clips = {caption: row.frames() for row in rows for caption in row.captions}
        self.mistakes, self.limit = mistakes or {}, limit
        self.batches: list[int] = []

    def sample(self, captions: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
        if len(captions) > self.limit:
            raise torch.OutOfMemoryError("no room")
        self.batches.append(len(captions))
        return self(torch.zeros(len(captions)), captions)

    def forward(self, _: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        clips = np.stack([self.clips[self.mistakes.get(caption, caption)] for caption in captions])
        return torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 127.5 - 1.0


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


def parrot(shards: Path, **options: Any) -> VideoModel:
    card: ModelCard = toy_card("gan", frames=16, resolution=64)
    return VideoModel(card, Parrot(list(read_rows(shards)), **options), torch.device("cpu"))


def test_speeds_are_compared_between_clips_of_the_same_words_only() -> None:
    def clip(motion: str, speed: str | None, *speeds: float) -> dict[str, Any]:
        return {"objects": [{"motion": motion, "speed": speed, "speed_px": each} for each in speeds]}

    alike = [clip("left", "slow", 1.0), clip("left", "slow", 2.0)]
    others = [clip("left", "fast", 9.0), clip("up", "slow", 5.0), clip("still", None, 0.0), clip("left", "slow", 7, 7)]
    assert scoring.speed_between_real(alike + others) == {
        "real_pairs.speed_error": pytest.approx((1.0 / 2.0 + 1.0 / 1.0) / 2)
    }
    assert scoring.speed_between_real(others) == {}


@pytest.mark.slow
def test_a_model_that_is_right_scores_right_and_the_control_does_not(shards: Path, judge: Judge) -> None:
    result = evaluate.evaluate_model(parrot(shards), judge, None, shards, EVALUATE, None)
    found = result.metrics
    for kind, n in (("seen", 24), ("held_out", 12), ("reworded", 12)):
        assert found[f"{kind}.joint"] > 0.95
        assert found[f"{kind}.clips"] == n
        assert found[f"{kind}.joint_low"] < found[f"{kind}.joint"] <= found[f"{kind}.joint_high"]
    assert found["oracle_on_real.joint"] > 0.95
    assert found["caption_shuffle.joint"] < 0.35
    assert found["caption_shuffle.joint_chance"] < 0.2
    assert found["caption_shuffle.shape_chance"] == pytest.approx(0.5, abs=0.2)
    assert found["seen.speed_error"] < 0.1
    assert 0.0 < found["real_pairs.speed_error"] < 0.2
    assert found["nearest_pixels.ratio"] == pytest.approx(1.0, abs=0.5)
    assert {"frechet.ratio", "kernel.floor", "coverage", "seconds_per_clip", "clips"} <= set(found)
    assert found["evaluations_per_clip"] == 1.0
    json.dumps(result.rounded_metrics(), allow_nan=False)


def test_only_captions_that_have_vectors_are_asked(shards: Path) -> None:
    model = parrot(shards)
    rows = list(read_rows(shards, "val", limit=3))
    known = {rows[0].captions[1], *rows[2].captions}
    asked = prompts.load_prompts(shards, model.card, count=3, seed=0, known=known)[0]
    assert set(asked.captions) <= known
    assert asked.keys[0] == rows[0].key
    assert rows[1].key not in asked.keys or known & set(rows[1].captions)
    with pytest.raises(ValueError, match=r"raise embed\.max_tokens"):
        prompts.load_prompts(shards, model.card, count=3, seed=0, known=set())


def test_a_remembered_clip_is_its_captions_own_and_another_is_not() -> None:
    clips = np.random.default_rng(0).integers(256, size=(4, 2, 32, 32, 3), dtype=np.uint8)
    asked = PromptSet("trained", list("abcd"), [{}] * 4, list("abcd"), clips, 0)

    def remembered(order: list[int], kind: str = "trained") -> dict[str, float]:
        noisy = (clips[order] * 0.9).astype(np.uint8)
        answered = Answers(dataclasses.replace(asked, kind=kind), Samples(noisy, 1.0, 4), [], [])
        return evaluate.memory_metrics(answered, 0)

    assert remembered([0, 1, 2, 3]) == {
        "trained.clips": 4,
        "trained.own_clip": 1.0,
        "trained.own_clip_chance": 0.25,
        "trained.own_clip_shuffled": 0.0,
    }
    assert remembered([0, 1, 3, 2])["trained.own_clip"] == 0.5
    assert remembered([0, 1, 2, 3], kind="seen") == {}


@pytest.mark.slow
def test_a_model_that_errs_is_caught_and_its_failures_kept(shards: Path, judge: Judge) -> None:
    rows = list(read_rows(shards, "val"))
    asked = [row.captions[index % len(row.captions)] for index, row in enumerate(rows)]
    colour = [row.attributes["objects"][0]["colour"] for row in rows]
    other = {
        caption: next(c for c, k in zip(asked, colour, strict=True) if k != colour[index])
        for index, caption in enumerate(asked)
    }
    result = evaluate.evaluate_model(parrot(shards, mistakes=other), judge, None, shards, EVALUATE, None)
    assert result.metrics["seen.colour"] == 0.0
    assert result.metrics["seen.failures"] == 24
    assert result.metrics["held_out.joint"] > 0.7
    failures = [row for row in result.samples if row.attributes["role"] == "failure" and row.split == "seen"]
    assert [row.attributes["index"] for row in failures] == [2, 3]  # the showcase has the first two
    assert all("colour" in row.attributes["wrong"] for row in failures)
    table = {(row["kind"], row["attribute"], row["value"]): row for row in result.tables["accuracy"]}
    assert table["seen", "colour", "red"]["share"] == 0.0
    assert table["seen", "colour", "all"]["clips"] == 24


@pytest.mark.slow
def test_every_showcase_prompt_has_its_real_clip_and_takes(shards: Path, judge: Judge) -> None:
    model, few = parrot(shards), EVALUATE.model_copy(update={"prompts": 4})
    asked = prompts.load_prompts(shards, model.card, count=4, seed=1000)[0]
    answered = evaluate._answer(model, judge, None, asked, few, None)
    rows = list(evaluate.showcase(model, judge, None, answered, few, None))
    assert [row.key for row in rows] == [
        f"seen/{index:05d}/{role}" for role in ("real-0", "model-0", "model-1") for index in (0, 1)
    ]
    assert [row.attributes["seed"] for row in rows[2:]] == [1000, 1001, 101000, 101001]
    assert (rows[0].frames() == asked.real[0]).mean() > 0.99
    assert rows[2].attributes["reading"]["shape"] in IN_PLAY["shape"]


@pytest.mark.usefixtures("two_cores")
def test_batches_on_several_cores_come_back_in_order_and_are_counted(shards: Path) -> None:
    model = parrot(shards)
    asked = prompts.load_prompts(shards, model.card, count=7, seed=0)[0]
    samples = prompts.sample_prompts(model, None, asked, batch_size=2)
    assert (samples.frames == asked.real).all()
    assert samples.passes == 7


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved(shards: Path) -> None:
    model = parrot(shards, limit=2)
    asked = prompts.load_prompts(shards, model.card, count=7, seed=0)[0]
    samples = prompts.sample_prompts(model, None, asked, batch_size=7)
    assert len(samples.frames) == 7
    assert max(model.network.batches) <= 2  # type: ignore[arg-type, type-var]
    assert (samples.frames[3] == asked.real[3]).all()
    with pytest.raises(ValueError, match="one clip does not fit"):
        prompts.sample_prompts(parrot(shards, limit=0), None, asked, batch_size=1)


def test_another_sets_judge_is_refused(shards: Path, judge: Judge) -> None:
    with pytest.raises(ValueError, match="the judge is for shapes, the model for msrvtt"):
        evaluate.check_fit(toy_card(dataset="msrvtt"), judge, None)


def test_sets_too_small_for_a_distance_say_so(shards: Path, judge: Judge) -> None:
    model = parrot(shards)
    asked = prompts.load_prompts(shards, model.card, count=3, seed=0)[0]
    answered = scoring.Answers(asked, prompts.Samples(asked.real, 1.0, 3), [], [])
    assert list(evaluate.distance_metrics(judge, answered, shards, model.card, EVALUATE)) == ["distances_note"]


def test_equal_readings_have_equal_keys(shards: Path, judge: Judge) -> None:
    rows = list(read_rows(shards, "val"))
    readings = [judge.read(row.frames()) for row in rows]
    for one in rows:
        by_key: dict[Any, Any] = {}
        for reading in readings:
            marks = {k: v for k, v in scoring.mark(judge, reading, one.attributes).items() if isinstance(v, bool)}
            assert by_key.setdefault(scoring.reading_key(reading), marks) == marks


@pytest.mark.slow
@pytest.mark.parametrize("family", ["unet", "gan"])
def test_the_stage_leaves_metrics_plots_and_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, judge: Judge
) -> None:
    monkeypatch.setattr("pipeline.text.captions.load_encoder", lambda info: HashEncoder())
    write_toy_set(tmp_path)
    rows = list(read_rows(tmp_path / "data/shards/shapes"))
    truth = {
        "objects": [{"shape": "square", "colour": "red", "motion": "up", "speed_px": 1.0, "trajectory": [[0, 0]] * 8}]
    }
    told = [Row(**{**row.__dict__, "attributes": truth}) for row in rows]
    (tmp_path / "data/shards/shapes/shard-00001.parquet").unlink()
    write_shard(tmp_path / "data/shards/shapes/shard-00000.parquet", told)
    write_toy_model(tmp_path / f"models/{family}", family)
    save_judge(tmp_path / "models/judge", judge, None)
    params = write_toy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    main(family, params_path=params)
    found = json.loads((tmp_path / f"metrics/evaluate/{family}.json").read_text())
    assert found["seen.clips"] == found["held_out.clips"] == 6
    assert found["family"] == family
    stored = pq.read_table(tmp_path / f"evaluations/{family}/samples.parquet")
    assert stored.num_rows == 2 * 6 * 3  # two kinds, six prompts, a real clip and two takes of each
    folder = tmp_path / f"plots/evaluate/{family}"
    tables = {"accuracy"} | ({"guidance", "steps", "loss_by_noise"} if family == "unet" else set())
    assert {path.stem for path in folder.glob("*.csv")} == tables
    assert len(list((folder / "samples").glob("*.gif"))) == 12
    if family == "unet":
        assert found["evaluations_per_clip"] == 4.0  # two steps, each with and without the caption
        with (folder / "guidance.csv").open() as file:
            assert [float(row["value"]) for row in csv.DictReader(file)] == [1.0, 1.5, 2.0, 3.0]


def test_equal_sets_are_at_their_floor() -> None:
    rng = np.random.default_rng(0)
    train, val = rng.normal(size=(200, 6)), rng.normal(size=(100, 6))
    assert set_distances(train, val, rng.normal(size=(100, 6))).flat()["frechet.ratio"] == pytest.approx(1.0, abs=0.9)
