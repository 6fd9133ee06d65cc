"""One clip to n frames: codecs, times, shapes, colours, and clips that are damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import pytest
from PIL import Image

from pipeline.transcode.decoding.decode import decode_clip
from pipeline.transcode.decoding.spec import ClipError, FrameSpec
from tests.video_fixtures import H264, corners, encode, remux, run, shown_index

WHITE = (255, 255, 255)
SPEC = FrameSpec(frames=8, resolution=32, span="whole", duration_s=2.0, fit="stretch", background=WHITE)
N = 16  # frames of most fixtures, at 10 fps

CODECS: dict[str, dict[str, Any]] = {
    "h264.mp4": H264,
    "h264_bframes.mp4": {**H264, "preset": "slow", "bf": 4},
    "h264_444.mkv": {**H264, "pix_fmt": "yuv444p"},
    "hevc_10bit.mp4": {"vcodec": "libx265", "pix_fmt": "yuv420p10le", "crf": 14, "x265-params": "log-level=none"},
    "vp8.webm": {"vcodec": "libvpx", "b:v": "2M", "deadline": "realtime"},
    "vp9.webm": {"vcodec": "libvpx-vp9", "b:v": "2M", "deadline": "realtime", "cpu-used": 8},
    "av1.mp4": {"vcodec": "libsvtav1", "preset": 12, "crf": 20, "pix_fmt": "yuv420p"},
    "mpeg4.avi": {"vcodec": "mpeg4", "q:v": 2, "bf": 2},
    "mpeg2.ts": {"vcodec": "mpeg2video", "q:v": 2, "r": 25},
    "theora.ogv": {"vcodec": "libtheora", "q:v": 9},
    "prores.mov": {"vcodec": "prores_ks"},
    "mjpeg.avi": {"vcodec": "mjpeg", "q:v": 2, "pix_fmt": "yuvj420p"},
    "flv1.flv": {"vcodec": "flv", "q:v": 2},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("plain") / "plain.mp4", corners(N), movflags="faststart", **H264)


def square(frames: np.ndarray, side: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BOX)) for frame in frames])


def far(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance; block edges blur differently."""
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("name", CODECS)
def test_codecs(name: str, tmp_path: Path) -> None:
    path = encode(tmp_path / name, corners(N), **CODECS[name])
    frames = decode_clip(path.read_bytes(), SPEC)
    assert frames.dtype == np.uint8
    assert [shown_index(frame, N) for frame in frames] == pytest.approx(range(0, N, 2), abs=1)
    assert far(frames, square(corners(N)[::2], 32)) < 8.0


@pytest.mark.parametrize("shape", [(97, 65), (33, 128), (16, 16)])
def test_odd_sizes(shape: tuple[int, int], tmp_path: Path) -> None:
    width, height = shape
    path = encode(tmp_path / "odd.mkv", corners(4, width, height), **{**H264, "pix_fmt": "yuv444p"})
    frames = decode_clip(path, replace(SPEC, frames=4))
    assert far(frames, square(corners(4, width, height), 32)) < 10.0


def test_path_and_bytes_give_the_same_frames(plain: Path) -> None:
    np.testing.assert_array_equal(decode_clip(plain, SPEC), decode_clip(plain.read_bytes(), SPEC))


def test_skipping_unreferenced_frames_changes_no_pixel(tmp_path: Path) -> None:
    path = encode(tmp_path / "b.mp4", corners(N), **CODECS["h264_bframes.mp4"])
    every = decode_clip(path, replace(SPEC, frames=N))
    np.testing.assert_array_equal(decode_clip(path, replace(SPEC, frames=4)), every[::4])


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        (replace(SPEC, frames=4), [0, 4, 8, 12]),
        (replace(SPEC, frames=4, span="first", duration_s=0.8), [0, 2, 4, 6]),
        (replace(SPEC, frames=8, span="first", duration_s=3.2), [0, 4, 8, 12, 15, 15, 15, 15]),
        (replace(SPEC, frames=32), [i // 2 for i in range(32)]),
    ],
)
def test_times(plain: Path, spec: FrameSpec, shown: list[int]) -> None:
    assert [shown_index(frame, N) for frame in decode_clip(plain, spec)] == shown


def test_a_clip_of_one_frame(tmp_path: Path) -> None:
    frames = decode_clip(encode(tmp_path / "one.mp4", corners(2)[:1], **H264), SPEC)
    assert far(frames, np.repeat(frames[:1], 8, axis=0)) == 0
    assert frames.mean() > 60


