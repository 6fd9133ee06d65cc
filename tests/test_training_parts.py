"""EMA, optimizers, checkpoints, precision, history: each by itself."""

from __future__ import annotations

import logging
import math
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.training.checkpoints import Checkpoints
from pipeline.training.distributed import DistContext, torchrun_args
from pipeline.training.ema import Ema, ema_decay_at
from pipeline.training.history import History
from pipeline.training.muon import Muon, orthogonalise
from pipeline.training.optimizers import Optimizers, is_muon_matrix, lr_share
from pipeline.training.precision import choose_dtype, cpu_flags, repeatable
from pipeline.training.stopping import StopRequest, explain_out_of_memory, find_divergence
from tests.training_toys import toy_params

CPU = torch.device("cpu")
ALONE = DistContext(0, 1, CPU)
EDGES = ("stem.", "head.")


# The moving average


def test_ema_follows_the_formula_from_step_0() -> None:
    source = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(source.weight)
    ema = Ema(source, decay=0.5)
    expected = 0.0
    for n, decay in enumerate([1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17, 0.5, 0.5]):
        nn.init.constant_(source.weight, float(n + 1))
        ema.update(n)
        expected = decay * expected + (1 - decay) * (n + 1)
        assert ema.network.weight.item() == pytest.approx(expected, rel=1e-6)


def test_ema_warm_up_ends_at_its_decay() -> None:
    assert ema_decay_at(0, 0.998) == 0.1
    assert ema_decay_at(10**6, 0.998) == 0.998


def test_ema_copies_until_its_start_and_then_updates_every_so_often() -> None:
    source = nn.Linear(1, 1, bias=False)
    ema = Ema(source, decay=0.9, start=2, every=3)
    seen = []
    for step in range(6):
        nn.init.constant_(source.weight, float(step))
        ema.update(step)
        seen.append(ema.network.weight.item())
    assert seen[:2] == [0.0, 1.0]  # copies
    assert seen[2] == pytest.approx(0.1 * 1.0 + 0.9 * 2.0)
    assert seen[3] == seen[4] == seen[2]
    assert seen[5] == pytest.approx(2 / 11 * seen[2] + 9 / 11 * 5.0)


def test_ema_copies_buffers_and_comes_back_from_its_state() -> None:
    source = nn.BatchNorm1d(2)
    ema = Ema(source, decay=0.9)
    source.running_mean.fill_(3.0)
    ema.update(0)
    assert ema.network.running_mean.tolist() == [3.0, 3.0]
    again = Ema(nn.BatchNorm1d(2), decay=0.9)
    again.load_state_dict(ema.state_dict())
    assert again.updates == 1
    averages: Any = again.network
    assert torch.equal(averages.running_mean, torch.tensor([3.0, 3.0]))
    again.update(1)  # still writes to the network it loaded into
    assert again.updates == 2


