"""Stage frames on models whose answers are known: they keep the frame, read the caption alone, or slip. And windows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config.evaluation import FramesParams
from pipeline.data.samples import read_samples
from pipeline.data.shards import read_rows, write_set, write_shard
from pipeline.evaluation.given.contradiction import contradiction_metrics, contradictions
from pipeline.evaluation.given.first_frame import IDENTITY, draw_first_frames, first_frame_metrics
from pipeline.evaluation.given.long_clips import background_drift, staying
from pipeline.evaluation.given.measure import measure_given_frames
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import PromptSet, load_prompts
from pipeline.judge.features import FeatureNet
from pipeline.judge.judge import Judge, JudgeCard
from pipeline.model_io.model_card import ModelCard
from pipeline.sampling.defaults import FLOW
from pipeline.sampling.rollout import plan_windows, roll_out, window_seed
from pipeline.synthetic.shapes import shapes_set
from stages import frames as stage
from tests.model_toys import toy_card, write_toy_model
from tests.synthetic_toys import shapes_params
from tests.training_toys import write_toy_params

PARAMS = FramesParams(clips=12, rollouts=3, rollout_frames=30, batch_size=8, shown=2, seed=5)
MOTIONS = ("left", "right", "bounce-horizontal")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "shapes"
    drawn = shapes_set(shapes_params(shapes=("circle", "square"), colours=("red", "blue"), motions=MOTIONS))
    counts = {"train": 12, "val": 16, "held_out": 12, "reworded": 2}
    write_shard(folder / "shard-00000.parquet", [drawn.row(split, n) for split, k in counts.items() for n in range(k)])
    write_set(folder, {"set": "shapes", "counts": counts, "resolution": 64, "frames": 16, "fps": 10.0})
    return folder


@pytest.fixture(scope="module")
def judge() -> Judge:
    in_play = {"shape": ["circle", "square"], "colour": ["red", "blue"], "motion": list(MOTIONS)}
    in_play["speed"] = ["slow", "fast"]
    card = JudgeCard("shapes", 64, 16, 8, 8, in_play, {})
    return Judge(card, FeatureNet(8, 8), torch.zeros(8), torch.ones(8))


def giving_card(**changes: Any) -> ModelCard:
    params = {name: {**section} for name, section in toy_card().params.items()}
    params["train"] |= {"given_frames": [1, 2]}
    return toy_card(**{"params": params, "frames": 16, "resolution": 64, **changes})


@dataclass
class Known:
    """A model that answers with real clips: of the frame that it is given, or of the caption alone."""

    clips: dict[str, np.ndarray]  # by caption
    keeps_frame: bool = True
    slips_px: int = 0  # between the given frame and the next
    card: ModelCard = field(default_factory=giving_card)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    network: nn.Module = field(default_factory=nn.Identity)

    def encode(self, captions: Sequence[str]) -> None:
        return None

    def sample(
        self, captions: Sequence[str], seeds: Sequence[int], *, given: np.ndarray | None = None, **_: Any
    ) -> np.ndarray:
        drawn = np.stack([self.clips[caption] for caption in captions])
        if given is None:
            return drawn
        for row, first in enumerate(given):
            if self.keeps_frame:
                back = np.concatenate([first[:1], drawn[row][::-1][:-1]])  # from the end of the caption's own clip
                begun = (clip for clip in self.clips.values() if np.array_equal(clip[: len(first)], first))
                drawn[row] = next(begun, back)
            drawn[row, len(first) :] = np.roll(drawn[row, len(first) :], self.slips_px, axis=1)
            drawn[row, : len(first)] = first
        return drawn


def sampler_of(shards: Path, **model: Any) -> PromptSampler:
    clips = {caption: row.frames() for row in read_rows(shards) for caption in row.captions}
    sampler = PromptSampler(Known(clips, **model), None, FLOW, 8)  # type: ignore[arg-type]
    object.__setattr__(sampler, "text", lambda captions: None)
    return sampler


def test_a_model_that_goes_on_as_the_real_clip_does_is_right_and_the_frame_wins(shards: Path, judge: Judge) -> None:
    result = measure_given_frames(sampler_of(shards), judge, shards, PARAMS)
    found = result.metrics
    for name in ("kept", "motion", "speed", "joint"):
        assert found[f"first_frame.{name}"] == found[f"first_frame_real.{name}"] == 1.0
        assert found[f"first_frame.{name}_low"] < found[f"first_frame.{name}_high"]
    assert found["first_frame.place_px"] == 0.0
    assert found["first_frame_shuffled.kept"] < 0.2
    assert found["first_frame_shuffled.joint"] < 0.4
    assert (found["contradicted.frame_wins"], found["contradicted.caption_wins"]) == (1.0, 0.0)
    assert found["contradicted.motion"] == 1.0
    assert found["text.joint"] == found["text_held_out.joint"] == 1.0
    assert found["rollout_30.joint"] == 1.0
    assert found["rollout_30.background_drift"] < 0.1
    assert found["rollout_30.speed_error"] < 0.1 < found["real_pairs.speed_error"] * 10
    kept = [(sample.kind, sample.role, sample.n_frames) for sample in result.samples]
    assert kept[:3] == [("given", "given", 1), ("given", "real", 16), ("given", "model", 16)]
    assert kept[-2:] == [("rollout", "model", 30)] * 2
    given, _, drawn = (sample.frames() for sample in result.samples[:3])
    assert np.array_equal(given[0], drawn[0])


def prompts_of(shards: Path, kind: str) -> PromptSet:
    every = load_prompts(shards, giving_card(), count=16, seed=3)
    return next(each for each in every if each.kind == kind)


def test_a_model_that_reads_the_caption_alone_lets_it_win(shards: Path, judge: Judge) -> None:
    sampler = sampler_of(shards, keeps_frame=False)
    found, _ = contradiction_metrics(sampler, judge, prompts_of(shards, "seen"), seed=5)
    assert (found["contradicted.frame_wins"], found["contradicted.caption_wins"]) == (0.0, 1.0)


def test_a_thing_that_slips_by_three_pixels_is_not_kept_and_still_moves_as_said(shards: Path, judge: Judge) -> None:
    drawn = draw_first_frames(sampler_of(shards, slips_px=3), judge, prompts_of(shards, "held_out"))
    found = first_frame_metrics(drawn, judge, seed=5)
    assert found["first_frame.kept"] == 0.0
    assert found["first_frame.place_px"] == pytest.approx(3.0, abs=0.1)
    assert found["first_frame.motion"] > 0.5


def test_a_caption_that_contradicts_names_another_thing_that_moves_alike(shards: Path) -> None:
    prompts = prompts_of(shards, "seen")
    chosen, said = contradictions(prompts, seed=4)
    assert 4 < len(chosen) <= len(prompts)
    for row, attributes in enumerate(chosen.attributes):
        thing, named = attributes["objects"][0], prompts.attributes[said[row]]["objects"][0]
        assert chosen.captions[row] == prompts.captions[said[row]]
        assert (thing["motion"], thing["speed"]) == (named["motion"], named["speed"])
        assert all(thing[name] != named[name] for name in IDENTITY if name in thing)
        assert chosen.keys[row] != prompts.keys[said[row]]


def test_long_clips_are_of_things_that_stay_each_by_a_seed_of_its_own(shards: Path) -> None:
    chosen = staying(prompts_of(shards, "seen"), 20, seed=7)
    assert chosen is not None
    assert {each["objects"][0]["motion"] for each in chosen.attributes} == {"bounce-horizontal"}
    assert chosen.seeds() == list(range(7, 27))
    nothing = prompts_of(shards, "seen").first(0)
    assert staying(nothing, 20, seed=7) is None


def test_drift_is_told_in_levels_of_the_worst_channel() -> None:
    first = np.full((2, 4, 32, 32, 3), 250, np.uint8)
    last = first.copy()
    last[1, ..., 2] -= 3
    assert background_drift(first, last) == pytest.approx([0.0, 3.0])


class Counting:
    """A model whose frames are numbers that go on: pixel n of frame n, from 0 where nothing is given."""

    def __init__(self, card: ModelCard) -> None:
        self.card, self.seeds = card, list[int]()

    def encode(self, captions: Sequence[str]) -> None:
        return None

    def sample(
        self, captions: Sequence[str], seeds: Sequence[int], *, given: np.ndarray | None = None, **_: Any
    ) -> np.ndarray:
        self.seeds += seeds
        start = np.zeros(len(captions), int) if given is None else given[:, 0, 0, 0, 0].astype(int)
        numbers = start[:, None] + np.arange(self.card.frames)
        if given is not None:
            assert np.array_equal(given[..., 0, 0, 0], numbers[:, : given.shape[1]])
        return np.broadcast_to(numbers[..., None, None, None], (*numbers.shape, 16, 16, 3)).astype(np.uint8)


def test_windows_go_on_from_each_other_without_a_gap_or_a_repeat() -> None:
    model: Any = Counting(giving_card(frames=4, resolution=16))
    parts = list(roll_out(model, ["up", "down"], [5, 6], 4 + 2 * 10))
    assert [part.shape[1] for part in parts] == [4] + [2] * 10
    whole = np.concatenate(parts, axis=1)[..., 0, 0, 0]
    assert np.array_equal(whole, np.broadcast_to(np.arange(24), (2, 24)))
    assert len(set(model.seeds)) == 22, "each window of each clip has noise of its own"
    assert model.seeds[:2] == [5, 6], "the first is the short clip"
    again: Any = Counting(model.card)
    list(roll_out(again, ["down"], [6], 24))
    assert again.seeds == model.seeds[1::2] == [window_seed(6, window) for window in range(11)]


def test_windows_go_on_from_what_is_given() -> None:
    model: Any = Counting(giving_card(frames=4, resolution=16))
    given = np.full((1, 1, 16, 16, 3), 7, np.uint8)
    whole = np.concatenate(list(roll_out(model, ["up"], [5], 8, given=given)), axis=1)[0, :, 0, 0, 0]
    assert list(whole) == list(range(7, 15))


@pytest.mark.parametrize(
    ("frames", "trained", "says"),
    [
        (17, [1, 2], "17 frames are no whole number of windows: this model makes 4, and 2 more .* give 16 or 18"),
        (3, [1, 2], "3 frames are no whole number of windows: .* give 4"),
        (8, [], "8 frames do not fit: this model makes 4, and was not trained to go on"),
    ],
)
def test_a_length_that_windows_do_not_make_is_one_line(frames: int, trained: list[int], says: str) -> None:
    card = giving_card(frames=4)
    card.params["train"]["given_frames"] = trained
    with pytest.raises(ValueError, match=says) as caught:
        plan_windows(card, frames)
    assert "\n" not in str(caught.value)
    assert plan_windows(card, 4).count == 1


def test_a_model_for_text_alone_is_done_at_once(tmp_path: Path) -> None:
    write_toy_model(tmp_path / "models/unet")
    stage.main(
        params_path=write_toy_params(tmp_path),
        shards=tmp_path / "none",
        embeddings=tmp_path / "none",
        models=tmp_path / "models",
        evaluations=tmp_path / "evaluations/frames",
        metrics=tmp_path / "metrics/frames.json",
    )
    assert json.loads((tmp_path / "metrics/frames.json").read_text()) == {"trained": False}
    assert list(read_samples(tmp_path / "evaluations/frames/samples.parquet")) == []
