"""The reel shows every picture once, in order, beside the right name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.data.frames import enlarge
from pipeline.data.samples import Role, Sample
from pipeline.report.gather import ModelResult
from pipeline.report.reel import GAP, HEADER, LOOPS, SIDE, compose_scene, reel_scenes, write_reel
from tests.report_toys import toy_samples


def model(label: str, *, prompts: int = 1) -> ModelResult:
    return ModelResult(label, label, {}, tuple(toy_samples(label, prompts=prompts, takes=1)), {}, {})


def panel(frame: np.ndarray, column: int) -> np.ndarray:
    return frame[HEADER : HEADER + SIDE, GAP + column * (SIDE + GAP) :][:, :SIDE]


def first(samples: tuple[Sample, ...], kind: str, role: Role) -> Sample:
    return next(each for each in samples if (each.kind, each.role) == (kind, role))


@pytest.mark.parametrize("fps", [10.0, 12.5, 100 / 6, 25.0, 7.3])
def test_a_scene_is_every_picture_once_at_any_rate(fps: float) -> None:
    samples = [replace(sample, fps=fps) for sample in toy_samples("unet", prompts=1, takes=1)[:2]]
    frames = list(compose_scene([("real clip", samples[0]), ("none", None), ("U-Net", samples[1])], "seen"))
    assert len(frames) == LOOPS * 16
    for number, frame in enumerate(frames):
        assert (panel(frame, 0) == enlarge(samples[0].frames()[number % 16], 4)).all()
        assert (panel(frame, 2) == enlarge(samples[1].frames()[number % 16], 4)).all()
        assert (panel(frame, 1) == frame[0, 0]).all()  # nothing but the card


def test_the_file_holds_each_scene_whole_and_in_order(tmp_path: Path) -> None:
    models = [model("U-Net"), model("GAN")]
    assert write_reel(tmp_path / "reel.mp4", models)
    with av.open(str(tmp_path / "reel.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.height % 2, stream.width % 2) == (10, 0, 0)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 3 * LOOPS * 16
    for scene, kind in enumerate(("seen", "held_out", "reworded")):
        samples = [first(models[0].samples, kind, "real"), *(first(each.samples, kind, "model") for each in models)]
        for column, sample in enumerate(samples):
            pictures = sample.frames().astype(np.int16)
            for number, frame in enumerate(decoded[scene * LOOPS * 16 :][: LOOPS * 16]):
                away = np.abs(pictures - panel(frame, column)[2::4, 2::4]).mean(axis=(1, 2, 3))
                assert away.argmin() == number % 16, (kind, number, column)
                assert away.min() < 1.0


def test_no_samples_no_file(tmp_path: Path) -> None:
    assert write_reel(tmp_path / "reel.mp4", ()) is False
    assert not list(tmp_path.iterdir())


def test_models_of_different_resolutions_share_a_reel() -> None:
    small = model("small")
    halved = [replace(sample, gif=_halved(sample)) for sample in small.samples]
    models = [model("U-Net"), replace(small, samples=tuple(halved))]
    sizes = {frame.shape for scene in reel_scenes(models) for frame in scene}
    assert len(sizes) == 1
    scene = next(reel_scenes(models))
    assert (panel(scene[3], 2) == enlarge(halved[1].frames()[3], 8)).all()


def _halved(sample: Sample) -> bytes:
    from pipeline.data.gif import encode_gif

    return encode_gif(sample.frames()[:, ::2, ::2], sample.fps)