# Optimizers


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-3), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (128, 40), (32, 512)])
def test_orthogonalise_levels_the_singular_values_and_keeps_the_frames(
    shape: tuple[int, int], dtype: torch.dtype, off: float
) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -2, shape[1]))
    level = orthogonalise(matrix[None], dtype=dtype)[0]
    assert level.dtype is torch.float32
    values = torch.linalg.svdvals(level)
    assert values.max() < 1.25
    strong = torch.linalg.svdvals(matrix) > 0.02 * torch.linalg.svdvals(matrix)[0]
    assert values.sort(descending=True).values[: int(strong.sum())].min() > 0.5
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.mT @ level @ vh.mT  # diagonal where the singular vectors are kept
    assert (inner - torch.diag(inner.diagonal())).abs().max() < off


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalise_bears_a_matrix_of_hardly_any_rank(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(96, 1) @ torch.randn(1, 600) + 1e-3 * torch.randn(96, 600)
    assert torch.linalg.svdvals(orthogonalise(matrix[None], dtype=dtype)[0]).max() < 1.25


def test_muon_moves_a_square_matrix_by_lr_in_each_direction_and_trains_kernels() -> None:
    torch.manual_seed(0)
    matrix, kernel = nn.Parameter(torch.randn(32, 32)), nn.Parameter(torch.randn(32, 4, 3, 3))
    muon = Muon([matrix, kernel], lr=0.1, weight_decay=0.0)
    before = [matrix.detach().clone(), kernel.detach().clone()]
    matrix.grad, kernel.grad = torch.randn_like(matrix), torch.randn_like(kernel)
    muon.step()
    moves = [(before[0] - matrix).detach(), (before[1] - kernel).detach().reshape(32, 36)]
    for move in moves:
        values = torch.linalg.svdvals(move) / 0.1
        assert values.max() < 1.3
        assert values.median() > 0.6
    assert (moves[0] * matrix.grad).sum() > 0  # downhill


def test_muon_moves_the_same_bytes_on_one_core_and_on_two() -> None:
    before, moved = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.manual_seed(0)
        weights = [nn.Parameter(torch.randn(shape)) for shape in ((96, 96), (96, 96), (64, 16, 3, 3), (200, 64))]
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        torch.set_num_threads(threads)
        try:
            Muon(weights, lr=0.1, weight_decay=0.0).step()
        finally:
            torch.set_num_threads(before)
        moved.append(weights)
    assert all(torch.equal(one, two) for one, two in zip(*moved, strict=True))


def test_muon_finds_a_quadratics_minimum() -> None:
    torch.manual_seed(0)
    weight, goal = nn.Parameter(torch.zeros(24, 24)), torch.randn(24, 24)
    muon = Muon([weight], lr=0.2, weight_decay=0.0)
    for step in range(150):
        muon.param_groups[0]["lr"] = 0.2 * (1 - step / 150)
        weight.grad = (weight - goal).detach()
        muon.step()
    assert (weight - goal).square().mean() < 0.01


def test_muon_takes_hidden_matrices_only() -> None:
    big = torch.zeros(64, 64)
    assert is_muon_matrix("downs.0.conv1.weight", torch.zeros(64, 32, 3, 3), EDGES)
    for name, weight in [
        ("stem.weight", big),
        ("head.weight", big),
        ("x.bias", torch.zeros(64)),
        ("x.weight", torch.zeros(3, 64)),  # depthwise taps
        ("positions.space", big),
    ]:
        assert not is_muon_matrix(name, weight, EDGES), name


def test_optimizers_share_out_every_weight_once() -> None:
    network = nn.Sequential(nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.Linear(32, 32))
    optimizers = Optimizers(network, toy_params(optimizer="muon").train)
    given = [id(w) for o in optimizers.all for group in o.param_groups for w in group["params"]]
    assert sorted(given) == sorted(id(w) for w in network.parameters())
    assert sum(len(group["params"]) for group in optimizers.all[1].param_groups) == 2
    for group in optimizers.all[0].param_groups:
        for weight in group["params"]:
            assert (group["weight_decay"] > 0) == (weight.ndim >= 2)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_clipping_reports_the_norm_before_and_0_is_off(limit: float) -> None:
    network = nn.Linear(2, 1, bias=False)
    optimizers = Optimizers(network, toy_params(clip_grad_norm=limit).train)
    network.weight.grad = grad = torch.tensor([[3.0, 4.0]])
    assert optimizers.step(0).item() == pytest.approx(5.0)
    assert grad.norm().item() == pytest.approx(limit or 5.0, rel=1e-4)


@pytest.mark.parametrize("decay", ["cosine", "constant"])
def test_learning_rate_warms_up_and_decays(decay: str) -> None:
    params = toy_params(steps=101, warmup_steps=10, decay=decay, final_lr_share=0.1).train
    shares = [lr_share(step, params) for step in range(101)]
    assert shares[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert shares[10] == 1.0
    assert shares[100] == pytest.approx(1.0 if decay == "constant" else 0.1)
    assert shares[55] == pytest.approx(1.0 if decay == "constant" else 0.55)
    assert all(b <= a for a, b in pairwise(shares[10:]))


# Checkpoints

PRINT = "0123456789abcdef"


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, PRINT)
    for step in (5, 10, 15):
        checkpoints.save(step, {"x": torch.full((3,), float(step))})
    assert [path.name for path in checkpoints.paths()] == ["step-00000010.ckpt", "step-00000015.ckpt"]
    newest = checkpoints.newest()
    assert newest is not None
    step, state = checkpoints.load(newest)
    assert (step, state["x"].tolist()) == (15, [15.0] * 3)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("damage", ["cut", "empty", "flip"])
def test_a_damaged_checkpoint_falls_back_to_the_older_one(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, PRINT)
    older, newest = (checkpoints.save(step, {"x": torch.zeros(100)}) for step in (1, 2))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes({"cut": bytes(data[:-10]), "empty": b"", "flip": bytes(data)}[damage])
    assert checkpoints.newest() == older
    assert "step-00000002.ckpt: damaged or cut short" in caplog.text


def test_another_fingerprints_checkpoint_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Checkpoints(tmp_path, PRINT).save(1, {})
    assert Checkpoints(tmp_path, "f" * 16).newest() is None
    assert "starting fresh" in caplog.text


def test_a_failed_write_leaves_the_older_checkpoint_and_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, PRINT)
    older = checkpoints.save(1, {})

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(2, {})
    assert list(tmp_path.iterdir()) == [older]


