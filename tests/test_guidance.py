"""Guidance against a network whose prediction is written down: it adds the number of its caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.config.models import DiffusionParams, SamplingParams
from pipeline.config.params import load_params
from pipeline.diffusion.process import Diffusion
from pipeline.sampling.guidance import GuidedDenoiser, guided_denoiser, join_texts, threshold
from pipeline.sampling.samplers import sample_video
from pipeline.text.captions import TextBatch

PARAMS = load_params(Path(__file__).with_name("params.yaml"))
NULL = 0.01  # what the fake network adds for the null caption


class FakeNetwork:
    """x -> 0.1 x, plus the caption's number in the first channel; remembers the batch sizes that it was given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, x: Tensor, t: Tensor, text: TextBatch | None, drop_text: Tensor | None = None) -> Tensor:
        assert t.shape == (len(x),)
        assert t.dtype == torch.float32
        self.batches.append(len(x))
        said = torch.full((len(x),), NULL) if text is None else text.pooled[:, 0]
        if drop_text is not None:
            said = torch.where(drop_text, NULL, said)
        return 0.1 * x + told(said).to(x)


def told(numbers: Tensor) -> Tensor:
    """(B, 3, 1, 1, 1): the numbers in the first channel."""
    return numbers.double().reshape(-1, 1, 1, 1, 1) * torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1)


def captions(*numbers: float, tokens: int = 2) -> TextBatch:
    pooled = torch.tensor(numbers).reshape(-1, 1)
    shape = (len(numbers), tokens)
    return TextBatch(pooled=pooled, tokens=torch.ones(*shape, 1), mask=torch.ones(*shape, dtype=torch.bool))


def denoiser(
    network: FakeNetwork,
    text: TextBatch | None,
    negative: TextBatch | None = None,
    diffusion: DiffusionParams = PARAMS.diffusion,
    **values: Any,
) -> GuidedDenoiser:
    plain = {"guidance_interval": (0.0, 1.0), "guidance_scale": 1.0}
    sampling = SamplingParams.read({**PARAMS.sampling.model_dump(), **plain, **values})
    return guided_denoiser(network, Diffusion(diffusion), text, sampling, negative)


def predict(text: TextBatch | None, negative: TextBatch | None = None, t: float = 0.5, **values: Any) -> Tensor:
    return denoiser(FakeNetwork(), text, negative, **values)(X, torch.tensor(t, dtype=torch.float64))


X = 0.5 * torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TEXT = captions(0.2, -0.3)


def test_scale_1_is_the_conditional_prediction_alone() -> None:
    network = FakeNetwork()
    made = denoiser(network, TEXT)(X, torch.tensor(0.5))
    torch.testing.assert_close(made, 0.1 * X + told(TEXT.pooled))
    assert network.batches == [2]


def test_scale_0_is_the_unconditional_prediction_alone() -> None:
    network = FakeNetwork()
    made = denoiser(network, TEXT, guidance_scale=0.0)(X, torch.tensor(0.5))
    torch.testing.assert_close(made, 0.1 * X + told(torch.tensor(NULL)))
    assert network.batches == [2]


def test_one_batch_is_two_passes() -> None:
    network = FakeNetwork()
    made = denoiser(network, TEXT, guidance_scale=2.5)(X, torch.tensor(0.5))
    assert network.batches == [4]
    cond, uncond = predict(TEXT), predict(TEXT, guidance_scale=0.0)
    torch.testing.assert_close(made, uncond + 2.5 * (cond - uncond))
    assert not torch.allclose(made, cond)


def test_no_text_takes_one_pass_whatever_the_scale() -> None:
    network = FakeNetwork()
    torch.testing.assert_close(
        denoiser(network, None, guidance_scale=3.0)(X, torch.tensor(0.5)), 0.1 * X + told(torch.tensor(NULL))
    )
    assert network.batches == [2]


def test_negative_prompt_takes_the_null_captions_place() -> None:
    negative = captions(-0.1, 0.1, tokens=5)
    cond, against = predict(TEXT), predict(negative)
    torch.testing.assert_close(predict(TEXT, negative, guidance_scale=2.0), 2.0 * cond - against)
    torch.testing.assert_close(predict(TEXT, negative, guidance_scale=0.0), against)


