"""Time to quality without DVC, on the smoke preset: it stops, goes on, measures each checkpoint, and exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench import quality
from bench.facts import add_facts
from bench.unet import fast_params
from pipeline.model_io.model_card import WEIGHTS_FILE
from pipeline.sampling.video_model import load_model
from tests.model_toys import write_toy_model

PARAMS = Path(__file__).with_name("params.yaml")
TOYS = "shapes.train_clips=32 shapes.val_clips=12 shapes.held_out_clips=12 shapes.reworded_clips=12 judge.steps=2"


def run(*words: str) -> None:
    args = quality.build_parser().parse_args(words)
    args.run(args)


@pytest.mark.slow
def test_a_run_is_stopped_and_goes_on_and_each_checkpoint_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, figures = tmp_path / "run", tmp_path / "gpu.json"
    command: tuple[str, ...] = ("train", "--out", str(out), "--json", str(figures), "--prompts", "8")
    command += ("--params", str(PARAMS), "--preset", "smoke", "-S", "sampling.num_inference_steps=2")
    command += tuple(word for change in TOYS.split() for word in ("-S", change))
    run(*command, "--minutes", "0")
    stopped = json.loads(figures.read_text(encoding="utf-8"))
    assert not (out / "models/unet").exists()
    assert "final" not in stopped
    run(*command, "--minutes", "5")
    found = json.loads(figures.read_text(encoding="utf-8"))
    steps = [row["steps"] for row in found["quality"]]
    assert steps == sorted(set(steps))
    assert {6, 12} <= set(steps)
    seconds = [row["seconds"] for row in found["quality"]]
    assert seconds == sorted(seconds)
    assert set(found["final"]) == {"seen", "held_out", "reworded"}
    assert found["minutes_to_95_joint"] is None
    measured = (out / "quality.json").read_bytes()
    monkeypatch.setattr(quality, "joint", lambda *_: pytest.fail("measured before"))
    quality.measure_checkpoints(out, quality.load_params(out / "params.yaml"), 8, torch.device("cpu"))
    assert (out / "quality.json").read_bytes() == measured
    monkeypatch.undo()
    monkeypatch.setattr(quality, "EVALUATIONS", (2,))
    monkeypatch.setattr(quality, "GUIDANCE_SCALES", (1.0,))
    monkeypatch.setattr(quality, "INTERVAL_STARTS", (0.9,))
    run("curve", "--out", str(out), "--json", str(figures), "--prompts", "4")
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert {row["sampler"] for row in found["samplers"]} == {"ddpm", "ddim", "euler", "heun", "dpmpp_2m", "lcm"}
    assert found["guidance"][0]["guidance_scale"] == 1.0
    assert found["interval"][0]["guidance_interval"] == [0.9, 1.0]
    assert found["quality"]


def test_params_are_the_preset_with_changes(tmp_path: Path) -> None:
    quality.write_params(
        tmp_path, PARAMS, "gpu", ["dataset=moving_mnist", "moving_mnist.objects=[2]", "train.lr=1e-05"]
    )
    params = quality.load_params(tmp_path / "params.yaml")
    assert (params.dataset, params.moving_mnist.objects, params.train.lr) == ("moving_mnist", (2,), 1.0e-5)
    assert params.train.resolution == 64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.lrr=1", r"train\.lrr: unknown key"),
        ("train.lr", r"-S train\.lr: no value"),
        ("train.lr=.inf", r"train\.lr: inf is not allowed"),
        ("train_gan.rivals=2", r"train_gan\.rivals: renamed to train_gan\.hard_negatives"),
    ],
)
def test_a_wrong_change_is_one_line(tmp_path: Path, change: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        quality.write_params(tmp_path, PARAMS, "gpu", [change])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "params.yaml").exists()


def test_the_first_snapshot_at_the_bar_gives_the_minutes() -> None:
    rows: list[dict[str, Any]] = [{"seconds": 60.0 * n, "joint": share} for n, share in ((1, 0.5), (2, 0.95), (3, 0.9))]
    assert quality.minutes_to(0.95, rows) == 2.0
    assert quality.minutes_to(0.96, rows) is None


def test_exported_weights_are_half_as_large_and_join_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "unet"
    write_toy_model(model)
    monkeypatch.setattr(quality, "PART_BYTES", 30_000)
    parts = quality.export_half(model, tmp_path / "export")
    assert len(parts) > 1
    assert all(path.stat().st_size <= 30_000 for path in parts)
    whole = tmp_path / "export" / WEIGHTS_FILE
    whole.write_bytes(b"".join(path.read_bytes() for path in parts))
    assert whole.stat().st_size < 0.7 * (model / WEIGHTS_FILE).stat().st_size
    before, after = (load_model(folder).network.state_dict() for folder in (model, tmp_path / "export"))
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=1e-6)


def test_figures_of_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    add_facts(path, {"date": "2026-01-01", "moving_mnist": {"final": 1}})
    add_facts(path, {"date": "2026-01-02", "moving_mnist": {"quality": 2}})
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "date": "2026-01-02",
        "moving_mnist": {"final": 1, "quality": 2},
    }


def test_the_gpus_fast_network_is_that_of_its_preset() -> None:
    preset = yaml.safe_load(Path("presets/gpu.yaml").read_text(encoding="utf-8"))
    assert fast_params(torch.device("cuda")).unet.dim == preset["unet"]["dim"]
    assert fast_params(torch.device("cpu")).unet.dim == quality.load_params().unet.dim
