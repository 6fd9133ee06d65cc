"""train.init_from on toys: what is taken over, what is not, what is refused, and how the new model says so."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.diffusion.initial import STATISTICS, find_initial
from pipeline.diffusion.training import start_network
from pipeline.model_io.model_card import read_card
from pipeline.report.provenance import counts
from pipeline.runtime.scratch import fingerprint
from pipeline.sampling.video_model import load_model
from pipeline.training.distributed import DistContext
from stages import train as stage
from tests.model_toys import write_toy_model
from tests.training_toys import open_toy_trainer, toy_params, toy_texts, write_toy_params, write_toy_set


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy set and models/pretrained/first, a U-Net of the toy params."""
    write_toy_set(tmp_path)
    params = toy_params()
    write_toy_model(
        tmp_path / "models/pretrained/first",
        params={name: params.model_dump(mode="json")[name] for name in ("unet", "diffusion", "train")},
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in STATISTICS


@pytest.mark.slow
def test_a_run_starts_from_the_weights_and_its_own_captions(project: Path) -> None:
    trainer = open_toy_trainer(project / "data/shards/shapes", toy_params(init_from="first"))
    trainer.start()
    theirs = load_file(project / "models/pretrained/first/weights.safetensors")
    fresh = start_network(toy_params().unet, toy_params().train, toy_texts(project / "data/shards/shapes")).state_dict()
    for network in (trainer.network, trainer.ema.network):
        state = network.state_dict()
        assert all(torch.equal(state[name], value) for name, value in theirs.items() if not is_statistic(name))
        assert any(not torch.equal(state[name], value) for name, value in fresh.items() if not is_statistic(name))
    statistics = {name: value for name, value in trainer.network.state_dict().items() if is_statistic(name)}
    assert len(statistics) == len(STATISTICS)
    assert all(not torch.equal(value, theirs[name]) for name, value in statistics.items())


@pytest.mark.slow
def test_the_stage_says_what_it_started_from(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_params(project, steps=2, init_from="first")
    inputs: list[str] = []
    open_checkpoints = stage.open_checkpoints

    def watch(name: str, parts: Sequence[Any], files: Sequence[Path], dist: DistContext) -> Any:
        inputs.extend(map(str, files))
        return open_checkpoints(name, parts, files, dist)

    monkeypatch.setattr(stage, "open_checkpoints", watch)
    stage.main()
    assert inputs[2:] == ["models/pretrained/first/model.json", "models/pretrained/first/weights.safetensors"]
    told = json.loads((project / "models/unet/model.json").read_text())
    digest = hashlib.sha256((project / "models/pretrained/first/weights.safetensors").read_bytes()).hexdigest()
    assert told["extra"] == {"init_from": "first", "init_from_sha256": digest}
    assert told["params"]["train"]["init_from"] == "first"
    metrics = json.loads((project / "metrics/train.json").read_text())
    assert (metrics["init_from"], metrics["init_from_sha256"]) == ("first", digest)
    assert counts(metrics).endswith(", started from first")
    load_model(project / "models/unet")
    write_toy_params(project, steps=2)
    stage.main()
    assert json.loads((project / "models/unet/model.json").read_text())["extra"] == {}
    assert "init_from" not in json.loads((project / "metrics/train.json").read_text())


def test_another_model_under_the_same_name_is_another_run(project: Path) -> None:
    def key() -> str:
        initial = find_initial("first", toy_params().unet)
        assert initial is not None
        return fingerprint("train", inputs=initial.files)

    before = key()
    assert key() == before
    path = project / "models/pretrained/first/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert key() != before


def test_tensors_of_another_shape_are_named_and_drawn_anew(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="t2v")
    open_toy_trainer(project / "data/shards/shapes", toy_params(init_from="first", channels=1))
    (line,) = [each.getMessage() for each in caplog.records if "weights start from" in each.getMessage()]
    assert "of another shape, so drawn anew:" in line
    assert "stem" in line
    folder = project / "models/pretrained/first"
    card = json.loads((folder / "model.json").read_text())
    card["text"]["name"] = "another"
    card["params"]["diffusion"]["objective"] = "eps"
    (folder / "model.json").write_text(json.dumps(card))
    open_toy_trainer(project / "data/shards/shapes", toy_params(init_from="first"))
    assert "its captions were read by another, these by toy; it answered eps, this run's network x0" in caplog.text


def test_what_cannot_start_a_run_is_one_line(project: Path) -> None:
    unet = toy_params().unet
    write_toy_model(project / "gan", "gan")
    write_toy_model(project / "models/unet")
    (project / "models/pretrained/first").rename(project / "first")
    wider = unet.model_copy(update={"dim": 32, "attn_heads": 4})
    for name, network, message in (
        ("nothing", unet, r"train\.init_from=nothing: no model folder, and none of that name in models/pretrained"),
        ("gan", unet, "a GAN; a U-Net starts from a U-Net"),
        ("models/unet", unet, "the stage writes that folder itself; copy it to another"),
        ("first", wider, r"another network \(unet.dim 16 there, 32 here, unet.attn_heads 2 there, 4 here\)"),
    ):
        with pytest.raises(ValueError, match=message):
            find_initial(name, network)
    assert find_initial(None, unet) is None
    (project / "first/weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"weights.safetensors: .*; copy it again"):
        open_toy_trainer(project / "data/shards/shapes", toy_params(init_from="first"))
    (project / "first/weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights.safetensors is missing in first"):
        find_initial("first", unet)


def test_models_of_before_the_key_are_read() -> None:
    card = read_card(Path(__file__).resolve().parent.parent / "models/pretrained/shapes")
    assert card.params["train"]["init_from"] is None