def test_variable_frame_rate(tmp_path: Path) -> None:
    """Frames 0 to 5 in the first 0.6 s, frame 6 until 2.0 s, then 7."""
    late = "setpts='if(lt(N,7),N*0.1,2)/TB'"
    path = encode(tmp_path / "vfr.mkv", corners(8), filters=late, fps_mode="vfr", **H264)
    frames = decode_clip(path, replace(SPEC, frames=5, span="first", duration_s=2.5))
    assert [shown_index(frame, 8) for frame in frames] == [0, 5, 6, 6, 7]


@pytest.mark.parametrize("name", ["late.ts", "late.mkv", "late.mp4"])
def test_a_start_that_is_not_zero(name: str, plain: Path, tmp_path: Path) -> None:
    path = remux(plain, tmp_path / name, output_ts_offset=100)
    np.testing.assert_array_equal(decode_clip(path, SPEC), decode_clip(plain, SPEC))


@pytest.mark.parametrize(
    "option", [{"display_rotation": angle} for angle in (90, 180, 270)] + [{"display_hflip": None}]
)
def test_rotation_is_ffmpegs(option: dict[str, Any], plain: Path, tmp_path: Path) -> None:
    path = remux(plain, tmp_path / "turned.mp4", option)
    raw = run(
        ffmpeg.input(str(path)).output("pipe:", vf="scale=32:32:flags=area", vframes=1, f="rawvideo", pix_fmt="rgb24")
    )
    theirs = np.frombuffer(raw, np.uint8).reshape(32, 32, 3)
    ours = decode_clip(path, SPEC)[0]
    assert far(ours, decode_clip(plain, SPEC)[0]) > 15.0
    assert far(ours, theirs) < 4.0


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    """64x96 px of 2:1 pixels are shown as 128x96."""
    path = encode(tmp_path / "sar.mp4", corners(2, 64, 96), filters="setsar=2/1", **H264)
    for fit in ("crop", "pad"):
        spec = replace(SPEC, frames=2, fit=fit)
        wide = encode(tmp_path / "wide.mp4", corners(2, 128, 96), **H264)
        assert far(decode_clip(path, spec), decode_clip(wide, spec)) < 6.0


def test_fits(plain: Path) -> None:
    crop, pad = (decode_clip(plain, replace(SPEC, fit=fit))[0] for fit in ("crop", "pad"))
    np.testing.assert_array_equal(pad[[0, 3, 28, 31]], 0)
    assert pad[4].mean() > 30
    middle = corners(N)[:1, :, 16:112]
    assert far(crop, square(middle, 32)[0]) < 8.0


def test_an_enlarged_clip(tmp_path: Path) -> None:
    path = encode(tmp_path / "tiny.mp4", corners(2, 16, 16), **H264)
    assert decode_clip(path, replace(SPEC, resolution=256)).shape == (8, 256, 256, 3)


@pytest.mark.parametrize(
    ("curve", "grey", "shown"), [("smpte2084", 148, 230), ("smpte2084", 96, 97), ("arib-std-b67", 191, 230)]
)
def test_hdr_is_tone_mapped(curve: str, grey: int, shown: int, tmp_path: Path) -> None:
    """PQ 0.58 is diffuse white (203 nits), 0.38 about 24 nits; HLG 0.75 is diffuse white."""
    marks = f"setparams=color_trc={curve}:color_primaries=bt2020:colorspace=bt2020nc"
    frames = np.full((2, 64, 64, 3), grey, np.uint8)
    path = encode(tmp_path / "hdr.mp4", frames, filters=marks, **CODECS["hevc_10bit.mp4"])
    assert decode_clip(path, SPEC).mean() == pytest.approx(shown, abs=8)


def test_sound_and_cover_pictures_are_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    run(ffmpeg.input("sine=d=0.5", f="lavfi").output(str(path), acodec="aac"))
    with pytest.raises(ClipError, match=r"no video stream in it \(streams: audio\)"):
        decode_clip(path, SPEC)
    run(ffmpeg.input("color=red:s=640x480", f="lavfi").output(str(tmp_path / "cover.png"), frames=1))
    cover, covered = ffmpeg.input(str(tmp_path / "cover.png")), tmp_path / "covered.mp4"
    run(ffmpeg.output(cover, ffmpeg.input(str(path)), str(covered), c="copy", **{"disposition:v": "attached_pic"}))
    with pytest.raises(ClipError, match=r"no video stream in it \(streams: audio, video\)"):
        decode_clip(covered, SPEC)


