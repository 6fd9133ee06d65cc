"""What of a picture is seen: cropping, transparency, and picture files as clips, against ffmpeg and Pillow."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.transcode.decoding.decode import decode_clip
from pipeline.transcode.decoding.spec import ClipError, FrameSpec, rgb_of
from tests.video_fixtures import H264, encode, number_of, numbered, remux, run

SIDE = 64
SPEC = FrameSpec(4, SIDE, span="whole", duration_s=2.0, fit="stretch", background=(255, 255, 255))


def by_ffmpeg(path: Path, height: int, width: int, decoder: str | None = None) -> np.ndarray:
    """uint8 (F, height, width, 4) of all frames, whole chroma."""
    source = ffmpeg.input(str(path), **({"vcodec": decoder} if decoder else {}))
    exact = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact+bilinear"
    raw = run(source.output("pipe:", f="rawvideo", pix_fmt="rgba", fps_mode="passthrough", sws_flags=exact))
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 4)


def over(rgba: np.ndarray, ground: Sequence[int] = (255, 255, 255)) -> np.ndarray:
    alpha = rgba[..., 3:] / 255.0
    return rgba[..., :3] * alpha + np.array(ground) * (1 - alpha)


def far(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance."""
    return float(np.abs(a.astype(float) - b).mean())


SHARP: dict[str, Any] = {**H264, "pix_fmt": "yuv444p"}
LEFT, RIGHT, TOP, BOTTOM = 13, 7, 3, 5  # px of border
CROPPED: dict[str, Any] = {  # 100 px are coded as 112
    "bsf:v": f"h264_metadata=crop_left={LEFT}:crop_right={12 + RIGHT}:crop_top={TOP}:crop_bottom={BOTTOM}"
}


@pytest.fixture(scope="module")
def bordered() -> np.ndarray:
    """Numbered frames of 80 x 56 px in magenta."""
    frames = np.full((4, 64, 100, 3), (255, 0, 255), np.uint8)
    frames[:, TOP:-BOTTOM, LEFT:-RIGHT] = numbered(4, 80, 56)
    return frames


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The same without the border, decoded."""
    return decode_clip(encode(tmp_path_factory.mktemp("bare") / "bare.mp4", numbered(4, 80, 56), **SHARP), SPEC)


def test_cropping_in_the_stream(bordered: np.ndarray, bare: np.ndarray, tmp_path: Path) -> None:
    path = encode(tmp_path / "whole.mp4", bordered, **SHARP)
    frames = decode_clip(remux(path, tmp_path / "cropped.mp4", **CROPPED), SPEC)
    assert [number_of(frame) for frame in frames] == [0, 1, 2, 3]
    assert far(frames, bare) < 3.0


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
def test_cropping_in_the_container(suffix: str, bordered: np.ndarray, bare: np.ndarray, tmp_path: Path) -> None:
    """PixelCrop elements are put in the place of others as long; remuxed, they become MP4's clean aperture."""
    data = encode(tmp_path / "x.mkv", bordered, filters="setsar=2/1", **SHARP).read_bytes()
    for old, new in (
        (b"\x54\xb0\x81", b"\x54\xcc\x81" + bytes([LEFT])),
        (b"\x54\xba\x81", b"\x54\xdd\x81" + bytes([RIGHT])),
        (b"\x54\xb2\x81", b"\x54\xbb\x81" + bytes([TOP])),
        (b"\x55\xb0\x84", b"\x54\xaa\x84" + bytes([0, 0, 0, BOTTOM])),
    ):
        place = data.index(old)
        data = data[:place] + new + data[place + len(new) :]
    path = tmp_path / "cropped.mkv"
    path.write_bytes(data)
    path = path if suffix == "mkv" else remux(path, tmp_path / f"cropped.{suffix}")
    for source in (path, path.read_bytes()):
        frames = decode_clip(source, SPEC)
        assert [number_of(frame) for frame in frames] == [0, 1, 2, 3]
        assert far(frames, bare) < 3.0


def test_cropped_pictures_are_turned_after_it(bordered: np.ndarray, bare: np.ndarray, tmp_path: Path) -> None:
    path = encode(tmp_path / "whole.mp4", bordered, **SHARP)
    path = remux(path, tmp_path / "turned.mp4", {"display_rotation": 90}, **CROPPED)
    assert far(decode_clip(path, SPEC), np.rot90(bare, 1, axes=(1, 2))) < 3.0


