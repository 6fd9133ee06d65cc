"""Samplers against a Gaussian, whose best denoiser and probability flow have closed forms; no network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.config.models import DiffusionParams, SamplingParams
from pipeline.config.params import load_params
from pipeline.diffusion.process import Diffusion
from pipeline.sampling.interpolation import interpolate_clips
from pipeline.sampling.samplers import (
    SAMPLERS,
    build_sampler,
    draw_noise,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_euler,
    sample_heun,
    sample_video,
    seeded_generators,
)
from pipeline.text.captions import TextBatch

PARAMS = load_params(Path(__file__).with_name("params.yaml"))
MEAN, STD = 0.4, 0.7  # of the data
SCHEDULES = ["flow", "cosine"]


@dataclass(frozen=True)
class GaussianDenoiser:
    """E[x0 | x_t] for data that is N(MEAN, STD^2) in every element."""

    diffusion: Diffusion

    def alpha(self, t: Tensor) -> Tensor:
        return self.diffusion.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.diffusion.sigma(t)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.alpha(t), self.sigma(t)
        return MEAN + STD**2 * alpha / (alpha**2 * STD**2 + sigma**2) * (x_t - alpha * MEAN)

    def at(self, t: float, z: Tensor) -> Tensor:
        """The exact probability flow: where it stands at t, z deviations from the mean all the way."""
        alpha, sigma = (f(torch.tensor(t, dtype=torch.float64)) for f in (self.alpha, self.sigma))
        return alpha * MEAN + (alpha**2 * STD**2 + sigma**2).sqrt() * z


def gaussian(schedule: str) -> GaussianDenoiser:
    params = {**PARAMS.diffusion.model_dump(), "schedule": schedule}
    return GaussianDenoiser(Diffusion(DiffusionParams.read(params)))


def sampling(**values: object) -> SamplingParams:
    return SamplingParams.read({**PARAMS.sampling.model_dump(), **values})


def draw(sample: Callable[..., Tensor], schedule: str, steps: int, *, n: int = 1, elements: int = 64) -> Tensor:
    denoise, generators = gaussian(schedule), seeded_generators(range(n))
    x = draw_noise(generators, (elements,), torch.float64)
    return sample(denoise, x, denoise.diffusion.times(steps, 1.0), generators=generators)


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [("flow", 1.0, 0.0), ("cosine", 0.9, 0.1)],  # the cosine table's clock is not smooth at its ends
)
@pytest.mark.parametrize(
    ("sample", "order"),
    [(sample_euler, 1), (sample_ddim, 1), (sample_heun, 2), (sample_dpmpp_2m, 2)],
    ids=["euler", "ddim", "heun", "dpmpp_2m"],
)
def test_order_of_convergence(
    sample: Callable[..., Tensor], order: int, schedule: str, start: float, end: float
) -> None:
    denoise, z = gaussian(schedule), draw_noise(seeded_generators([0]), (64,)).double()
    errors = []
    for steps in (100, 200, 400):  # times on the table's thousandths, so that its kinks fall on steps
        times = torch.linspace(start, end, steps + 1, dtype=torch.float64)
        made = sample(denoise, denoise.at(start, z), times)
        errors.append(float((made - denoise.at(end, z)).norm()))
    slopes = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert all(abs(slope - order) < 0.25 for slope in slopes), (errors, slopes)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, with numpy 2
@pytest.mark.parametrize("sample", [sample_dpmpp_2m, sample_ddim], ids=["dpmpp_2m", "ddim"])
def test_steps_are_those_of_diffusers(sample: Callable[..., Tensor]) -> None:
    """On uneven times: a multistep sampler has to know how long its last step was."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    denoise, x = gaussian("cosine"), draw_noise(seeded_generators([0]), (64,)).double()
    indices = [999, 940, 700, 650, 300, 120]
    if sample is sample_ddim:
        indices = list(range(900, -1, -100))
        theirs: Any = DDIMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False, prediction_type="sample")
        theirs.set_timesteps(10)
    else:
        theirs = DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="sample")
        theirs.set_timesteps(timesteps=indices)
    times = (torch.tensor([*indices, -1], dtype=torch.float64) + 1) / 1000
    expected = x
    for index, t in zip(theirs.timesteps, times[:-1], strict=True):
        expected = theirs.step(denoise(expected, t), int(index), expected).prev_sample
    torch.testing.assert_close(sample(denoise, x, times), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "lcm"])
