"""generate from a picture, from the end of a clip, and for longer than the model was trained: what comes out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import generate
from pipeline.data.gif import encode_gif
from pipeline.generation.given_clip import Fitting, read_first_frame, read_last_frames
from pipeline.sampling.video_model import load_model
from pipeline.transcode.decoding.decode import decode_clip
from pipeline.transcode.decoding.spec import ClipError, FrameSpec
from tests.model_toys import HashEncoder, toy_card, write_toy_model

PROMPT = "a red circle moving up"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model of 4 frames, 16 px, 10 fps that takes 1 or 2 given frames."""
    params = {name: {**section} for name, section in toy_card().params.items()}
    params["train"] |= {"given_frames": [1, 2]}
    folder = tmp_path_factory.mktemp("giving") / "model"
    write_toy_model(folder, params=params)
    return folder


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Encoder without weights; no params.yaml around."""
    monkeypatch.setattr("pipeline.text.captions.load_encoder", lambda info: HashEncoder())
    monkeypatch.setattr("pipeline.sampling.standing.ROOT", tmp_path)
    monkeypatch.setattr("pipeline.generation.given_clip.ROOT", tmp_path)


def run(model: Path, out: Path, *args: Any) -> list[np.ndarray]:
    options = ["--model", str(model), "--out", str(out), "--device", "cpu", "--format", "npy", "--steps", "2"]
    generate.main([*map(str, args), *options])
    return [np.load(path) for path in sorted(out.glob("*.npy"))]


def picture(path: Path) -> Path:
    """48 x 32 px: red, then a middle square that is green above and blue below, then red."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[..., 0] = 200
    pixels[:16, 8:40], pixels[16:, 8:40] = (20, 160, 30), (30, 40, 220)
    Image.fromarray(pixels).save(path)
    return path


def clip(path: Path, frames: int = 5) -> Path:
    """16 px, 10 fps; frame n has the level 40 n."""
    levels = np.arange(frames, dtype=np.uint8) * 40
    path.write_bytes(encode_gif(np.broadcast_to(levels[:, None, None, None], (frames, 16, 16, 3)).copy(), 10.0))
    return path


def test_a_clip_begins_with_the_middle_of_the_picture(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = picture(tmp_path / "picture.png")
    (drawn,) = run(model, tmp_path / "out", PROMPT, "--first-frame", source)
    assert drawn.shape == (4, 16, 16, 3)
    assert (drawn[0, :8] == (20, 160, 30)).all()
    assert (drawn[0, 8:] == (30, 40, 220)).all()
    said = capsys.readouterr().err
    assert f"note: {source}: its middle square at 16 x 16 px (transcode.fit crop)" in said
    made = json.loads((tmp_path / "out/prompts.jsonl").read_text())
    assert made["first_frame"] == str(source)
    assert made["sampling"]["given_frames"] == 1
    few, given = load_model(model), drawn[None, :1]
    assert few.sampling is not None
    sampling = few.sampling.model_copy(update={"num_inference_steps": 2})
    assert np.array_equal(drawn, few.sample([PROMPT], [0], given=given, sampling=sampling)[0])


def test_a_picture_is_padded_or_stretched_as_the_clips_were(model: Path, tmp_path: Path) -> None:
    card, source = load_model(model).card, picture(tmp_path / "picture.png")
    padded = read_first_frame(source, card, Fitting("pad"))
    assert padded.shape == (1, 16, 16, 3)
    assert not padded[0, 0].any()
    assert (padded[0, 8, 0] == (200, 0, 0)).all()
    stretched = read_first_frame(source, card, Fitting("stretch"))
    assert (stretched[0, 0, 0] == (200, 0, 0)).all()


def test_a_clip_goes_on_from_the_last_frames_of_another(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = clip(tmp_path / "clip.gif")
    drawn = run(model, tmp_path / "out", PROMPT, "--continue", source, "--frames", "8", "--num-samples", "2")
    assert len(drawn) == 2
    for each in drawn:
        assert each.shape == (8, 16, 16, 3)
        assert [set(frame.flatten()) for frame in each[:2]] == [{120}, {160}]
    assert "each clip begins with the last 2 frames" in capsys.readouterr().err
    single = read_last_frames(clip(tmp_path / "one.gif", 1), load_model(model).card, Fitting())
    assert single.shape == (1, 16, 16, 3), "as many as there are"


def test_a_long_clip_begins_as_the_short_one_of_its_seed_whatever_is_drawn_beside_it(
    model: Path, tmp_path: Path
) -> None:
    (short,) = run(model, tmp_path / "short", PROMPT, "--seed", "3")
    (long,) = run(model, tmp_path / "long", PROMPT, "--seed", "3", "--frames", "14")
    assert long.shape[0] == 14
    assert np.array_equal(long[:4], short)
    many = run(model, tmp_path / "many", PROMPT, "--seed", "2", "--num-samples", "3", "--frames", "14")
    assert np.abs(many[1].astype(int) - long).max() <= 1  # a batched product may round otherwise


def bad(path: Path) -> Path:
    path.write_text("no picture")
    return path


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--first-frame", "words.png"], r"--first-frame .*words\.png: no picture \(.+\); give a PNG or JPEG file"),
        (["--first-frame", "none.png"], r"none\.png: no picture \(missing: no such file\)"),
        (
            ["--continue", "picture.png"],
            r"--continue .*picture\.png: no clip \(still: a single picture",
        ),
        (["--frames", "7"], "7 frames are no whole number of windows: .* give 6 or 8"),
    ],
)
def test_what_cannot_be_gone_on_from_is_one_line(model: Path, tmp_path: Path, args: list[str], says: str) -> None:
    picture(tmp_path / "picture.png")
    bad(tmp_path / "words.png")
    args = [str(tmp_path / arg) if arg.endswith("png") else arg for arg in args]
    with pytest.raises(ValueError, match=says) as caught:
        run(model, tmp_path / "out", PROMPT, *args)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("family", "says"),
    [("unet", "this model was not trained for"), ("gan", "a GAN draws from noise alone")],
)
@pytest.mark.parametrize("option", ["--first-frame", "--continue"])
def test_a_model_that_cannot_says_so_before_it_opens_the_file(
    tmp_path: Path, family: str, says: str, option: str
) -> None:
    write_toy_model(tmp_path / "model", family)
    with pytest.raises(ValueError, match=says):
        run(tmp_path / "model", tmp_path / "out", PROMPT, option, tmp_path / "none.png")


def test_one_beginning_at_a_time(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        generate.main([PROMPT, "--first-frame", "a.png", "--continue", "b.gif"])
    assert "not allowed with" in capsys.readouterr().err


def spec(frames: int, duration_s: float) -> FrameSpec:
    return FrameSpec(frames, 16, "last", duration_s, "crop", (255, 255, 255))


def test_the_last_frames_are_those_of_the_last_seconds(tmp_path: Path) -> None:
    source = clip(tmp_path / "clip.gif", 6)
    assert decode_clip(source, spec(3, 0.3))[:, 0, 0, 0].tolist() == [120, 160, 200]
    assert decode_clip(source, spec(3, 0.6))[:, 0, 0, 0].tolist() == [0, 80, 160]
    with pytest.raises(ClipError, match="ends sooner"):
        decode_clip(source, spec(7, 0.7))
