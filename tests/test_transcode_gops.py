"""Groups of pictures that nobody wants are not decoded, and the frames are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.stand_in import draw_film
from pipeline.data.gif import _largest
from pipeline.transcode.decoding import decode as decoding
from pipeline.transcode.decoding.decode import decode_clip
from pipeline.transcode.decoding.gops import idle_packets, nal_length_size
from pipeline.transcode.decoding.spec import FrameSpec

SPEC = FrameSpec(frames=4, resolution=32, span="whole", duration_s=1.0, fit="crop", background=(255, 255, 255))


def test_packets_after_the_last_wanted_of_a_group_are_idle() -> None:
    times = [0, 2, 1, 3, None, 5, 4, 6, 7, 8]
    idle = idle_packets([0, 4, 8], times, {1, 8})
    assert idle.tolist() == [False] * 3 + [True] * 5 + [False] * 2
    assert idle_packets([], times, {1}).tolist() == [False] * 3 + [True] * 7  # nothing is wanted of the rest


def test_lengths_or_start_codes() -> None:
    assert nal_length_size(bytes([1, 100, 0, 31, 0xFF])) == 4
    assert nal_length_size(b"\0\0\0\1\x67") == nal_length_size(b"") == 0


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_frames_are_the_same_and_fewer_pictures_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    film = tmp_path / f"film{suffix}"
    draw_film(film, 8, seed=1)
    decoded = decoding.decoded
    given: list[int] = []
    monkeypatch.setattr(decoding, "decoded", lambda codec, packet: given.append(1) or decoded(codec, packet))
    frames = decode_clip(film.read_bytes(), SPEC)
    some = len(given)
    monkeypatch.setattr(decoding, "idle_packets", lambda restarts, times, wanted: np.zeros(len(times), bool))
    given.clear()
    np.testing.assert_array_equal(decode_clip(film.read_bytes(), SPEC), frames)
    assert some < 0.4 * len(given)


def test_the_largest_are_those_of_a_stable_sort() -> None:
    values = np.random.default_rng(0).integers(0, 40, 500)
    for count in (1, 7, 499, 500):
        np.testing.assert_array_equal(_largest(values, count), np.argsort(-values, kind="stable")[:count])