def see_through(n_frames: int = 4) -> np.ndarray:
    """uint8 (n_frames, 48, 96, 4): numbered above; below magenta that no one should see, half and wholly opaque red."""
    rgba = np.zeros((n_frames, 48, 96, 4), np.uint8)
    rgba[..., :3], rgba[..., 3] = numbered(n_frames, 96, 48), 255
    rgba[:, 24:, :32] = (255, 0, 255, 0)
    rgba[:, 24:, 32:64] = (200, 0, 0, 128)
    rgba[:, 24:, 64:] = (200, 0, 0, 255)
    return rgba


def encode_rgba(path: Path, rgba: np.ndarray, **options: Any) -> Path:
    _, height, width, _ = rgba.shape
    stream = ffmpeg.input("pipe:", f="rawvideo", pix_fmt="rgba", s=f"{width}x{height}", r=10)
    run(stream.output(str(path), **options), rgba.tobytes())
    return path


TRANSPARENT: dict[str, dict[str, Any]] = {
    "qtrle.mov": {"vcodec": "qtrle"},
    "png.mov": {"vcodec": "png"},
    "prores.mov": {"vcodec": "prores_ks", "profile:v": "4444", "pix_fmt": "yuva444p10le"},
    "vp9.webm": {"vcodec": "libvpx-vp9", "pix_fmt": "yuva420p", "b:v": "2M", "deadline": "realtime", "cpu-used": 8},
    "vp8.webm": {"vcodec": "libvpx", "pix_fmt": "yuva420p", "b:v": "2M", "auto-alt-ref": 0, "cpu-used": 16},
    "ffv1.mkv": {"vcodec": "ffv1", "pix_fmt": "bgra"},
    "utvideo.avi": {"vcodec": "utvideo", "pix_fmt": "gbrap"},
    "x.apng": {"f": "apng"},
}


@pytest.mark.parametrize("name", TRANSPARENT)
@pytest.mark.parametrize("ground", ["white", "#204060"])
def test_transparent_pixels_show_the_ground(name: str, ground: str, tmp_path: Path) -> None:
    path = encode_rgba(tmp_path / name, see_through(), **TRANSPARENT[name])
    frames = decode_clip(path, replace(SPEC, background=rgb_of(ground)))
    wanted = over(see_through(), rgb_of(ground))[:, 24:]
    assert far(frames[:, 40:, 5:16], wanted[:, 5, 8][:, None, None]) < 6.0
    assert far(frames[:, 40:, 27:38], wanted[:, 5, 48][:, None, None]) < 6.0
    assert far(frames[:, 40:, 48:59], wanted[:, 5, 80][:, None, None]) < 6.0


def test_the_fourth_byte_of_a_raw_avi_is_no_alpha(tmp_path: Path) -> None:
    rgba = see_through()
    rgba[..., 3] = 0
    frames = decode_clip(encode_rgba(tmp_path / "x.avi", rgba, vcodec="rawvideo", pix_fmt="bgra"), SPEC)
    assert far(frames[:, 40:, 48:59], np.array([200, 0, 0])) < 3.0


def test_a_clip_of_which_nothing_is_seen(tmp_path: Path) -> None:
    rgba = see_through()
    rgba[..., 3] = 0
    with pytest.raises(ClipError, match="fully transparent") as error:
        decode_clip(encode_rgba(tmp_path / "x.mov", rgba, vcodec="qtrle"), SPEC)
    assert error.value.reason == "transparent"
    rgba[-1, 0, 0, 3] = 1
    decode_clip(encode_rgba(tmp_path / "y.mov", rgba, vcodec="qtrle"), SPEC)


def test_transparency_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """HEVC's alpha layer, and AVIF's stream beside the colours."""
    hevc = {"vcodec": "libx265", "pix_fmt": "yuva420p", "x265-params": "log-level=none", "tag:v": "hvc1"}
    path = encode_rgba(tmp_path / "x.mov", see_through(2).repeat(2, 1).repeat(2, 2), **hevc)
    with pytest.raises(ClipError, match="HEVC with an alpha layer, which cannot be read: convert it to ProRes 4444"):
        decode_clip(path, SPEC)
    colours, alpha = (
        ffmpeg.input(f"color={name}", f="lavfi", t=0.1) for name in ("red:s=96x64", "gray:s=96x64,format=gray")
    )
    with pytest.raises(ClipError, match="AVIF with transparency, which cannot be read: convert it to PNG or WebP"):
        decode_clip(avif(tmp_path, colours, alpha, frames=1), SPEC)
    assert far(decode_clip(avif(tmp_path, colours, frames=1), SPEC), np.array([255, 0, 0])) < 3.0


