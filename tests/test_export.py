"""Exports: an ONNX file that does what the network does, whatever the batch, and a folder for a model hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard as HubCard

from pipeline import export as program
from pipeline import generate
from pipeline.export import export
from pipeline.exporting import onnx_network
from pipeline.sampling.video_model import VideoModel, load_model
from tests.model_toys import HashEncoder, write_toy_model

PROMPTS = [f"a {colour} circle moving {way}" for colour in ("red", "blue") for way in ("up", "down")]
LONG = "a red circle moving up and up and then down again"


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.text.captions.load_encoder", lambda info: HashEncoder())


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with every kind of attention over time, exported."""
    root = tmp_path_factory.mktemp("onnx")
    write_toy_model(root / "model")
    files = export(root / "model", root / "out", "onnx")
    assert [path.name for path in files] == ["model.json", "network.onnx", "sampling.json", "weights.safetensors"]
    return root / "out"


def through_onnx(folder: Path) -> VideoModel:
    model = load_model(folder)
    model.network = onnx_network.load_onnx(folder, model.card, model.network.conditioning)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3, 9])
def test_the_file_draws_what_the_network_draws(onnx_folder: Path, batch: int) -> None:
    prompts = [*PROMPTS, LONG, *PROMPTS][:batch]
    for negative in (None, [LONG] * batch):
        first, second = (
            model.sample(prompts, range(batch), negative=negative).astype(int)
            for model in (load_model(onnx_folder), through_onnx(onnx_folder))
        )
        assert np.abs(first - second).max() <= 2
        assert np.abs(first[0] - first[-1]).max() > 2 or batch == 1


@pytest.mark.slow
def test_the_file_knows_the_null_caption(onnx_folder: Path) -> None:
    model, other = load_model(onnx_folder), through_onnx(onnx_folder)
    assert model.sampling is not None
    blind = model.sampling.model_copy(update={"guidance_scale": 0.0})
    first, second = (each.sample(PROMPTS[:2], [0, 1], sampling=blind).astype(int) for each in (model, other))
    assert np.abs(first - second).max() <= 2


@pytest.mark.slow
def test_generate_runs_it(onnx_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for runtime in ("torch", "onnx"):
        words = ["--model", str(onnx_folder), "--runtime", runtime, "--format", "npy", "--out", str(tmp_path / runtime)]
        generate.main([*PROMPTS[:2], "a dragon", *words])
    for path in (tmp_path / "torch").glob("*.npy"):
        assert np.abs(np.load(path).astype(int) - np.load(tmp_path / "onnx" / path.name)).max() <= 2
    assert len(list((tmp_path / "onnx").glob("*.npy"))) == 3
    assert json.loads((tmp_path / "onnx/prompts.jsonl").read_text().splitlines()[0])["sampling_from"] == "sampling.json"


@pytest.mark.slow
def test_a_file_that_does_something_else_is_refused(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(onnx_folder)
    flat, path = onnx_network._FlatUNet(model.network), onnx_network_file(onnx_folder)
    onnx_network._check(path, flat, model.card)
    with torch.no_grad():
        next(parameter for parameter in model.network.parameters() if parameter.ndim > 1).mul_(1.5)
    with pytest.raises(ValueError, match=r"network\.onnx: off by .* at 1 captions of 5 tokens"):
        onnx_network._check(path, flat, model.card)


def onnx_network_file(folder: Path) -> Path:
    return folder / onnx_network.NETWORK_FILE


def test_what_cannot_be_exported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_model(tmp_path / "gan", "gan")
    write_toy_model(tmp_path / "unet")
    (tmp_path / "mine").mkdir()
    for model, out, message in (
        ("gan", "out", "exports U-Nets; this is a gan"),
        ("unet", "unet", "is here and no export"),
        ("unet", "mine", "is here and no export"),
        ("nowhere", "out", "not a model folder"),
    ):
        with pytest.raises(ValueError, match=message):
            export(tmp_path / model, tmp_path / out, "onnx")
    for missing in ("onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(ValueError, match=rf"pip install -r requirements-export.txt \({missing} is missing"):
                export(tmp_path / "unet", tmp_path / "out", "onnx")
    with pytest.raises(ValueError, match=r"network.onnx: missing; make it by python -m pipeline.export --format onnx"):
        generate.main([PROMPTS[0], "--model", str(tmp_path / "unet"), "--runtime", "onnx", "--out", str(tmp_path)])
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in (tmp_path / "unet").iterdir()) == ["model.json", "weights.safetensors"]


@pytest.mark.parametrize("family", ["unet", "gan"])
def test_a_hub_folder_draws_what_the_model_draws_and_says_what_it_is(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy_model(Path("models") / family, family)
    figures = {"frechet.ratio": 2.05, "oracle_on_real.joint": 1.0}
    for kind, share in (("seen", 0.988), ("held_out", 0.75), ("caption_shuffle", 0.0)):
        figures |= {f"{kind}.joint": share, f"{kind}.joint_low": share, f"{kind}.joint_high": min(1.0, share + 0.01)}
    Path("metrics/evaluate").mkdir(parents=True)
    Path(f"metrics/evaluate/{family}.json").write_text(json.dumps(figures))
    program.main(["--format", "hub", "--model", f"models/{family}"])
    program.main([f"models/{family}", "--format", "hub"])  # an earlier export is made anew
    folder = Path(f"exports/{family}-hub")
    files = [
        "README.md",
        "figures.json",
        "model.json",
        *(["sampling.json"] if family == "unet" else []),
        "weights.safetensors",
    ]
    assert capsys.readouterr().out.split()[: len(files)] == [str(folder / name) for name in files]
    drawn, expected = (load_model(path).sample(PROMPTS, range(4)) for path in (folder, Path("models") / family))
    assert np.array_equal(drawn, expected)
    card = HubCard.load(folder / "README.md")
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "text-to-video")
    assert [(each.dataset_name, each.metric_value) for each in card.data.eval_results] == [
        ("shapes, combinations of training", 0.988),
        ("shapes, held-out combinations", 0.75),
    ]
    assert "| held-out combinations | 75.0% (75.0–76.0) |" in card.text
    assert "| control: captions shuffled | 0.0% (0.0–1.0) |" in card.text
    assert "a, blue, circle, down, moving, red, up." in card.text


def test_a_hub_folder_without_figures_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy_model(Path("unet"))
    with pytest.raises(ValueError, match=r"none.json: no such file; run the evaluate stage"):
        export(Path("unet"), Path("out"), "hub", Path("none.json"))
    export(Path("unet"), Path("out"), "hub")
    assert "Not evaluated." in HubCard.load("out/README.md").text