# The rest


def test_bf16_on_a_cpu_only_where_its_flags_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nflags\t\t: fpu avx512f amx_bf16\n", encoding="utf-8")
    assert "amx_bf16" in cpu_flags(listed)
    assert cpu_flags(tmp_path / "missing") == set()
    for flags, dtype in (({"avx512f"}, torch.float32), ({"avx512_bf16"}, torch.bfloat16)):
        monkeypatch.setattr("pipeline.training.precision.cpu_flags", lambda flags=flags: flags)
        assert choose_dtype("auto", CPU) is dtype
        assert choose_dtype("fp32", CPU) is torch.float32


def test_a_tables_gradient_is_the_same_each_time_where_it_must_repeat() -> None:
    rng = torch.Generator().manual_seed(0)
    table = torch.randn(40, 64, generator=rng, requires_grad=True)
    rows, weights = torch.randint(40, (64, 60), generator=rng), torch.randn(64, 60, 64, generator=rng)
    with repeatable(torch.device("cpu")):
        gradients = [torch.autograd.grad((table[rows] * weights).sum(), table)[0] for _ in range(30)]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)  # on two threads without it: two or more
    assert not torch.are_deterministic_algorithms_enabled()


def history_of(losses: list[float]) -> History:
    history = History(["loss", "lr", "r1"], ["t", "loss"])
    for step, loss in enumerate(losses, start=1):
        values: dict[str, torch.Tensor | float] = {"loss": torch.tensor(loss), "lr": 1e-3 * step}
        history.add(step, values | ({"r1": torch.tensor(1.0)} if step == 2 else {}))
    history.fetch(ALONE)
    return history


