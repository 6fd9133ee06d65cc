"""Noise and objectives, against closed forms and against diffusers' tables."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from pipeline.config.models import DiffusionParams
from pipeline.config.params import load_params
from pipeline.diffusion.process import Diffusion
from pipeline.diffusion.schedules import BetaSchedule, FlowSchedule, cosine_betas
from pipeline.sampling.samplers import Denoiser, posterior

PARAMS = load_params(Path(__file__).with_name("params.yaml"))
SCHEDULES = ["flow", "cosine"]
OBJECTIVES = ["x0", "eps", "v"]


def changed(**values: object) -> DiffusionParams:
    return DiffusionParams.read({**PARAMS.diffusion.model_dump(), **values})


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def foreign() -> Any:
    from diffusers import DDPMScheduler  # seconds, which a worker that has no test of it need not spend

    return DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False, prediction_type="sample")


def test_the_table_is_that_of_diffusers() -> None:
    scheduler, steps = foreign(), 1000
    ours = BetaSchedule(cosine_betas(steps))
    torch.testing.assert_close(ours.betas, scheduler.betas.double(), rtol=2e-4, atol=1e-7)
    torch.testing.assert_close(ours.alphas_cumprod, scheduler.alphas_cumprod.double(), rtol=2e-3, atol=1e-7)
    t = (torch.arange(steps, dtype=torch.float64) + 1) / steps
    torch.testing.assert_close(ours.alpha(t) ** 2, ours.alphas_cumprod)
    torch.testing.assert_close(ours.alpha(t) ** 2 + ours.sigma(t) ** 2, torch.ones_like(t))


@pytest.mark.parametrize("stride", [1, 20])
def test_posterior_is_that_of_diffusers(stride: int) -> None:
    """Share of x0, share of x_t and variance, each read out of one step of their sampler."""
    scheduler, diffusion = foreign(), Diffusion(changed(schedule="cosine"))
    scheduler.set_timesteps(1000 // stride)
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    def their_step(x0: Tensor, k: int, x_t: Tensor) -> Tensor:
        return scheduler.step(x0, k, x_t, generator=torch.Generator().manual_seed(0)).prev_sample

    noise = torch.randn(1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for k in (20, 500, 980):
        t, t_next = (torch.tensor((step + 1) / 1000, dtype=torch.float64) for step in (k, k - stride))
        ours, drift = posterior(cast(Denoiser, diffusion), t, t_next), their_step(zero, k, zero)
        theirs = [their_step(one, k, zero) - drift, their_step(zero, k, one) - drift, drift / noise]
        made = [ours.x0_share, ours.x_share, ours.variance.sqrt()]
        torch.testing.assert_close(torch.stack(made), torch.cat(theirs).flatten(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("steps", [10, 250, 4000])
def test_any_length_of_table_ends_in_noise(steps: int) -> None:
    schedule = BetaSchedule(cosine_betas(steps))
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert schedule.alpha(ends)[0] == 1.0
    assert schedule.sigma(ends)[0] == 0.0
    assert schedule.alpha(ends)[1] < 0.01
    between = schedule.alpha(torch.linspace(0, 1, 3 * steps + 1, dtype=torch.float64))
    assert (between.diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_has_the_moments_it_says(schedule: str) -> None:
    diffusion = Diffusion(changed(schedule=schedule))
    x0, eps = torch.full((3, 200_000), 0.5, dtype=torch.float64), normal(0, 3, 200_000)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    x_t = diffusion.add_noise(x0, eps, t)
    torch.testing.assert_close(x_t.mean(1), 0.5 * diffusion.alpha(t), atol=0.01, rtol=0)
    torch.testing.assert_close(x_t.std(1), diffusion.sigma(t), atol=0.01, rtol=0)


def test_flow_is_the_straight_line() -> None:
    diffusion = Diffusion(changed(schedule="flow", objective="v"))
    x0, eps = normal(0, 2, 3, 4), normal(1, 2, 3, 4)
    t = torch.tensor([0.25, 1.0], dtype=torch.float64)
    x_t = diffusion.add_noise(x0, eps, t)
    torch.testing.assert_close(x_t[0], 0.75 * x0[0] + 0.25 * eps[0])
    torch.testing.assert_close(x_t[1], eps[1])
    torch.testing.assert_close(diffusion.target(x0, eps, t), eps - x0)


@pytest.mark.parametrize(("schedule", "objective"), [*itertools.product(SCHEDULES, OBJECTIVES)])
def test_the_right_answer_gives_back_the_data(schedule: str, objective: str) -> None:
    diffusion = Diffusion(changed(schedule=schedule, objective=objective))
    x0, eps = normal(0, 5, 3, 4), normal(1, 5, 3, 4)
    t = torch.tensor([0.02, 0.3, 0.5, 0.77, 0.98], dtype=torch.float64)
    x_t = diffusion.add_noise(x0, eps, t)
    model_output = diffusion.target(x0, eps, t)
    torch.testing.assert_close(diffusion.to_x0(model_output, x_t, t), x0, rtol=1e-9, atol=1e-9)
    assert diffusion.loss(model_output, x0, eps, x_t, t).abs().max() == 0.0
    torch.testing.assert_close(diffusion.to_x0(model_output[2:3], x_t[2:3], t[2]), x0[2:3])


@pytest.mark.parametrize(("schedule", "objective"), [*itertools.product(SCHEDULES, OBJECTIVES)])
def test_answers_stay_finite_at_pure_noise_and_at_none(schedule: str, objective: str) -> None:
    diffusion = Diffusion(changed(schedule=schedule, objective=objective))
    x_t, model_output, t = normal(0, 2, 8), normal(1, 2, 8), torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert torch.isfinite(diffusion.to_x0(model_output, x_t, t)).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_objective_is_weighted_alike(schedule: str) -> None:
    """One wrong x0_pred, told as x0, eps and v, costs the same: the weights differ by the objectives' own scales."""
    x0, eps, wrong = normal(0, 4, 6), normal(1, 4, 6), normal(2, 4, 6)
    t = torch.tensor([0.3, 0.4, 0.5, 0.55], dtype=torch.float64)
    losses = []
    for objective in OBJECTIVES:
        diffusion = Diffusion(
            changed(schedule=schedule, objective=objective, loss_weight="velocity", loss_weight_max=50.0)
        )
        x_t = diffusion.add_noise(x0, eps, t)
        eps_wrong = (x_t - _column(diffusion.alpha(t)) * wrong) / _column(diffusion.sigma(t))
        losses.append(diffusion.loss(diffusion.target(wrong, eps_wrong, t), x0, eps, x_t, t))
    torch.testing.assert_close(losses[0], losses[2])
    torch.testing.assert_close(losses[0], losses[1])


