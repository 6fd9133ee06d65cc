"""Which picture is shown when: hidden and null packets, fields, times that are made up, jump, wrap or are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ffmpeg
import pytest

from pipeline.transcode.decoding.decode import decode_clip
from pipeline.transcode.decoding.spec import ClipError, FrameSpec
from tests.field_coded_h264 import field_coded_ts
from tests.video_fixtures import H264, encode, number_of, numbered, remux, run

WHITE = (255, 255, 255)
SPEC = FrameSpec(frames=8, resolution=32, span="whole", duration_s=2.0, fit="stretch", background=WHITE)
B_FRAMES: dict[str, Any] = {**H264, "preset": "slow", "bf": 3}


def shown(source: bytes | Path, n_frames: int = 8, first_s: float | None = None) -> list[int]:
    spec = replace(SPEC, frames=n_frames, span="first" if first_s else "whole", duration_s=first_s or 2.0)
    return [number_of(frame) for frame in decode_clip(source, spec)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 frames at 10 fps, a key frame each 16."""
    folder = tmp_path_factory.mktemp("plain")
    return encode(folder / "plain.mp4", numbered(48), movflags="faststart", g=16, sc_threshold=0, **B_FRAMES)


def test_a_hidden_lead_in(plain: Path, tmp_path: Path) -> None:
    """A lossless cut keeps the frames from the key frame on and hides those before the cut."""
    for cut_s, first in ((2.0, 20), (3.0, 30)):
        path = remux(plain, tmp_path / "cut.mp4", {"ss": cut_s})
        assert shown(path, 4) == [first + index * (48 - first) // 4 for index in range(4)]
        assert shown(path, 4, first_s=0.8) == [first + 2 * index for index in range(4)]


def test_the_last_seconds(plain: Path, tmp_path: Path) -> None:
    for path in (plain, remux(plain, tmp_path / "cut.mp4", {"ss": 2.0})):
        last = replace(SPEC, frames=4, span="last", duration_s=0.8)
        assert [number_of(frame) for frame in decode_clip(path, last)] == [40, 42, 44, 46]


def test_a_hidden_end(plain: Path, tmp_path: Path) -> None:
    """What a phone's trim leaves: the whole track, and an edit list that shows 1.6 s of it."""
    data = bytearray(plain.read_bytes())
    place = data.index(b"elst") + 12
    assert int.from_bytes(data[place : place + 4]) == 4800  # ms
    data[place : place + 4] = (1600).to_bytes(4)
    assert shown(bytes(data)) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_null_frames_of_avi_repeat_a_picture(tmp_path: Path) -> None:
    """Ten pictures shown for four frames' time each, and the last for 20 by null frames alone."""
    path = encode(
        tmp_path / "null.avi", numbered(10), filters="setpts=4*N", fps_mode="vfr", vcodec="mpeg4", **{"q:v": 2}
    )
    assert shown(avi_of_length(path, 37)) == [0, 1, 2, 3, 4, 5, 6, 8]
    assert shown(avi_of_length(path, 56), 14) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9]
    one_null = encode(tmp_path / "one.avi", numbered(3), filters="setpts=N+gt(N\\,1)", fps_mode="vfr", vcodec="mpeg4")
    assert shown(one_null, 4) == [0, 1, 1, 2]


def avi_of_length(path: Path, n_frames: int) -> bytes:
    """What its stream's header says; what is missing at the end are null frames."""
    data = bytearray(path.read_bytes())
    place = data.index(b"strh") + 40
    data[place : place + 4] = n_frames.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("n_frames", [5, 8, 32])