@pytest.mark.parametrize(("text", "message"), [(None, "needs a prompt"), (captions(0.1), "2 negative prompts for 1")])
def test_negative_prompt_has_a_prompt_each(text: TextBatch | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict(text, TEXT)


def test_guidance_acts_inside_its_interval_only() -> None:
    guided: dict[str, Any] = {"guidance_scale": 2.0, "guidance_interval": (0.2, 0.6)}
    for t in (0.1, 0.61, 1.0):
        assert torch.equal(predict(TEXT, t=t, **guided), predict(TEXT, t=t))
    for t in (0.2, 0.4, 0.6):
        assert torch.equal(predict(TEXT, t=t, **guided), predict(TEXT, t=t, guidance_scale=2.0))
        assert not torch.equal(predict(TEXT, t=t, **guided), predict(TEXT, t=t))


@pytest.mark.parametrize("objective", ["eps", "v"])
def test_guidance_is_the_same_said_as_noise_or_as_velocity(objective: str) -> None:
    """Guidance of the predictions and of x0_pred agree, for both are affine in each other."""
    params = DiffusionParams.read({**PARAMS.diffusion.model_dump(), "objective": objective})
    diffusion, t = Diffusion(params), torch.tensor(0.2, dtype=torch.float64)
    small = X * 0.1
    made = denoiser(FakeNetwork(), TEXT, diffusion=params, guidance_scale=1.5)(small, t)
    said = 0.1 * small + told(NULL + 1.5 * (TEXT.pooled.double() - NULL))
    torch.testing.assert_close(made, diffusion.to_x0(said, small, t), rtol=1e-6, atol=1e-7)


def test_static_threshold_clips() -> None:
    assert threshold(torch.tensor([[-3.0, 0.5, 2.0]]), None).tolist() == [[-1.0, 0.5, 1.0]]


def test_dynamic_threshold_divides_by_each_samples_percentile() -> None:
    """Saharia et al. 2022, section 2.3: limit s = max(1, percentile of |x0|), clip to [-s, s], divide by s."""
    x0_pred = torch.stack([torch.linspace(-2.0, 2.0, 101), torch.linspace(-0.5, 0.5, 101)]).double()
    made = threshold(x0_pred, 0.5)
    torch.testing.assert_close(made[0], x0_pred[0].clamp(-1.0, 1.0))  # the median of |x0| is 1
    assert torch.equal(made[1], x0_pred[1])
    made = threshold(x0_pred, 1.0)
    torch.testing.assert_close(made[0], x0_pred[0] / 2.0)


def test_dynamic_thresholding_is_a_param() -> None:
    params = {**PARAMS.diffusion.model_dump(), "dynamic_thresholding": True, "threshold_percentile": 0.9}
    loud = 30.0 * X
    t = torch.tensor(0.5)
    static = denoiser(FakeNetwork(), TEXT)(loud, t)
    dynamic = denoiser(FakeNetwork(), TEXT, diffusion=DiffusionParams.read(params))(loud, t)
    assert dynamic.abs().max() <= 1.0
    assert (dynamic.abs() == 1.0).double().mean() < 0.15 < (static.abs() == 1.0).double().mean()


def test_joined_texts_pad_the_shorter() -> None:
    joined = join_texts(captions(0.1, tokens=2), captions(0.2, tokens=4))
    assert joined.tokens.shape == (2, 4, 1)
    assert joined.mask.tolist() == [[True, True, False, False], [True] * 4]


def test_guidance_changes_samples_and_the_caption_too() -> None:
    def video(number: float, scale: float) -> Tensor:
        values = {**PARAMS.sampling.model_dump(), "guidance_scale": scale, "num_inference_steps": 3}
        sampling = SamplingParams.read(values)
        shape, text = (3, 2, 4, 4), captions(number)
        return sample_video(
            FakeNetwork(), Diffusion(PARAMS.diffusion), text, sampling, seeds=[0], shape=shape, device="cpu"
        )

    assert video(0.2, 1.0).mean() < video(0.2, 2.0).mean() < video(0.4, 2.0).mean()