def test_history_comes_back_exactly_and_thins_by_means(tmp_path: Path) -> None:
    history = history_of([step / 3 for step in range(1, 11)])
    history.validations += [(5, 0.5, 1.0), (10, 0.5, 0.25), (10, 0.9, 0.125)]
    again = History(["loss", "lr", "r1"], ["t", "loss"])
    again.load_state_dict(history.state_dict())
    assert (again.steps, again.validations) == (history.steps, history.validations)
    assert again.last_validation("loss") == [0.25, 0.125]
    again.write(tmp_path, rows=5)
    lines = (tmp_path / "loss.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "step,loss,lr,r1"
    assert lines[1] == "2,0.5,0.0015,0.5"
    assert len(lines) == 6
    assert (tmp_path / "val.csv").read_text(encoding="utf-8") == "step,t,loss\n5,0.5,1\n10,0.5,0.25\n10,0.9,0.125\n"


def test_a_value_that_a_step_leaves_out_keeps_its_last() -> None:
    assert history_of([1.0] * 4).values("r1") == [0.0, 1.0, 1.0, 1.0]


def test_an_empty_history_comes_back_too() -> None:
    history = History(["loss"])
    history.load_state_dict(History(["loss"]).state_dict())
    assert (history.steps, history.validations) == ([], [])


def test_the_first_step_that_is_not_finite_is_named() -> None:
    history = history_of([1.0, math.inf, math.nan])
    assert find_divergence(history, history.steps, ended=False) == "loss inf, lr 0.002, r1 1 at step 2"


@pytest.mark.parametrize(
    ("losses", "diverged_at"),
    [
        ([1.0] * 300, None),
        ([1.0] * 100 + [4.9] * 200, None),  # worse than untrained, and not diverged
        ([1.0] * 100 + [1e4] * 40 + [1.0] * 160, None),  # a spike from which it recovers
        ([1.0] * 150 + [2.0**k for k in range(150)], 203),  # at the 50th loss above 5
        ([1.0, 9.0, 99.0] + [6.0] * 9, 12),  # a short run is judged at its end
        ([1.0] * 8 + [3.0, 99.0, 1.0, 2.0], None),
    ],
)
def test_a_loss_far_above_the_untrained_networks_has_diverged(losses: list[float], diverged_at: int | None) -> None:
    history, found = history_of([]), None
    for step, loss in enumerate(losses, start=1):
        history.add(step, {"loss": torch.tensor(loss), "lr": 1e-3, "r1": 0.0})
        sign = find_divergence(history, history.fetch(ALONE), ended=step == len(losses))
        if sign is not None:
            found = step
            assert sign.endswith("more than 5 times the untrained network's 1")
            break
    assert found == diverged_at


def test_positions_are_cut_among_processes_and_micro_batches() -> None:
    cuts = [DistContext(rank, 2, CPU).positions(12, 3) for rank in range(2)]
    assert [place for cut in cuts for part in cut for place in range(12)[part]] == list(range(12))
    with pytest.raises(ValueError, match=r"train\.batch_size=12 does not divide by 5 processes"):
        DistContext(0, 5, CPU).positions(12, 1)


def test_torchrun_is_asked_for_by_gpus_or_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("T2V_TORCHRUN", raising=False)
    assert torchrun_args(0) is None
    assert torchrun_args(1) is None
    assert torchrun_args(8) == ["--standalone", "--nproc_per_node", "8"]
    monkeypatch.setenv("T2V_TORCHRUN", "--nnodes 2 --nproc_per_node 8 --rdzv-endpoint host:29500")
    assert torchrun_args(8) == ["--nnodes", "2", "--nproc_per_node", "8", "--rdzv-endpoint", "host:29500"]
    monkeypatch.setenv("T2V_TORCHRUN", "")
    assert torchrun_args(8) is None  # one process, please
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert torchrun_args(8) is None


def test_a_stop_request_waits_and_gives_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGTERM)  # dvc sends more than one
        with pytest.raises(KeyboardInterrupt, match="last checkpoint is kept"):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_out_of_memory_says_what_to_lower() -> None:
    with (
        pytest.raises(ValueError, match=r"out of memory at step 7: lower dim=4; the last checkpoint is kept"),
        explain_out_of_memory(7, "lower dim=4"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(ValueError, match="out of memory"), explain_out_of_memory(7, "lower dim=4"):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory(7, "lower dim=4"):
        torch.zeros(2) @ torch.zeros(3, 3)
