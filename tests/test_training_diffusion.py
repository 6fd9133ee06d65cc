"""The diffusion network in training: resume to the byte, cuts of the batch, learning, and the stage's outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config.tree import Params
from pipeline.diffusion.training import DiffusionTrainer
from pipeline.sampling.preview import draw_by
from pipeline.sampling.video_model import load_model
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.distributed import DistContext
from pipeline.training.feed import ClipBatch
from pipeline.training.loop import Run, train
from pipeline.training.preview import open_preview
from pipeline.training.thread_parallel import num_workers
from stages import train as stage
from tests.training_toys import (
    ALONE,
    SPLITS,
    open_toy_trainer,
    toy_clip,
    toy_params,
    toy_texts,
    write_toy_params,
    write_toy_set,
)

PRINT = "0123456789abcdef"


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_set(tmp_path_factory.mktemp("toy"))


class PowerCutError(Exception):
    """What a kill looks like from inside."""


def run(
    toy_set: Path,
    folder: Path,
    params: Params,
    *,
    off_at: int | None = None,  # the step at which the power goes off
    looks: bool = True,  # whether there are validation and samples
) -> Run:
    """Train as the stage does."""
    trainer = open_toy_trainer(toy_set, params)
    draw = draw_by(params.sampling, params.diffusion, params.train, trainer.texts, ALONE.device)
    if off_at is not None:
        cut_power(trainer, off_at)
    if not looks:
        trainer.val_every = None
    preview = open_preview(toy_set, params.train, draw, folder) if looks else None
    return train(trainer, ALONE, Checkpoints(folder, PRINT), preview)


def cut_power(trainer: DiffusionTrainer, off_at: int) -> None:
    batch_of = trainer.feed.batch

    def batch(step: int, start: int = 0, stop: int | None = None) -> ClipBatch:
        if step >= off_at:
            raise PowerCutError
        return batch_of(step, start, stop)

    trainer.feed.batch = batch  # type: ignore[method-assign]


def assert_same_bytes(first: Run, second: Run) -> None:
    weights, others = first.weights(), second.weights()
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name
    assert first.history.steps == second.history.steps
    assert first.history.validations == second.history.validations


@pytest.fixture(scope="module")
def whole(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run of the toy params that nobody disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return run(toy_set, folder, toy_params()), folder


def test_a_killed_run_ends_in_the_same_bytes(toy_set: Path, tmp_path: Path, whole: tuple[Run, Path]) -> None:
    for off_at in (3, 6):  # killed twice, each time between two checkpoints
        with pytest.raises(PowerCutError):
            run(toy_set, tmp_path, toy_params(), off_at=off_at)
    assert_same_bytes(whole[0], run(toy_set, tmp_path, toy_params()))
    assert {row[0] for row in whole[0].history.validations} == {4, 8}


def test_optimizer_and_average_come_back_whatever_their_params(toy_set: Path, tmp_path: Path) -> None:
    params = toy_params(optimizer="adamw", accumulate=2, ema_start=3, ema_every=2)
    undisturbed = run(toy_set, tmp_path / "whole", params, looks=False)
    with pytest.raises(PowerCutError):
        run(toy_set, tmp_path / "cut", params, off_at=5, looks=False)
    assert_same_bytes(undisturbed, run(toy_set, tmp_path / "cut", params, looks=False))


def test_looking_at_a_run_does_not_change_it(toy_set: Path, tmp_path: Path, whole: tuple[Run, Path]) -> None:
    unseen = run(toy_set, tmp_path, toy_params(), looks=False).weights()
    assert all(torch.equal(tensor, unseen[name]) for name, tensor in whole[0].weights().items())


def test_the_saved_weights_are_the_averages_and_know_the_captions(toy_set: Path, whole: tuple[Run, Path]) -> None:
    trained: Any = whole[0].trainer
    start, end = open_toy_trainer(toy_set, toy_params()).network.state_dict(), trained.network.state_dict()
    saved = whole[0].weights()
    for name in ("stem.weight", "head.weight"):
        assert not torch.equal(saved[name], start[name])
        assert not torch.equal(saved[name], end[name])
    captions = [caption for number in range(SPLITS["train"]) for caption in toy_clip("train", number).captions]
    mean = toy_texts(toy_set).batch(sorted(set(captions))).pooled.mean(0)
    torch.testing.assert_close(saved["conditioning.pooled_mean"], mean, rtol=1e-4, atol=1e-4)


def test_there_is_something_to_look_at(whole: tuple[Run, Path]) -> None:
    result, folder = whole
    names = {path.name for path in (folder / "samples").iterdir()}
    assert names == {"latest.gif", "step-000004.png", "step-000008.png", "prompts.txt"}
    assert len((folder / "loss.csv").read_text(encoding="utf-8").splitlines()) == 9
    assert len(set(result.history.last_validation("t"))) == 8
    assert result.seconds > result.wait_seconds > 0


def test_other_seeds_end_elsewhere(toy_set: Path, tmp_path: Path, whole: tuple[Run, Path]) -> None:
    other = run(toy_set, tmp_path, toy_params(seed=1, steps=2), looks=False)
    assert other.history.values("loss") != whole[0].history.values("loss")[:2]


def curve(result: Run) -> Tensor:
    return torch.tensor([result.history.values("loss"), result.history.values("grad_norm")])


def test_accumulation_equals_the_big_batch(toy_set: Path, tmp_path: Path) -> None:
    once, often = (
        run(toy_set, tmp_path / str(accumulate), toy_params(accumulate=accumulate), looks=False)
        for accumulate in (1, 4)
    )
    torch.testing.assert_close(curve(once), curve(often), rtol=2e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"precision": "bf16"}])
def test_two_workers_follow_the_curve_of_one_and_repeat_to_the_byte(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    params = toy_params(**changes)
    both = run(toy_set, tmp_path / "both", params)
    with pytest.raises(PowerCutError):
        run(toy_set, tmp_path / "cut", params, off_at=5)
    assert_same_bytes(both, run(toy_set, tmp_path / "cut", params))
    monkeypatch.setattr("pipeline.diffusion.training.num_workers", lambda *_: 1)
    alone = run(toy_set, tmp_path / "alone", params)
    rtol = 0.05 if params.train.precision == "bf16" else 2e-4
    torch.testing.assert_close(curve(both), curve(alone), rtol=rtol, atol=2e-5)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(
    ("dist", "changes", "workers"),
    [
        (ALONE, {}, 2),
        (ALONE, {"batch_size": 6, "accumulate": 2}, 1),  # three clips do not divide by two
        (ALONE, {"compile": True}, 1),
        (DistContext(0, 2, torch.device("cpu")), {}, 1),
        (DistContext(0, 1, torch.device("cuda")), {}, 1),
    ],
)
def test_there_are_as_many_workers_as_the_run_allows(dist: DistContext, changes: dict[str, Any], workers: int) -> None:
    assert num_workers(dist, toy_params(**changes).train) == workers


def test_memory_and_divergence_advice_names_the_params_to_change(toy_set: Path) -> None:
    trainer = open_toy_trainer(toy_set, toy_params(batch_size=4, accumulate=2))
    assert re.match(r"raise train\.accumulate=2 .* now 2 clips .* train\.batch_size", trainer.memory_advice)
    assert trainer.divergence_advice.startswith("lower train.lr=0.002, raise train.warmup_steps")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_overfits_one_clip(toy_set: Path, tmp_path: Path, optimizer: str) -> None:
    params = toy_params(
        optimizer=optimizer, steps=100, lr=3.0e-3, warmup_steps=10, prob_focus_present=0.0, val_every=1000
    )
    trainer = open_toy_trainer(toy_set, params)
    pixels = trainer.feed.clips.pixels  # type: ignore[union-attr]
    pixels.write(0, np.repeat(pixels[0:1], len(pixels), axis=0))
    losses = train(trainer, ALONE, Checkpoints(tmp_path, PRINT)).history.values("loss")
    assert sum(losses[-10:]) < 0.1 * sum(losses[:10])


@pytest.mark.slow
def test_the_stage_leaves_a_model_tables_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_set(tmp_path)
    write_toy_params(tmp_path, steps=4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    runs = []
    for _ in range(2):
        stage.main()
        kept = [
            "models/unet/weights.safetensors",
            "models/unet/model.json",
            "plots/train/loss.csv",
            "plots/train/val.csv",
        ]
        runs.append([Path(name).read_bytes() for name in kept])
    assert runs[0] == runs[1]
    model = load_model(Path("models/unet"))
    assert model.card.fps == 5.0  # 4 of 8 frames of 10 a second
    assert {word for word in model.card.vocabulary if word in {"red", "up"}} == {"red", "up"}
    assert not list(Path(".scratch/train").glob("*/*.ckpt"))
    assert (Path(".scratch/train/samples/latest.gif")).is_file()
