from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pipeline import generate
from pipeline.config.params import parse_params
from pipeline.model_io.model_card import read_card, save_model
from pipeline.preset import merge, read_preset
from pipeline.sampling.defaults import default_sampling, write_sampling
from pipeline.sampling.video_model import load_model
from pipeline.text.vocabulary import vocabulary_of, words_of
from tests.model_toys import HashEncoder, toy_card, train_toy_models, write_toy_model

ROOT = Path(__file__).parents[1]
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))

PROMPTS = ["a red circle moving up", "a blue circle moving down"]


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.text.captions.load_encoder", lambda info: HashEncoder())


def test_equal_models_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_toy_model(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["model.json", "weights.safetensors"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_card_comes_back_as_it_was(tmp_path: Path) -> None:
    card = write_toy_model(tmp_path)
    assert read_card(tmp_path) == card


@pytest.mark.parametrize("family", ["unet", "gan"])
def test_a_copied_folder_samples_the_same(tmp_path: Path, family: str) -> None:
    write_toy_model(tmp_path / "here", family)
    before = load_model(tmp_path / "here").sample(PROMPTS, [1, 2])
    shutil.move(tmp_path / "here", tmp_path / "elsewhere")
    after = load_model(tmp_path / "elsewhere").sample(PROMPTS, [1, 2])
    assert before.shape == (2, 4, 16, 16, 3)
    assert before.dtype == np.uint8
    assert (before == after).all()


@pytest.mark.parametrize("family", ["unet", "gan"])
def test_a_sample_is_a_function_of_prompt_and_seed(tmp_path: Path, family: str) -> None:
    write_toy_model(tmp_path, family)
    model = load_model(tmp_path)
    both = model.sample(PROMPTS, [1, 2]).astype(int)
    alone = model.sample(PROMPTS[1:], [2]).astype(int)
    assert np.abs(both[1:] - alone).max() <= 1  # a batched product may round otherwise
    assert np.abs(model.sample(PROMPTS[1:], [3]).astype(int) - alone).max() > 1
    assert np.abs(model.sample(PROMPTS[:1], [2]).astype(int) - alone).max() > 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_toy_models(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("family", ["unet", "gan"])
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "away"])
def test_what_the_stage_wrote_draws_alone_what_generate_draws(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, inside: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    repository = tmp_path / "repository"
    if inside:
        repository.mkdir()
        shutil.copy(ROOT / "tests/params.yaml", repository / "params.yaml")
    monkeypatch.setattr("pipeline.sampling.standing.ROOT", repository)
    copy = shutil.copytree(trained / family, tmp_path / "copy")
    generate.main([PROMPTS[0], "--model", str(copy), "--format", "npy", "--device", "cpu"])
    (drawn,) = (np.load(path) for path in Path("samples").glob("*.npy"))
    assert np.array_equal(load_model(copy).sample(PROMPTS[:1], seeds=[0])[0], drawn)
    source = json.loads(Path("samples/prompts.jsonl").read_text(encoding="utf-8"))["sampling_from"]
    assert source == (None if family == "gan" else "params.yaml" if inside else "defaults")


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_the_defaults_of_a_folder_are_the_sampling_of_its_params(preset: str | None) -> None:
    tree = yaml.safe_load((ROOT / "tests/params.yaml").read_text(encoding="utf-8"))
    merge(tree, read_preset(preset, ROOT / "presets") if preset else {})
    params = parse_params(tree)
    assert default_sampling(params.diffusion) == params.sampling


def test_a_folder_may_bring_its_own_sampling(tmp_path: Path) -> None:
    write_toy_model(tmp_path)
    drawn = load_model(tmp_path).sample(PROMPTS, [1, 2])
    few = load_model(tmp_path).sampling.model_copy(update={"num_inference_steps": 2, "guidance_interval": (0.0, 1.0)})
    write_sampling(tmp_path, few)
    model = load_model(tmp_path)
    assert model.sampling == few
    assert np.array_equal(model.sample(PROMPTS, [1, 2]), model.sample(PROMPTS, [1, 2], sampling=few))
    assert not np.array_equal(model.sample(PROMPTS, [1, 2]), drawn)


@pytest.mark.parametrize(("text", "says"), [("{", "whole file"), ('{"shift": 0.0}', "sampler: Field required")])
def test_a_damaged_sampling_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    write_toy_model(tmp_path)
    (tmp_path / "sampling.json").write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_vectors_do_what_captions_do(tmp_path: Path) -> None:
    write_toy_model(tmp_path)
    model = load_model(tmp_path)
    assert (model.sample(PROMPTS, [1, 2]) == model.sample(PROMPTS, [1, 2], text=HashEncoder().encode(PROMPTS))).all()
    other = model.sample(PROMPTS, [1, 2], text=HashEncoder().encode(PROMPTS[::-1]))
    assert (model.sample(PROMPTS, [1, 2]) != other).any()


def test_guidance_and_negative_reach_the_sampler(tmp_path: Path) -> None:
    write_toy_model(tmp_path)
    model = load_model(tmp_path)
    plain = model.sample(PROMPTS, [1, 2])
    strong = model.sampling.model_copy(update={"guidance_scale": 6.0})
    guided = model.sample(PROMPTS, [1, 2], sampling=strong)
    assert (guided != plain).any()
    assert (model.sample(PROMPTS, [1, 2], sampling=strong, negative=PROMPTS[::-1]) != guided).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": [1]}, "2 captions, 1 seeds: give one of each"),
        ({"text": HashEncoder().encode(PROMPTS[:1])}, "2 captions, 2 seeds, 1 vectors"),
        ({"negative": ["blue"]}, "2 captions, 2 seeds, 1 negatives"),
    ],
)
@pytest.mark.parametrize("family", ["unet", "gan"])
def test_as_many_of_each_as_clips(tmp_path: Path, family: str, given: dict[str, Any], message: str) -> None:
    write_toy_model(tmp_path, family)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path).sample(PROMPTS, **{"seeds": [1, 2], **given})


