"""Given frames: drawn beside all else in training, seen by the network, no part of the loss, and kept in a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.diffusion.batches import HostBatch, given_frames, make_host_batch
from pipeline.diffusion.noise import DropShares, GivenDraws, GivenShares, draw_step
from pipeline.diffusion.process import Diffusion
from pipeline.diffusion.training import DiffusionTrainer, start_network
from pipeline.model_io.model_card import read_card
from pipeline.sampling.video_model import load_model
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.loop import Run, train
from tests.model_toys import HashEncoder, toy_card, write_toy_model
from tests.training_toys import ALONE, open_toy_trainer, toy_params, toy_texts, write_toy_set

PROMPTS = ["a red circle moving up", "a blue circle moving down"]
SHARES = DropShares(text=0.1, pooled=0.3, focus=0.5)
DIFFUSION = Diffusion(toy_params().diffusion)


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_set(tmp_path_factory.mktemp("toy"))


def test_draws_of_given_frames_leave_all_other_draws_as_they_were() -> None:
    plain = draw_step(DIFFUSION, SHARES, seed=5, step=3, batch_size=64)
    with_frames = draw_step(DIFFUSION, SHARES, GivenShares((1, 3), 0.5, 0.2), seed=5, step=3, batch_size=64)
    for name in ("t", "drop_text", "drop_pooled", "focus_present"):
        assert torch.equal(getattr(plain, name), getattr(with_frames, name))
    assert plain.given is None


def test_given_frames_keep_their_share_their_counts_and_their_noise() -> None:
    shares = GivenShares((1, 3), 0.3, 0.2)
    whole = draw_step(DIFFUSION, SHARES, shares, seed=5, step=3, batch_size=6400)
    assert whole.given is not None
    late = whole.at(slice(40, 64)).given
    assert late is not None
    assert torch.equal(whole.given.count[40:64], late.count)
    assert torch.equal(whole.given.noise_std[40:64], late.noise_std)
    counts = [int((whole.given.count == count).sum()) for count in (0, 1, 3)]
    assert sum(counts) == 6400
    assert abs(counts[0] / 6400 - 0.7) < 0.03  # 5 standard errors
    assert abs(counts[1] / 6400 - 0.15) < 0.025
    over_t = whole.given.noise_std / (0.2 * whole.t)  # even in 0 to 1: more noise at high t
    assert 0.0 <= over_t.min() < 0.01
    assert 0.99 < over_t.max() <= 1.0
    assert abs(over_t.mean() - 0.5) < 0.02


def test_frames_are_given_with_their_noise_and_nothing_after_them() -> None:
    x0, seeds = torch.rand(3, 3, 4, 8, 8), np.array([5, 6, 7])
    draws = GivenDraws(torch.tensor([0, 1, 3]), torch.tensor([0.5, 0.0, 0.25]))
    given = given_frames(x0, draws, seeds)
    assert not given[0].any()
    assert torch.equal(given[1, :, :1], x0[1, :, :1])
    assert not given[1, :, 1:].any()
    assert not given[2, :, 3:].any()
    noise = given[2, :, :3] - x0[2, :, :3]
    assert abs(noise.std() - 0.25) < 0.03
    assert abs(noise.mean()) < 0.05
    late = slice(2, 3)
    assert torch.equal(given_frames(x0[late], draws.at(late), seeds[late]), given[late]), "the cut of the batch"
    assert not torch.equal(given_frames(x0[late], draws.at(late), np.array([8])), given[late])


def test_a_gpu_makes_them_of_the_bytes_that_it_gets(toy_set: Path) -> None:
    """Its way through a batch, on the CPU: the same frames, noise and what is given."""
    trainer = open_toy_trainer(toy_set, toy_params(given_frames=[1, 2], given_share=0.5, batch_size=8))
    clips = trainer.feed.batch(0)
    draws = draw_step(trainer.diffusion, SHARES, trainer.given, seed=0, step=0, batch_size=8)
    text = trainer.texts.batch(clips.captions)
    here = make_host_batch(clips, text, draws, ALONE.device).to(ALONE.device)
    there = HostBatch(clips.frames, None, clips.seeds, text, draws, None).to(ALONE.device)
    assert torch.equal(here.x0, there.x0)
    assert torch.equal(here.eps, there.eps)
    assert here.given["num_given"].any()
    assert all(torch.equal(here.given[name], there.given[name]) for name in ("given", "num_given"))


def shaken(network: nn.Module) -> nn.Module:
    """A network whose last layers, and those that see given frames, are not zero."""
    generator = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1, generator=generator)
    return network.eval()


def test_a_new_network_learns_from_the_start_that_one_for_text_alone_has(toy_set: Path) -> None:
    params, texts = toy_params(given_frames=[1, 2]), toy_texts(toy_set)
    takes = start_network(params.unet, params.train, texts).state_dict()
    plain = start_network(params.unet, toy_params().train, texts).state_dict()
    assert set(takes) - set(plain) == {"stem_given.conv.weight"}
    assert not takes["stem_given.conv.weight"].any()
    assert all(torch.equal(takes[name], weight) for name, weight in plain.items())


def test_the_network_sees_what_is_given_and_how_many_frames(toy_set: Path) -> None:
    params, texts = toy_params(given_frames=[1, 2]), toy_texts(toy_set)
    network = shaken(start_network(params.unet, params.train, texts))
    text = texts.batch(list(texts.index)[:2])
    x, t, given = torch.randn(2, 3, 4, 16, 16), torch.full((2,), 0.9), torch.zeros(2, 3, 4, 16, 16)
    with torch.no_grad():
        plain = network(x, t, text)

        def answers(count: int) -> torch.Tensor:
            return network(x, t, text, given=given, num_given=torch.tensor([0, count]))

        assert torch.allclose(answers(0), plain, atol=1e-6)
        grey = answers(1)
        assert torch.allclose(grey[0], plain[0], atol=1e-6), "a clip beside it that is given none"
        assert not torch.allclose(grey[1], plain[1], atol=1e-3), "a grey frame is no missing one"
        given[1, :, 0] = 1.0
        assert not torch.allclose(answers(1)[1], grey[1], atol=1e-3)
        assert not torch.allclose(answers(2)[1], answers(1)[1], atol=1e-3)


def test_what_the_network_makes_of_given_frames_does_not_count(toy_set: Path) -> None:
    trainer = open_toy_trainer(toy_set, toy_params(given_frames=[2], given_share=0.5, batch_size=8))
    batch = next(
        micro.to(ALONE.device) for micro in trainer.prepare(0) if micro.draws.given and micro.draws.given.count.any()
    )
    given = batch.given["num_given"] == 2
    x_t = trainer.diffusion.add_noise(batch.x0, batch.eps, batch.t)

    def loss(answer: torch.Tensor) -> torch.Tensor:
        return trainer.diffusion.loss(answer, batch.x0, batch.eps, x_t, batch.t, batch.asked)

    answer = batch.x0 + 0.1
    spoilt, spoilt_late = answer.clone(), answer.clone()
    spoilt[:, :, :2] += 1.0
    spoilt_late[:, :, 2:] += 1.0
    assert torch.equal(loss(spoilt)[given], loss(answer)[given])
    assert (loss(spoilt)[~given] > loss(answer)[~given]).all()
    assert (loss(spoilt_late) > loss(answer)).all()
    assert torch.allclose(loss(answer)[given], trainer.diffusion.loss_weight(batch.t)[given] * 0.01 * 2 / 4)


class PowerCutError(Exception):
    """What a kill looks like from inside."""


def run(toy_set: Path, folder: Path, *, off_at: int | None = None) -> Run:
    trainer = open_toy_trainer(toy_set, toy_params(given_frames=[1, 2], accumulate=2))
    trainer.val_every = None
    if off_at is not None:
        prepare = trainer.prepare

        def cut(step: int) -> Any:
            if step >= off_at:
                raise PowerCutError
            return prepare(step)

        trainer.prepare = cut  # type: ignore[method-assign]
    return train(trainer, ALONE, Checkpoints(folder, "0123456789abcdef"))


def test_a_killed_run_with_given_frames_ends_in_the_same_bytes(toy_set: Path, tmp_path: Path) -> None:
    whole = run(toy_set, tmp_path / "whole").weights()
    with pytest.raises(PowerCutError):
        run(toy_set, tmp_path / "cut", off_at=5)
    again = run(toy_set, tmp_path / "cut")
    assert all(torch.equal(weight, whole[name]) for name, weight in again.weights().items())
    assert whole["stem_given.conv.weight"].any(), "it learns"
    assert isinstance(again.trainer, DiffusionTrainer)


def giving_card(**changes: Any) -> dict[str, Any]:
    params = {name: {**section} for name, section in toy_card().params.items()}
    params["train"] |= {"given_frames": [2, 1]}
    return {"params": params, **changes}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_toy_model(folder, **giving_card())
    return folder


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.text.captions.load_encoder", lambda info: HashEncoder())


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "euler", "heun", "dpmpp_2m"])
def test_given_frames_stand_in_the_sample_as_they_are(model_folder: Path, sampler: str) -> None:
    model = load_model(model_folder)
    assert model.sampling is not None
    sampling = model.sampling.model_copy(update={"sampler": sampler, "num_inference_steps": 3})
    given = np.random.default_rng(0).integers(0, 256, (2, 2, 16, 16, 3), np.uint8)
    plain = model.sample(PROMPTS, [1, 2], sampling=sampling)
    drawn = model.sample(PROMPTS, [1, 2], sampling=sampling, given=given)
    assert np.array_equal(drawn[:, :2], given)
    assert not np.array_equal(drawn[:, 2:], plain[:, 2:]), "the rest follows from them"
    alone = model.sample(PROMPTS[1:], [2], sampling=sampling, given=given[1:])
    assert np.abs(drawn[1:].astype(int) - alone).max() <= 1  # a batched product may round otherwise


def test_a_card_says_what_it_was_trained_to_go_on_from(model_folder: Path, tmp_path: Path) -> None:
    assert read_card(model_folder).given_frames == (1, 2)
    for family in ("unet", "gan"):
        write_toy_model(tmp_path / family, family)
        assert read_card(tmp_path / family).given_frames == ()


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((2, 3, 16, 16, 3), "3 given frames: this model was trained for 1, 2 of its 4"),
        ((2, 4, 16, 16, 3), "4 given frames: this model was trained for 1, 2 of its 4"),
        ((2, 1, 32, 32, 3), r"given frames are uint8 \(2, 1, 32, 32, 3\); this model's are uint8 \(B, K, 16, 16, 3\)"),
        ((1, 1, 16, 16, 3), "2 captions, 2 seeds, 1 given: give one of each"),
    ],
)
def test_frames_that_it_cannot_go_on_from_are_one_line(model_folder: Path, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        load_model(model_folder).sample(PROMPTS, [1, 2], given=np.zeros(shape, np.uint8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "says"), [("unet", "not trained for given frames: train one with"), ("gan", "a GAN draws from noise")]
)
def test_a_model_that_was_not_trained_for_them_says_so(tmp_path: Path, family: str, says: str) -> None:
    write_toy_model(tmp_path, family)
    with pytest.raises(ValueError, match=says):
        load_model(tmp_path).sample(PROMPTS, [1, 2], given=np.zeros((2, 1, 16, 16, 3), np.uint8))
