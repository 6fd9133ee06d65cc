"""The loop on a trainer of one weight: resume to the byte, stopping, divergence, what it leaves to look at."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.training.checkpoints import Checkpoints
from pipeline.training.ema import Ema
from pipeline.training.history import History, Row
from pipeline.training.loop import Run, train
from pipeline.training.preview import Preview
from pipeline.training.trainer import Trainer, Values
from tests.training_toys import ALONE, toy_params

PRINT = "0123456789abcdef"
PARAMS = toy_params(steps=8, checkpoint_every=2, sample_every=4, lr=0.1).train


class SlopeTrainer(Trainer[Tensor]):
    """Finds the slope of y = 3 x."""

    name, family = "train", "unet"
    columns, validation_columns = ("loss", "lr"), ("x", "loss")
    val_every = 4
    memory_advice, divergence_advice = "lower train.batch_size", "lower train.lr"

    def __init__(
        self,
        lr: float = 0.1,
        at: dict[int, Callable[[], None]] | None = None,  # what happens in the middle of a step
    ) -> None:
        self.params = PARAMS
        self.network, self.at = nn.Linear(1, 1, bias=False), at or {}
        nn.init.zeros_(self.network.weight)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr, momentum=0.5)
        self.ema = Ema(self.network, decay=0.9)
        self.starts = 0

    def start(self) -> None:
        self.starts += 1

    def prepare(self, step: int) -> Tensor:
        return torch.randn(4, 1, generator=torch.Generator().manual_seed(step))

    def step(self, step: int, batch: Tensor) -> Values:
        self.at.get(step, lambda: None)()
        loss = (self.network(batch) - 3 * batch).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.ema.update(step)
        return {"loss": loss, "lr": 0.1}

    def validate(self, step: int) -> list[Row]:
        return [(step, x, float((self.ema.network(torch.tensor([[x]])) - 3 * x).square())) for x in (1.0, 2.0)]

    def metrics(self, history: History) -> dict[str, Any]:
        return {"loss": history.final("loss")}

    def parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimizer": self.optimizer, "ema": self.ema}


class PowerCutError(Exception):
    """What a kill looks like from inside."""


def power_cut() -> None:
    raise PowerCutError


def run(folder: Path, trainer: SlopeTrainer, fingerprint: str = PRINT, **changes: Any) -> Run:
    trainer.params = PARAMS.model_copy(update=changes)
    preview = Preview(["up"], 1, 10.0, folder, lambda *_: torch.zeros(1, 3, 2, 8, 8))
    return train(trainer, ALONE, Checkpoints(folder, fingerprint), preview)


def assert_same_bytes(first: Run, second: Run) -> None:
    assert torch.equal(first.weights()["weight"], second.weights()["weight"])
    assert (first.history.steps, first.history.validations) == (second.history.steps, second.history.validations)


def test_a_killed_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", SlopeTrainer())
    for step in (3, 6):  # killed twice, each time between two checkpoints
        with pytest.raises(PowerCutError):
            run(tmp_path / "cut", SlopeTrainer(at={step: power_cut}))
    assert_same_bytes(whole, run(tmp_path / "cut", SlopeTrainer()))
    assert whole.history.values("step") == list(range(1, 9))
    assert [row[:2] for row in whole.history.validations] == [(4, 1.0), (4, 2.0), (8, 1.0), (8, 2.0)]
    assert whole.history.final("loss") > whole.history.last()["loss"] > 0


def test_a_finished_run_is_not_trained_again_nor_started_anew(tmp_path: Path) -> None:
    first, again = SlopeTrainer(), SlopeTrainer(at=dict.fromkeys(range(8), power_cut))
    assert_same_bytes(run(tmp_path, first), run(tmp_path, again))
    assert (first.starts, again.starts) == (1, 0)


def test_a_cut_checkpoint_costs_steps_but_no_bytes(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", SlopeTrainer())
    with pytest.raises(PowerCutError):
        run(tmp_path / "cut", SlopeTrainer(at={7: power_cut}))
    _, newest = Checkpoints(tmp_path / "cut", PRINT).paths()
    newest.write_bytes(newest.read_bytes()[:1000])
    assert_same_bytes(whole, run(tmp_path / "cut", SlopeTrainer()))


def test_a_changed_fingerprint_starts_fresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with pytest.raises(PowerCutError):
        run(tmp_path, SlopeTrainer(at={7: power_cut}))
    result = run(tmp_path, SlopeTrainer(), "f" * 16, steps=4)
    assert "starting fresh" in caplog.text
    assert "resuming" not in caplog.text
    assert result.history.values("step") == [1, 2, 3, 4]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    trainer = SlopeTrainer()
    trainer.at[5] = lambda: nn.init.constant_(trainer.network.weight, float("nan"))  # type: ignore[assignment]
    told = r"loss nan, lr 0\.1 at step 6 \(train\.seed=0\): training diverged; lower train\.lr; kept: .*-00000004\.ckpt"
    with pytest.raises(ValueError, match=told):
        run(tmp_path, trainer)
    _, state = Checkpoints(tmp_path, PRINT).load(tmp_path / "step-00000004.ckpt")
    assert state["trainer"]["network"]["weight"].isfinite().all()


def test_a_rate_far_too_high_ends_the_run_though_every_loss_is_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"loss \S+e\+\d+ at step 8, more than 5 times .* training diverged; lower"):
        run(tmp_path, SlopeTrainer(lr=10.0))
    assert [path.name for path in Checkpoints(tmp_path, PRINT).paths()] == ["step-00000004.ckpt", "step-00000006.ckpt"]


def test_out_of_memory_passes_the_advice_on(tmp_path: Path) -> None:
    def greedy() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ValueError, match=r"out of memory at step 2: lower train\.batch_size; the last"):
        run(tmp_path, SlopeTrainer(at={2: greedy}))


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"after step 5 of 8, saved in .*run the same command again"):
        run(tmp_path, SlopeTrainer(at={4: lambda: os.kill(os.getpid(), signal.SIGINT)}))
    assert Checkpoints(tmp_path, PRINT).paths()[-1].name == "step-00000005.ckpt"
    assert_same_bytes(run(tmp_path / "whole", SlopeTrainer()), run(tmp_path, SlopeTrainer()))


def test_the_losses_so_far_lie_beside_the_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        run(tmp_path, SlopeTrainer(at={5: power_cut}))
    assert len((tmp_path / "loss.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4
    assert (tmp_path / "val.csv").read_text(encoding="utf-8").startswith("step,x,loss\n4,1,")