def test_velocity_weight_is_capped() -> None:
    t = torch.tensor([0.001, 0.15, 0.25, 1.0], dtype=torch.float64)
    weights = [Diffusion(changed(loss_weight_max=cap)).loss_weight(t) for cap in (25.0, 1000.0)]
    torch.testing.assert_close(weights[0], torch.tensor([25.0, 25.0, 16.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(weights[1], torch.tensor([100.0, 0.15**-2, 16.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize(("loss", "expected"), [("l2", (4.0 + 0.25) / 2), ("l1", 1.25)])
def test_losses_are_what_they_say(loss: str, expected: float) -> None:
    diffusion = Diffusion(changed(loss=loss, loss_weight="none"))
    x0 = torch.zeros(2, 1, 2, dtype=torch.float64)
    model_output = torch.tensor([[[2.0, 0.5]], [[0.0, 0.0]]], dtype=torch.float64)
    t = torch.tensor([0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(diffusion.loss(model_output, x0, x0, x0, t).tolist(), [expected, 0.0])


def many_batches(schedule: FlowSchedule | BetaSchedule) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.cat([schedule.sample_t(5, generator) for _ in range(10_000)])


def test_flow_times_are_logit_normal() -> None:
    logits = torch.logit(many_batches(FlowSchedule(t_mean=1.5, t_std=0.7)).double())
    assert abs(logits.mean() - 1.5) < 0.01
    assert abs(logits.std() - 0.7) < 0.01
    assert abs((logits > 1.5 + 2 * 0.7).double().mean() - 0.02275) < 0.003


def test_table_times_are_uniform_over_its_steps() -> None:
    values, counts = (many_batches(BetaSchedule(cosine_betas(10))) * 10).round().unique(return_counts=True)
    assert values.tolist() == list(range(1, 11))
    assert (counts / 50_000 - 0.1).abs().max() < 0.01


def test_each_batch_covers_all_noise_levels_in_random_order() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [FlowSchedule(t_mean=1.5, t_std=0.7).sample_t(32, generator) for _ in range(2)]
    for t in batches:
        quantiles = torch.special.ndtr((torch.logit(t.double()) - 1.5) / 0.7)
        assert ((quantiles * 32).floor().long().sort().values == torch.arange(32)).all()
        assert not (quantiles.diff() > 0).all()
    assert not torch.equal(*batches)


def test_times_dwell_at_high_noise() -> None:
    diffusion = Diffusion(PARAMS.diffusion)
    torch.testing.assert_close(diffusion.times(4, 1.0).tolist(), [1.0, 0.75, 0.5, 0.25, 0.0])
    torch.testing.assert_close(diffusion.times(2, 3.0).tolist(), [1.0, 0.75, 0.0])
    late = diffusion.times(4, 3.0, start=0.75)
    torch.testing.assert_close(late.tolist(), [0.75, 9 / 14, 0.5, 0.3, 0.0])  # u = 1/2 in four even steps
    with pytest.raises(ValueError, match="num_inference_steps=0"):
        diffusion.times(0, 1.0)


def test_times_come_from_the_generator_alone() -> None:
    for schedule in SCHEDULES:
        diffusion = Diffusion(changed(schedule=schedule))
        draws = [diffusion.sample_t(8, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])


def _column(values: Tensor) -> Tensor:
    return values.reshape(-1, 1)
