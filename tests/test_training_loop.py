"""The loop in this process: resume to the byte, accumulation, learning, stopping, what it leaves to look at."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.config.params import Params
from pipeline.diffusion.noise import DropShares
from pipeline.diffusion.process import Diffusion
from pipeline.sampling.video_model import load_model
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.distributed import DistContext
from pipeline.training.feed import ClipBatch, ClipFeed
from pipeline.training.loop import train
from pipeline.training.run import TrainResult
from pipeline.training.setup import open_feed, open_preview, open_validation, start_network
from pipeline.training.thread_parallel import num_workers
from stages import train as stage
from tests.training_toys import toy_params, toy_texts, write_toy_params, write_toy_set

DIST = DistContext(0, 1, torch.device("cpu"))
PRINT = "0123456789abcdef"


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_set(tmp_path_factory.mktemp("toy"))


class PowerCutError(Exception):
    """What a kill looks like from inside."""


class FailingFeed(ClipFeed):
    """A feed whose power goes off at a step."""

    off_at = 10**9

    def batch(self, step: int, start: int = 0, stop: int | None = None) -> ClipBatch:
        if step >= self.off_at:
            raise PowerCutError
        return super().batch(step, start, stop)


def run(
    toy_set: Path,
    folder: Path,
    params: Params,
    *,
    off_at: int = 10**9,
    network: nn.Module | None = None,
    fingerprint: str = PRINT,
    looks: bool = True,
) -> TrainResult:
    texts = toy_texts(toy_set)
    feed = open_feed(toy_set, params.train, texts)
    failing = FailingFeed(feed.clips, batch_size=feed.batch_size, seed=feed.seed)
    failing.off_at = off_at
    return train(
        network or start_network(params.unet, params.train, texts, feed.clips.index),
        failing,
        texts,
        diffusion=Diffusion(params.diffusion),
        params=params.train,
        shares=DropShares(params.diffusion.p_uncond, params.train.text_dropout, params.train.prob_focus_present),
        dist=DIST,
        checkpoints=Checkpoints(folder, fingerprint),
        validation=open_validation(toy_set, params.train, texts) if looks else None,
        preview=open_preview(toy_set, params.train, params.sampling, texts, folder / "samples", 10.0)
        if looks
        else None,
        live_folder=folder if looks else None,
    )


def assert_same_bytes(first: TrainResult, second: TrainResult) -> None:
    assert first.weights.keys() == second.weights.keys()
    for name, tensor in first.weights.items():
        assert torch.equal(tensor, second.weights[name]), name
    assert first.history.steps == second.history.steps
    assert first.history.validations == second.history.validations


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon", "accumulate": 2, "ema_start": 3, "ema_every": 2}])
def test_a_killed_run_ends_in_the_same_bytes(toy_set: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    params = toy_params(**changes)
    whole = run(toy_set, tmp_path / "whole", params)
    for off_at in (3, 6):  # killed twice, each time between two checkpoints
        with pytest.raises(PowerCutError):
            run(toy_set, tmp_path / "cut", params, off_at=off_at)
    assert_same_bytes(whole, run(toy_set, tmp_path / "cut", params))
    assert [row.step for row in whole.history.steps] == list(range(1, 9))
    assert {row.step for row in whole.history.validations} == {4, 8}


def test_looking_at_a_run_does_not_change_it(toy_set: Path, tmp_path: Path) -> None:
    seen = run(toy_set, tmp_path / "a", toy_params(val_every=1, sample_every=3))
    unseen = run(toy_set, tmp_path / "b", toy_params(), looks=False)
    assert all(torch.equal(tensor, unseen.weights[name]) for name, tensor in seen.weights.items())


def test_a_finished_run_is_not_trained_again(toy_set: Path, tmp_path: Path) -> None:
    first = run(toy_set, tmp_path, toy_params(), looks=False)
    assert_same_bytes(first, run(toy_set, tmp_path, toy_params(), off_at=0, looks=False))


def test_a_cut_checkpoint_costs_steps_but_no_bytes(toy_set: Path, tmp_path: Path) -> None:
    params = toy_params()
    whole = run(toy_set, tmp_path / "whole", params)
    with pytest.raises(PowerCutError):
        run(toy_set, tmp_path / "cut", params, off_at=7)
    _, newest = Checkpoints(tmp_path / "cut", PRINT).paths()
    newest.write_bytes(newest.read_bytes()[:1000])
    assert_same_bytes(whole, run(toy_set, tmp_path / "cut", params))


def test_a_changed_fingerprint_starts_fresh(toy_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with pytest.raises(PowerCutError):
        run(toy_set, tmp_path, toy_params(), off_at=7, looks=False)
    result = run(toy_set, tmp_path, toy_params(steps=4), fingerprint="f" * 16, looks=False)
    assert "starting fresh" in caplog.text
    assert "resuming" not in caplog.text
    assert [row.step for row in result.history.steps] == [1, 2, 3, 4]


def test_other_seeds_end_elsewhere(toy_set: Path, tmp_path: Path) -> None:
    first, second = (run(toy_set, tmp_path / str(s), toy_params(seed=s), looks=False) for s in (0, 1))
    assert first.history.steps != second.history.steps


def curve(result: TrainResult) -> Tensor:
    return torch.tensor([(row.loss, row.grad_norm) for row in result.history.steps])


def test_accumulation_equals_the_big_batch(toy_set: Path, tmp_path: Path) -> None:
    once, often = (
        run(toy_set, tmp_path / str(accumulate), toy_params(accumulate=accumulate), looks=False)
        for accumulate in (1, 4)
    )
    torch.testing.assert_close(curve(once), curve(often), rtol=2e-4, atol=2e-5)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon", "accumulate": 2}, {"precision": "bf16"}])
def test_two_workers_follow_the_curve_of_one_and_repeat_to_the_byte(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    params = toy_params(**changes)
    both = run(toy_set, tmp_path / "both", params)
    with pytest.raises(PowerCutError):
        run(toy_set, tmp_path / "cut", params, off_at=5)
    assert_same_bytes(both, run(toy_set, tmp_path / "cut", params))
    monkeypatch.setattr("pipeline.training.loop.num_workers", lambda *_: 1)
    alone = run(toy_set, tmp_path / "alone", params)
    rtol = 0.05 if params.train.precision == "bf16" else 2e-4
    torch.testing.assert_close(curve(both), curve(alone), rtol=rtol, atol=2e-5)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(
    ("dist", "dropout", "changes", "size"),
    [
        (DIST, 0.0, {}, 2),
        (DIST, 0.0, {"batch_size": 6, "accumulate": 2}, 1),  # three clips do not divide by two
        (DIST, 0.0, {"compile": True}, 1),
        (DIST, 0.1, {}, 1),
        (DistContext(0, 2, torch.device("cpu")), 0.0, {}, 1),
        (DistContext(0, 1, torch.device("cuda")), 0.0, {}, 1),
    ],
)
def test_there_are_as_many_workers_as_the_run_allows(
    dist: DistContext, dropout: float, changes: dict[str, Any], size: int
) -> None:
    assert num_workers(nn.Dropout(dropout), dist, toy_params(**changes).train) == size


class Diverging(nn.Module):
    """A network that answers NaN from its k-th call on."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.ones(1)), calls

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        self.calls -= 1
        return x * self.weight * (float("nan") if self.calls < 0 else 1.0)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"loss nan .* at step 6 \(train\.seed=0\).*kept: .*step-00000004\.ckpt"):
        run(toy_set, tmp_path, toy_params(), network=Diverging(5), looks=False)
    _, state = Checkpoints(tmp_path, PRINT).load(tmp_path / "step-00000004.ckpt")
    assert state["network"]["weight"].isfinite().all()