def test_samples_have_the_mean_and_variance_of_the_data(name: str, schedule: str) -> None:
    samples = draw(SAMPLERS[name], schedule, 250, elements=40_000)
    assert abs(samples.mean() - MEAN) < 0.015
    assert abs(samples.std() - STD) < 0.015


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_lcm_draws_less_than_the_variance_of_the_data(schedule: str) -> None:
    """Why it is for few steps, where others fall short of it, too."""
    deviations = {
        name: [float(draw(SAMPLERS[name], schedule, steps, elements=40_000).std()) for steps in (4, 250)]
        for name in ("lcm", "ddpm")
    }
    assert deviations["lcm"][0] > 0.85 * deviations["ddpm"][0]
    assert deviations["lcm"][1] < 0.75 * deviations["ddpm"][1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_lcm_forgets_the_noise_of_the_step_before(schedule: str) -> None:
    generators, seen = seeded_generators([0]), []

    @dataclass(frozen=True)
    class Zero(GaussianDenoiser):
        def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
            seen.append(x_t / self.sigma(t))
            return torch.zeros_like(x_t)

    denoise = Zero(gaussian(schedule).diffusion)
    made = SAMPLERS["lcm"](
        denoise, draw_noise(generators, (10_000,)), denoise.diffusion.times(3, 1.0), generators=generators
    )
    assert not made.any()
    noise = torch.cat(seen)  # (3, 10,000)
    torch.testing.assert_close(noise.double() @ noise.double().T / 10_000, torch.eye(3).double(), atol=0.05, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t_start", [1.0, 0.6])
def test_sampling_starts_from_noise_as_strong_as_it_is_at_t_start(schedule: str, t_start: float) -> None:
    asked: list[tuple[float, float]] = []

    def network(x: Tensor, t: Tensor, text: object, drop_text: Tensor | None = None) -> Tensor:
        asked.append((float(t), float(x.std())))
        return torch.zeros_like(x)

    diffusion = Diffusion(DiffusionParams.read({**PARAMS.diffusion.model_dump(), "schedule": schedule}))
    chosen = sampling(t_start=t_start, num_inference_steps=2)
    sample_video(network, diffusion, None, chosen, seeds=[0], shape=(1, 4, 64, 64), device="cpu")
    assert asked[0][0] == pytest.approx(t_start)
    assert asked[0][1] == pytest.approx(float(diffusion.sigma(torch.tensor(t_start))), rel=0.02)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_second_order_is_worth_it_at_ten_evaluations(schedule: str) -> None:
    exact = gaussian(schedule).at(0.0, draw_noise(seeded_generators([0]), (64,), torch.float64))
    errors = {
        name: float((draw(SAMPLERS[name], schedule, steps) - exact).norm())
        for name, steps in {"euler": 10, "heun": 5, "dpmpp_2m": 10}.items()
    }
    assert errors["dpmpp_2m"] < 0.5 * errors["euler"]
    assert errors["heun"] < errors["euler"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [10, 50])
def test_ddim_with_eta_1_is_ancestral_sampling(schedule: str, steps: int) -> None:
    """In distribution, and even draw for draw, though one follows Song's formula and the other Ho's."""
    ancestral = draw(sample_ddpm, schedule, steps, elements=20_000)
    ddim = draw(partial(sample_ddim, eta=1.0), schedule, steps, elements=20_000)
    torch.testing.assert_close(ddim, ancestral, rtol=1e-6, atol=1e-6)
    deterministic = draw(sample_ddim, schedule, steps, elements=20_000)
    assert (deterministic - ancestral).abs().mean() > 0.1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_euler_is_ddim_without_noise(schedule: str) -> None:
    torch.testing.assert_close(draw(sample_euler, schedule, 7), draw(sample_ddim, schedule, 7))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_answers_the_mean(name: str, schedule: str) -> None:
    samples = draw(SAMPLERS[name], schedule, 1)
    torch.testing.assert_close(samples, torch.full_like(samples, MEAN), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_batch_never_changes_a_sample(name: str) -> None:
    denoise, sample = gaussian("cosine"), build_sampler(sampling(sampler=name, eta=1.0))
    times = denoise.diffusion.times(5, 1.0)

    def drawn(seeds: list[int]) -> Tensor:
        generators = seeded_generators(seeds)
        return sample(denoise, draw_noise(generators, (3, 4)), times, generators=generators)

    together = drawn([7, 8, 9])
    assert torch.equal(together[1:2], drawn([8]))
    assert torch.equal(together[[2, 0]], drawn([9, 7]))
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("sample", [sample_ddpm, partial(sample_ddim, eta=0.5)])
def test_a_stochastic_sampler_has_a_generator_for_each_sample(sample: Callable[..., Tensor]) -> None:
    denoise = gaussian("flow")
    with pytest.raises(AssertionError, match="0 generators for 1 samples"):
        sample(denoise, torch.zeros(1, 4), denoise.diffusion.times(3, 1.0))


def test_noise_is_one_sample_a_seed() -> None:
    noise = draw_noise(seeded_generators([5, 6, 5]), (2, 3))
    assert noise.shape == (3, 2, 3)
    assert torch.equal(noise[0], noise[2])
    assert torch.equal(noise[1:2], draw_noise(seeded_generators([6]), (2, 3)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_counts_the_steps(name: str) -> None:
    denoise, generators, heard = gaussian("flow"), seeded_generators([0]), []
    SAMPLERS[name](
        denoise,
        draw_noise(generators, (4,)),
        denoise.diffusion.times(3, 2.0),
        generators=generators,
        callback=lambda step, steps, x0_pred: heard.append((step, steps, tuple(x0_pred.shape))),
    )
    assert heard == [(1, 3, (1, 4)), (2, 3, (1, 4)), (3, 3, (1, 4))]


@pytest.mark.parametrize(("name", "evaluations"), [("heun", 7), ("dpmpp_2m", 4), ("euler", 4), ("ddpm", 4), ("lcm", 4)])
def test_evaluations_a_sampler_takes(name: str, evaluations: int) -> None:
    asked: list[float] = []

    class Counting(GaussianDenoiser):
        def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
            asked.append(float(t))
            return super().__call__(x_t, t)

    generators = seeded_generators([0])
    diffusion = gaussian("flow").diffusion
    SAMPLERS[name](Counting(diffusion), draw_noise(generators, (4,)), diffusion.times(4, 1.0), generators=generators)
    assert len(asked) == evaluations
    assert min(asked) > 0.0


@pytest.mark.parametrize("objective", ["x0", "eps", "v"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_video_stays_finite_and_in_range_whatever_the_dialect(name: str, schedule: str, objective: str) -> None:
    """At t = 1 flow has no signal left, at t = 0 no noise: a network that answers 0 still gives a video."""
    params = {**PARAMS.diffusion.model_dump(), "schedule": schedule, "objective": objective}
    diffusion = Diffusion(DiffusionParams.read(params))
    video = sample_video(
        lambda x, t, text, drop_text=None: torch.zeros_like(x),
        diffusion,
        None,
        sampling(sampler=name, eta=0.5, num_inference_steps=4),
        seeds=[1, 2],
        shape=(3, 2, 4, 4),
        device="cpu",
    )
    assert video.shape == (2, 3, 2, 4, 4)
    assert video.abs().max() <= 1.0 + 1e-6


def between(weights: list[float], **values: Any) -> Tensor:
    """Interpolations between a dark and a light clip by a network that trusts what it sees: x0_pred = x_t."""
    first, second = torch.full((len(weights), 1, 2, 4, 4), -0.5), torch.full((len(weights), 1, 2, 4, 4), 0.5)
    arguments: dict[str, Any] = {"weights": weights, "t": 0.2, "seeds": [3] * len(weights), **values}
    diffusion = Diffusion(PARAMS.diffusion)
    return interpolate_clips(
        lambda x, t, text, drop_text=None: x, diffusion, None, first, second, sampling(sampler="ddim"), **arguments
    )


def test_interpolation_goes_from_one_clip_to_the_other() -> None:
    levels = between([0.0, 0.5, 1.0]).mean((1, 2, 3, 4))
    assert levels[0] < -0.2 < levels[1] < 0.2 < levels[2]
    assert torch.equal(between([0.5]), between([0.5, 0.1])[:1])
    assert not torch.equal(between([0.5]), between([0.5], seeds=[4]))


def test_interpolation_denoises_from_its_t() -> None:
    asked: list[float] = []

    def network(x: Tensor, t: Tensor, text: object, drop_text: Tensor | None = None) -> Tensor:
        asked.append(float(t))
        return x

    clip = torch.zeros(1, 1, 2, 4, 4)
    chosen: dict[str, Any] = {"weights": [0.5], "t": 0.6, "seeds": [0]}
    interpolate_clips(network, Diffusion(PARAMS.diffusion), None, clip, clip, sampling(), **chosen)
    assert asked[0] == pytest.approx(0.6)
    assert asked == sorted(asked, reverse=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"t": 1.0}, "t=1.0"), ({"weights": [1.5]}, "weights="), ({"seeds": [1, 2]}, "2 seeds for 1 clips")],
)
def test_interpolation_refuses_what_it_cannot_do(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        between(**{"weights": [0.5], **values})


def test_as_many_captions_as_seeds() -> None:
    with pytest.raises(ValueError, match="2 captions for 1 seeds"):
        sample_video(
            lambda x, t, text, drop_text=None: x,
            Diffusion(PARAMS.diffusion),
            TextBatch(torch.zeros(2, 1), torch.zeros(2, 1, 1), torch.ones(2, 1, dtype=torch.bool)),
            sampling(),
            seeds=[0],
            shape=(1, 1, 2, 2),
            device="cpu",
        )