def avif(folder: Path, *streams: Any, **options: Any) -> Path:
    path = folder / "x.avif"
    run(ffmpeg.output(*streams, str(path), vcodec="libaom-av1", crf=10, **{"cpu-used": 8}, **options))
    return path


# Picture files


STILLS: dict[str, Callable[[Image.Image], tuple[Image.Image, dict[str, Any]]]] = {
    "rgb.png": lambda image: (image.convert("RGB"), {}),
    "rgba.png": lambda image: (image, {}),
    "grey.png": lambda image: (image.convert("L"), {}),
    "palette.png": lambda image: (image.convert("RGB").quantize(64), {"transparency": 3}),
    "keyed.png": lambda image: (image.convert("RGB"), {"transparency": (200, 0, 0)}),
    "baseline.jpg": lambda image: (image.convert("RGB"), {"quality": 95}),
    "progressive.jpg": lambda image: (image.convert("RGB"), {"quality": 95, "progressive": True}),
    "grey.jpg": lambda image: (image.convert("L"), {"quality": 95}),
    "cmyk.jpg": lambda image: (image.convert("CMYK"), {"quality": 95}),
    "lossless.webp": lambda image: (image, {"lossless": True}),
    "lossy.webp": lambda image: (image, {"quality": 95}),
    "still.gif": lambda image: (image, {}),
}


@pytest.mark.parametrize("name", STILLS)
def test_a_still_is_a_clip_that_stands(name: str) -> None:
    """As Pillow shows it, on white."""
    image, options = STILLS[name](Image.fromarray(see_through(6)[5]).resize((SIDE, SIDE), Image.Resampling.NEAREST))
    data = saved(image, name.partition(".")[2], **options)
    for spec in (SPEC, replace(SPEC, span="first", duration_s=0.5)):
        frames = decode_clip(data, spec)
        assert frames.shape == (4, SIDE, SIDE, 3)
        np.testing.assert_array_equal(frames, frames[:1].repeat(4, 0))
        assert far(frames[0], over(np.asarray(Image.open(io.BytesIO(data), formats=PIL_FORMATS).convert("RGBA")))) < 1.0


PIL_FORMATS = ("GIF", "PNG", "JPEG", "WEBP")
FORMAT_OF = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF"}


def saved(image: Image.Image, suffix: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, FORMAT_OF[suffix], **options)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_held_otherwise(suffix: str, orientation: int) -> None:
    image = Image.fromarray(np.rot90(see_through(6)[5, :, :48, :3], 0).copy()).resize((SIDE, SIDE))
    exif = Image.Exif()
    exif[0x112] = orientation
    data = saved(image, suffix, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data), formats=PIL_FORMATS)).convert("RGB"))
    assert far(decode_clip(data, SPEC)[0], upright) < 3.0


def test_an_animated_avif_is_not_its_cover(tmp_path: Path) -> None:
    source = encode(tmp_path / "x.mp4", numbered(4, 64, 64), **H264)
    assert [number_of(frame) for frame in decode_clip(avif(tmp_path, ffmpeg.input(str(source))), SPEC)] == [0, 1, 2, 3]


DELAYS = (40, 40, 80, 120, 40, 40, 200, 40, 40, 100)  # ms