@pytest.mark.parametrize("whole", [0, 6])
def test_fields(whole: int, n_frames: int) -> None:
    """Of a frame that is shown neither field is left out, also where a stream begins with whole frames."""
    luma = numbered(32, 160, 128)[..., 0]
    assert shown(field_coded_ts(luma, 25, whole=whole), n_frames) == [32 * i // n_frames for i in range(n_frames)]


@pytest.mark.parametrize("name", ["x.avi", "x.asf", "x.264", "x.mkv", "x.ts", "x.vob"])
@pytest.mark.parametrize("b_frames", [2, 8])
def test_b_frames_each_once_and_in_order(name: str, b_frames: int, tmp_path: Path) -> None:
    """AVI and ASF hold no times of showing, raw H.264 none at all, a program stream few."""
    path = encode(tmp_path / name, numbered(32), **{**B_FRAMES, "bf": b_frames, "refs": 4})
    assert shown(path, 32) == list(range(32))
    assert shown(path) == list(range(0, 32, 4))
    assert shown(path.read_bytes(), 4, first_s=0.8) == [0, 2, 4, 6]


def test_an_avi_with_sound_ticks_faster(plain: Path, tmp_path: Path) -> None:
    """Its ticks are then no frames, and the last packet says that it lasts but one of them."""
    video, sound = ffmpeg.input(str(plain)), ffmpeg.input("sine=d=4", f="lavfi")
    run(ffmpeg.output(video, sound, str(tmp_path / "sound.avi"), vcodec="copy", acodec="libmp3lame"))
    assert shown(tmp_path / "sound.avi", 48) == list(range(48))


@pytest.mark.parametrize(
    ("name", "fps"), [("x.gif", 15), ("x.gif", 60), ("x.gif", 100 / 3), ("x.mkv", 30), ("x.mkv", 60)]
)
def test_ticks_coarser_than_the_rate(name: str, fps: float, tmp_path: Path) -> None:
    """A GIF's are 1/100 s, Matroska's 1/1000: 15 fps become delays of 7, 6, 7, 7, 6, and 60 fps 2, 1, 2."""
    path = encode(tmp_path / name, numbered(16), fps)
    assert shown(path, 16) == list(range(16))
    assert shown(path) == list(range(0, 16, 2))


JOINS: dict[str, dict[str, Any]] = {
    "h264.ts": B_FRAMES,
    "mpeg2.ts": {"vcodec": "mpeg2video", "q:v": 2, "bf": 2, "r": 10},
    "mpeg2.mpg": {"vcodec": "mpeg2video", "q:v": 2, "bf": 2, "r": 25},
    "theora.ogv": {"vcodec": "libtheora", "q:v": 9},
}


@pytest.mark.parametrize("name", JOINS)
def test_recordings_put_together(name: str, tmp_path: Path) -> None:
    data = encode(tmp_path / name, numbered(16), **JOINS[name]).read_bytes()
    assert shown(data + data) == [0, 4, 8, 12, 0, 4, 8, 12]
    assert shown(data * 3, 6) == [0, 8, 0, 8, 0, 8]


@pytest.mark.parametrize("offsets", [(95442.8,), (0, 300), (300, 0), (95442.8, 0)])
def test_times_that_leap_or_wrap(offsets: tuple[float, ...], plain: Path, tmp_path: Path) -> None:
    """Of 33 bits in a transport stream: 95,443.7 s."""
    data = b""
    for offset in offsets:
        data += remux(plain, tmp_path / "x.ts", output_ts_offset=offset).read_bytes()
    step = 6 * len(offsets)
    assert shown(data) == [index * step % 48 for index in range(8)]


def test_a_stream_entered_in_the_middle(plain: Path, tmp_path: Path) -> None:
    """Pictures before the first key frame cannot be decoded: the clip begins with it."""
    packets = remux(plain, tmp_path / "x.ts").read_bytes()
    data = packets[len(packets) // 188 // 6 * 188 :]
    assert shown(data, 4) == [16, 24, 32, 40]


STATES_ITS_LENGTH: dict[str, dict[str, Any]] = {
    "x.mp4": {**B_FRAMES, "movflags": "faststart"},
    "x.mkv": B_FRAMES,
    "x.flv": B_FRAMES,
    "x.avi": {"vcodec": "mpeg4", "q:v": 2},
    "x.wmv": {"vcodec": "wmv2", "q:v": 2},
    "x.mxf": {"vcodec": "mpeg2video", "q:v": 2, "r": 25},
}


@pytest.mark.parametrize("name", STATES_ITS_LENGTH)
def test_a_download_that_stopped(name: str, tmp_path: Path) -> None:
    """It is refused, but where the seconds that are asked for are there."""
    data = encode(tmp_path / name, numbered(48), g=8, **STATES_ITS_LENGTH[name]).read_bytes()
    cut = data[: len(data) * 6 // 10]
    for first_s in (None, 4.0):
        with pytest.raises(ClipError, match=r"of \d+\.\d\d s are there|of \d+ bytes are there") as error:
            shown(cut, first_s=first_s)
        assert error.value.reason == "truncated"
    assert shown(cut, 4, first_s=0.8) == [0, 2, 4, 6]


@pytest.mark.parametrize("name", ["x.mkv", "x.flv"])
def test_sound_that_goes_on_makes_no_clip_truncated(name: str, plain: Path, tmp_path: Path) -> None:
    video, sound = ffmpeg.input(str(plain)), ffmpeg.input("sine=d=9", f="lavfi")
    run(ffmpeg.output(video, sound, str(tmp_path / name), vcodec="copy", acodec="aac", write_crc32=0))
    data = (tmp_path / name).read_bytes().replace(b"DURATION", b"NO_TAG__")
    assert shown(data) == list(range(0, 48, 6))
