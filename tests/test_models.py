from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model_io.model_card import read_card, save_model
from pipeline.sampling.video_model import load_model
from pipeline.text.vocabulary import vocabulary_of, words_of
from tests.model_toys import HashEncoder, toy_card, write_toy_model

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


def test_vectors_do_what_captions_do(tmp_path: Path) -> None:
    write_toy_model(tmp_path)
    model = load_model(tmp_path)
    assert (model.sample(PROMPTS, [1, 2]) == model.sample(HashEncoder().encode(PROMPTS), [1, 2])).all()


def test_guidance_and_negative_reach_the_sampler(tmp_path: Path) -> None:
    write_toy_model(tmp_path)
    model = load_model(tmp_path)
    plain = model.sample(PROMPTS, [1, 2])
    strong = model.sampling.model_copy(update={"guidance_scale": 6.0})
    assert (model.sample(PROMPTS, [1, 2], sampling=strong) != plain).any()
    assert (model.sample(PROMPTS, [1, 2], negative=model.encode(PROMPTS[::-1])) != plain).any()


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