class Greedy(Diverging):
    """A network whose first call asks for more memory than there is."""

    def forward(self, *_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_out_of_memory_names_the_params_to_change(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at step 0: raise train\.accumulate=2 .* now 2 clips .* train\.batch_size"):
        run(toy_set, tmp_path, toy_params(batch_size=4, accumulate=2), network=Greedy(0), looks=False)


class Interrupting(Diverging):
    """A network during whose k-th call somebody presses Ctrl-C."""

    def __init__(self, calls: int) -> None:
        super().__init__(calls)
        self.random = nn.Dropout(0.5)  # which leaves it to one worker: one call a step

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        self.calls -= 1
        if self.calls == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return x * self.weight


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"after step 5 of 8, saved in .*run the same command again"):
        run(toy_set, tmp_path, toy_params(), network=Interrupting(5), looks=False)
    assert Checkpoints(tmp_path, PRINT).paths()[-1].name == "step-00000005.ckpt"
    whole = run(toy_set, tmp_path / "whole", toy_params(), network=Interrupting(10**9), looks=False)
    assert_same_bytes(whole, run(toy_set, tmp_path, toy_params(), network=Interrupting(10**9), looks=False))


def test_there_is_something_to_look_at(toy_set: Path, tmp_path: Path) -> None:
    result = run(toy_set, tmp_path, toy_params())
    names = {path.name for path in (tmp_path / "samples").iterdir()}
    assert names == {"latest.gif", "step-000004.png", "step-000008.png", "prompts.txt"}
    assert len((tmp_path / "loss.csv").read_text(encoding="utf-8").splitlines()) == 9
    assert len({row.t for row in result.history.last_validation()}) == 8
    assert result.clips_per_s > 0
    assert 0 <= result.data_wait_share < 1


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_overfits_one_clip(toy_set: Path, tmp_path: Path, optimizer: str) -> None:
    params = toy_params(
        optimizer=optimizer, steps=100, lr=3.0e-3, warmup_steps=10, prob_focus_present=0.0, val_every=1000
    )
    texts = toy_texts(toy_set)
    feed = open_feed(toy_set, params.train, texts)
    feed.clips.pixels[:] = feed.clips.pixels[0]  # type: ignore[union-attr]
    result = train(
        start_network(params.unet, params.train, texts, feed.clips.index),
        feed,
        texts,
        diffusion=Diffusion(params.diffusion),
        params=params.train,
        shares=DropShares(0.1, 0.1, 0.0),
        dist=DIST,
        checkpoints=Checkpoints(tmp_path, PRINT),
    )
    losses = [row.loss for row in result.history.steps]
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