def ball(n_frames: int = len(DELAYS)) -> list[Image.Image]:
    """A ball, and another that is half transparent, on a transparent ground."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = []
    for index in range(n_frames):
        rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
        rgba[(columns - 8 - 5 * index) ** 2 + (rows - 32) ** 2 < 100] = (200, 30 + 8 * index, 60, 255)
        rgba[(rows - 8 - 5 * index) ** 2 + (columns - 32) ** 2 < 60] = (20, 60, 220, 128)
        images.append(Image.fromarray(rgba))
    return images


def animated(suffix: str, images: list[Image.Image], delays: Sequence[int] = DELAYS, **options: Any) -> bytes:
    return saved(images[0], suffix, save_all=True, append_images=images[1:], duration=list(delays), loop=0, **options)


def at_their_times(pictures: Sequence[np.ndarray], delays: Sequence[int], n_frames: int) -> np.ndarray:
    """Which picture is on show at i·D/n."""
    ends = np.cumsum(delays)
    times = [index * int(ends[-1]) // n_frames for index in range(n_frames)]
    return np.stack([pictures[int(np.searchsorted(ends, time, side="right"))] for time in times])


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"allow_mixed": True}])
@pytest.mark.parametrize("flags", [None, 0, 1, 2, 3])
def test_animated_webp(options: dict[str, Any], flags: int | None) -> None:
    """As libwebp decodes it, by Pillow, to 3 levels of 255 after ten blends: laid over (2: not blended), wiped (1)."""
    data = bytearray(animated("webp", ball(), **options))
    if flags is not None:
        for found in re.finditer(b"ANMF", bytes(data)):
            data[found.start() + 23] = flags
    pictures = []
    with Image.open(io.BytesIO(data), formats=PIL_FORMATS) as image:
        for index in range(len(DELAYS)):
            image.seek(index)
            pictures.append(over(np.asarray(image.convert("RGBA"))))
    frames = decode_clip(bytes(data), replace(SPEC, frames=37))
    assert np.abs(frames - at_their_times(pictures, DELAYS, 37)).max() <= 3.0
    first = decode_clip(bytes(data), replace(SPEC, frames=3, span="first", duration_s=0.12))
    assert np.abs(first - np.stack(pictures[:3])).max() <= 2.0


@pytest.mark.parametrize("suffix", ["gif", "png"])
@pytest.mark.parametrize("disposal", [0, 1, 2])
@pytest.mark.parametrize("blend", [0, 1])
def test_animated_gif_and_png(suffix: str, disposal: int, blend: int, tmp_path: Path) -> None:
    """As ffmpeg shows it. (Pillow blends half-transparent APNG frames twice.)"""
    options: dict[str, Any] = {"blend": blend} if suffix == "png" else {}
    data = animated(suffix, ball(), disposal=disposal, **options)
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(data)
    pictures = list(over(by_ffmpeg(path, SIDE, SIDE)))
    assert len(pictures) == len(DELAYS)
    frames = decode_clip(data, replace(SPEC, frames=37))
    assert np.abs(frames - at_their_times(pictures, DELAYS, 37)).max() <= 1.0


def test_delays_of_a_gif() -> None:
    """0 is played as 10/100 s, 1 as it says; the last frame of eleven minutes takes no more memory than another."""
    images = [Image.fromarray(frame) for frame in numbered(3, SIDE, SIDE)]
    data = bytearray(animated("gif", images, (500, 500, 500)))
    places = [place for place in range(len(data)) if data[place : place + 3] == b"\x21\xf9\x04"]
    assert len(places) == 3

    def shown(delays: tuple[int, int, int], n_frames: int) -> list[int]:
        for place, delay in zip(places, delays, strict=True):
            data[place + 4 : place + 6] = delay.to_bytes(2, "little")
        return [number_of(frame) for frame in decode_clip(bytes(data), replace(SPEC, frames=n_frames))]

    assert shown((0, 5, 5), 4) == [0, 0, 1, 2]
    assert shown((1, 3, 4), 8) == [0, 1, 1, 1, 2, 2, 2, 2]
    assert shown((7, 6, 7), 3) == [0, 1, 2]
    assert shown((10, 10, 65535), 4) == [0, 2, 2, 2]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "jpg"])
def test_a_picture_file_cut_anywhere(suffix: str) -> None:
    image = Image.fromarray(see_through(6)[5]).convert("RGB")
    still, moving = saved(image, suffix), b"" if suffix == "jpg" else animated(suffix, ball())
    for data in filter(None, (still, moving)):
        decode_clip(data + b"after its end", SPEC)
        for length in {*range(0, len(data), max(1, len(data) // 50)), *range(len(data) - 20, len(data))}:
            with pytest.raises(ClipError) as error:
                decode_clip(data[:length], SPEC)
            assert error.value.reason in ("truncated", "unreadable")


def test_damaged_pngs_are_known_by_their_checksums() -> None:
    for data in (saved(Image.fromarray(see_through(6)[5]), "png"), animated("png", ball())):
        for place in range(60, len(data) * 2 // 3, len(data) // 20):
            with pytest.raises(ClipError):
                decode_clip(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :], SPEC)


@pytest.mark.parametrize("disguise", ["webp", "png", "jpg"])
def test_a_name_does_not_matter(disguise: str, tmp_path: Path) -> None:
    path = tmp_path / "x.gif"
    path.write_bytes(saved(Image.fromarray(numbered(6, SIDE, SIDE)[5]), disguise, quality=95))
    assert number_of(decode_clip(path, SPEC)[0]) == 5