@pytest.mark.parametrize("family", ["unet", "gan"])
def test_seeds_that_the_generator_cannot_tell_apart_are_refused(tmp_path: Path, family: str) -> None:
    write_toy_model(tmp_path, family)
    model = load_model(tmp_path)
    assert (model.sample(PROMPTS[:1], [2**32 - 1]) != model.sample(PROMPTS[:1], [0])).any()
    for seed in (2**32, -1):
        with pytest.raises(ValueError, match=f"seed {seed} is not in 0 to 4294967295"):
            model.sample(PROMPTS, [0, seed])


@pytest.mark.parametrize("family", ["unet", "gan"])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, family: str) -> None:
    write_toy_model(tmp_path, family)
    model = load_model(tmp_path)
    for weight in model.network.parameters():
        weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"no number \(NaN\)"):
        model.sample(PROMPTS, [0, 1])


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a model folder \(model.json missing\); run dvc repro"):
        load_model(tmp_path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    write_toy_model(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights\.safetensors: missing"):
        load_model(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_weights_that_do_not_fit_are_one_line(tmp_path: Path, damage: str) -> None:
    card = write_toy_model(tmp_path)
    path = tmp_path / "weights.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        save_model(tmp_path, card, {"stray": torch.zeros(2)})
    with pytest.raises(ValueError, match="weights do not fit the card") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"family": "unet"}'])
def test_a_damaged_card_is_one_line(tmp_path: Path, text: str) -> None:
    write_toy_model(tmp_path)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ValueError, match="not a model card"):
        load_model(tmp_path)


def test_a_card_of_a_later_format_is_refused(tmp_path: Path) -> None:
    write_toy_model(tmp_path)
    tree = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**tree, "format": 2}))
    with pytest.raises(ValueError, match=r"format 2.*this version reads 1"):
        load_model(tmp_path)


def test_params_that_are_out_of_range_are_named(tmp_path: Path) -> None:
    card = toy_card()
    card.params["unet"]["dim"] = 0
    save_model(tmp_path, card, {})
    with pytest.raises(ValueError, match=r"unet\.dim"):
        load_model(tmp_path)


def test_a_model_from_before_a_param_samples_as_it_did(tmp_path: Path) -> None:
    card = write_toy_model(tmp_path)
    before = load_model(tmp_path).sample(PROMPTS, [0, 1])
    tree = json.loads((tmp_path / "model.json").read_text())
    assert card.params["unet"]["unfold_frames"] is None
    del tree["params"]["unet"]["unfold_frames"]
    (tmp_path / "model.json").write_text(json.dumps(tree))
    assert np.array_equal(load_model(tmp_path).sample(PROMPTS, [0, 1]), before)


@pytest.mark.parametrize(("key", "says"), [("patch", "missing"), ("stray", "unknown here")])
def test_a_card_of_another_version_says_so(tmp_path: Path, key: str, says: str) -> None:
    card = toy_card()
    card.params["unet"].pop(key, None) or card.params["unet"].update({key: 1})
    save_model(tmp_path, card, {})
    with pytest.raises(ValueError, match=rf"unet\.{key}: {says}; another version"):
        load_model(tmp_path)


def test_words_lose_their_punctuation_and_keep_their_hyphens() -> None:
    assert words_of('A red circle, moving "up-left"!') == ["a", "red", "circle", "moving", "up-left"]
    assert vocabulary_of(["b a.", "a C"]) == ("a", "b", "c")