def test_a_cover_picture_is_not_the_clip(tmp_path: Path) -> None:
    """Not even where it is the larger one, the first and the clip but one frame."""
    run(ffmpeg.input("color=red:s=640x480", f="lavfi").output(str(tmp_path / "cover.png"), frames=1))
    clip = ffmpeg.input(str(encode(tmp_path / "x.mp4", corners(2)[:1], **H264)))
    streams = ffmpeg.input(str(tmp_path / "cover.png")), clip
    path = tmp_path / "covered.mp4"
    run(ffmpeg.output(*streams, str(path), c="copy", **{"disposition:v:0": "attached_pic"}))
    assert far(decode_clip(path, SPEC)[0], square(corners(2)[:1], 32)[0]) < 8.0


def test_a_header_without_frames_is_truncated(plain: Path, tmp_path: Path) -> None:
    data = plain.read_bytes()
    with pytest.raises(ClipError) as error:
        decode_clip(data[: len(data) * 6 // 10], SPEC)
    assert error.value.reason in ("truncated", "damaged")


@pytest.mark.parametrize("data", [b"", b"not a video" * 99, b"\0" * 5000])
def test_no_video_at_all(data: bytes) -> None:
    with pytest.raises(ClipError, match="Invalid data found") as error:
        decode_clip(data, SPEC)
    assert error.value.reason == "unreadable"


def test_an_mp4_cut_before_its_index(tmp_path: Path) -> None:
    data = encode(tmp_path / "x.mp4", corners(N), **H264).read_bytes()
    with pytest.raises(ClipError, match="moov atom not found"):
        decode_clip(data[: len(data) // 2], SPEC)


@pytest.mark.parametrize("seed", range(4))
def test_overwritten_bytes_never_show(seed: int, tmp_path: Path) -> None:
    """Damage in the coded frames is an error or does not show: no grey smear passes for a clip."""
    path = encode(tmp_path / "x.mp4", corners(N, 320, 240), movflags="faststart", **{**H264, "crf": 4})
    whole, data = decode_clip(path, SPEC), bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    start = data.index(b"mdat") + 200
    for place in rng.integers(start, len(data) - 60, 12):
        data[place : place + 60] = rng.bytes(60)
    try:
        frames = decode_clip(bytes(data), SPEC)
    except ClipError as error:
        outcome = error.reason
    else:
        outcome = "fine" if far(frames, whole) < 4.0 else "smeared"
    assert outcome in ("fine", "damaged", "unreadable")


def test_a_guessed_frame_is_damage(tmp_path: Path) -> None:
    """A few bytes in a slice: the decoder conceals them, marks the frame, and the clip is refused."""
    texture = np.random.default_rng(9).integers(0, 255, (30, 40, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    frames = np.stack([np.roll(texture, 5 * index, 1) for index in range(N)])
    path = encode(tmp_path / "x.mp4", frames, movflags="faststart", **{**H264, "crf": 18})
    data, refused = path.read_bytes(), 0
    start = data.index(b"mdat") + 4000
    for seed in range(20):
        rng, hurt = np.random.default_rng(seed), bytearray(data)
        place = int(rng.integers(start, len(data) - 4))
        hurt[place : place + 2] = rng.bytes(2)
        try:
            decode_clip(bytes(hurt), SPEC)
        except ClipError as error:
            refused += error.reason == "damaged"
    assert refused >= 14


def test_a_message_is_the_clips_own(tmp_path: Path) -> None:
    """Whatever came before: libav keeps the last error that it logged, and does not repeat a line."""
    headless = encode(tmp_path / "x.mp4", corners(N), **H264).read_bytes()[:2000]
    nothing, sound = b"\0" * 5000, tmp_path / "sound.mp4"
    run(ffmpeg.input("sine=d=0.5", f="lavfi").output(str(sound), acodec="aac"))

    def words(source: bytes | Path) -> str:
        with pytest.raises(ClipError) as error:
            decode_clip(source, SPEC)
        return str(error.value)

    alone = [words(source) for source in (nothing, headless, sound)]
    assert alone == [
        "Invalid data found when processing input",
        "Invalid data found when processing input: moov atom not found",
        "no video stream in it (streams: audio)",
    ]
    for before in (headless, nothing, sound, headless):
        words(before)
        assert [words(source) for source in (nothing, headless, headless, sound)] == [*alone[:2], *alone[1:]]


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"])
def test_a_playlist_opens_no_other_file(text: str, plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text(text.format(plain))
    for source in (path, path.read_bytes()):
        with pytest.raises(ClipError):
            decode_clip(source, SPEC)
