from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import generate
from tests.model_toys import HashEncoder, write_toy_model

ROOT = Path(__file__).parents[1]
PROMPT = "a red circle moving up"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pipeline.text.captions.load_encoder", lambda info: HashEncoder())
    write_toy_model(tmp_path / "model")
    return tmp_path / "model"


def run(model: Path, *args: str) -> list[Path]:
    out = model.parent / "out"
    generate.main([*args, "--model", str(model), "--out", str(out), "--device", "cpu"])
    return sorted(path for path in out.iterdir() if path.name != "prompts.jsonl") if out.exists() else []


def test_names_never_collide(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(model, PROMPT, "A red circle, moving up!", PROMPT)
    paths = run(model, PROMPT)
    assert [path.name for path in paths] == [f"a-red-circle-moving-up-seed0{end}.gif" for end in ("-2", "-3", "-4", "")]
    assert all(path.stat().st_size > 100 for path in paths)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_index_says_how_each_clip_was_made(model: Path) -> None:
    run(model, PROMPT, "--seed", "7", "--num-samples", "2", "--guidance", "3", "--steps", "4", "--sampler", "euler")
    lines = (model.parent / "out/prompts.jsonl").read_text().splitlines()
    made = [json.loads(line) for line in lines]
    assert [entry["seed"] for entry in made] == [7, 8]
    assert made[0]["file"] == "a-red-circle-moving-up-seed7.gif"
    sampling = made[0]["sampling"]
    assert (sampling["guidance_scale"], sampling["num_inference_steps"], sampling["sampler"]) == (3.0, 4, "euler")


def test_a_clip_does_not_depend_on_its_batch(model: Path) -> None:
    run(model, PROMPT, "a blue circle moving down", "--format", "npy", "--batch-size", "2")
    run(model, PROMPT, "a blue circle moving down", "--format", "npy", "--batch-size", "1")
    out = model.parent / "out"
    for name in ("a-red-circle-moving-up-seed0", "a-blue-circle-moving-down-seed0"):
        both, alone = np.load(out / f"{name}.npy").astype(int), np.load(out / f"{name}-2.npy").astype(int)
        assert np.abs(both - alone).max() <= 1


@pytest.mark.parametrize("format_", ["gif", "mp4", "png", "npy"])
def test_every_format_of_frames_and_rate(model: Path, format_: str) -> None:
    (path,) = run(model, PROMPT, "--format", format_, "--frames", "3", "--fps", "5")
    if format_ == "png":
        assert len(list(path.iterdir())) == 3
    elif format_ == "npy":
        assert np.load(path).shape == (3, 16, 16, 3)
    elif format_ == "gif":
        with Image.open(path, formats=("GIF",)) as image:
            assert (image.n_frames, image.info["duration"]) == (3, 200)  # type: ignore[attr-defined]
    else:
        assert path.read_bytes()[4:8] == b"ftyp"


def test_the_old_names_work(model: Path) -> None:
    out = model.parent / "old"
    generate.main(
        [
            "--text",
            PROMPT,
            "--model-path",
            str(model),
            "--output-dir",
            str(out),
            "--cond-scale",
            "2",
            "--batch-size",
            "1",
        ]
    )
    assert (out / "a-red-circle-moving-up-seed0.gif").is_file()
    assert json.loads((out / "prompts.jsonl").read_text())["sampling"]["guidance_scale"] == 2.0


def test_prompts_from_a_file(model: Path) -> None:
    file = model.parent / "prompts.txt"
    file.write_text("a red circle\n\n  a blue circle \n", encoding="utf-8")
    assert [path.stem for path in run(model, "--prompts-file", str(file))] == [
        "a-blue-circle-seed0",
        "a-red-circle-seed0",
    ]


def test_strange_words_are_said(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(model, "a red circles over a dragon", PROMPT)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")]
    assert notes == ['note: "a red circles over a dragon": never seen in training: circles, over, dragon; near: circle']


def test_a_gan_says_what_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_toy_model(tmp_path / "model", "gan")
    assert len(run(tmp_path / "model", PROMPT, "--steps", "5")) == 1
    assert "a GAN draws in one pass" in capsys.readouterr().err


def test_other_scripts_keep_their_letters() -> None:
    assert generate.slug("Ein rötes Quadrat  →  寿司!") == "ein-rötes-quadrat-寿司"
    assert generate.slug("→") == "prompt"
    assert len(generate.slug("very long " * 40)) <= generate.SLUG_CHARACTERS


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no prompt given"),
        (["  "], "empty prompt"),
        ([PROMPT, "--frames", "9"], "--frames 9 does not fit: this model makes 4 frames"),
        ([PROMPT, "--prompts-file", "nowhere.txt"], "nowhere.txt: no such prompts file"),
        ([PROMPT, "--guidance", "-1"], "guidance_scale=-1.0"),
        ([PROMPT, "--device", "abacus"], "device 'abacus' is unknown"),
    ],
)
def test_mistakes_are_one_line(model: Path, args: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        generate.main(["--model", str(model), "--out", str(model.parent / "out"), *args])
    assert "\n" not in str(caught.value)


def test_no_model_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="run dvc repro to train one, or name it by --model"):
        generate.default_model()
    write_toy_model(tmp_path / "models/pretrained/shapes")
    assert generate.default_model() == Path("models/pretrained/shapes")
    write_toy_model(tmp_path / "models/unet")
    assert generate.default_model() == Path("models/unet")


@pytest.mark.slow
def test_the_program_ends_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.generate", PROMPT, "--model", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: {tmp_path}: not a model folder (model.json missing); run dvc repro, or name another folder\n"
    )
