"""Clips that stand in two splits, exactly or nearly, are counted and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.data.gif import Clip
from pipeline.data.shards import to_row, write_shard
from pipeline.transcode.repeats import count_repeats, find_repeats, write_repeats

SIDE = 32


def scene(seed: int) -> np.ndarray:
    """uint8 (8, SIDE, SIDE, 3): coloured boxes on a ground, one of which moves."""
    rng = np.random.default_rng(seed)
    frames = np.empty((8, SIDE, SIDE, 3), np.uint8)
    frames[:] = rng.integers(0, 256, 3)
    for _ in range(5):
        x, y = rng.integers(0, SIDE - 8, 2)
        frames[:, y : y + 8, x : x + 8] = rng.integers(0, 256, 3)
    colour, y = rng.integers(0, 256, 3), rng.integers(0, SIDE - 10)
    for number, frame in enumerate(frames):
        frame[y : y + 10, 2 * number : 2 * number + 10] = colour
    return frames


def noisy(frames: np.ndarray) -> np.ndarray:
    """A little brighter and grainy, as after another compression."""
    grain = np.random.default_rng(0).normal(6, 4, frames.shape)
    return np.clip(frames + grain, 0, 255).astype(np.uint8)


def test_clips_that_stand_in_two_splits_are_named_once(tmp_path: Path) -> None:
    blank = np.full((8, SIDE, SIDE, 3), 200, np.uint8)
    clips = {
        "train": {"a": scene(1), "b": scene(2), "c": scene(3), "white": blank},
        "validate": {
            "a two pixels on": np.roll(scene(1), 2, axis=2),
            "b again": scene(2),
            "c grainy": noisy(scene(3)),
            "d": scene(4),
            "grey": blank // 2,
        },
        "test": {"d again": scene(4), "a grainy": noisy(scene(1)), "e": scene(5), "e again": scene(5)},
    }
    rows = [
        to_row(Clip(key, split, ("x",), frames, 10.0, "drawn"))
        for split in clips
        for key, frames in clips[split].items()
    ]
    write_shard(tmp_path / "shard-00000.parquet", rows[::2])
    write_shard(tmp_path / "shard-00001.parquet", rows[1::2])
    repeats = find_repeats(sorted(tmp_path.glob("shard-*.parquet")))
    assert {(one.key, one.kind, one.other_key, one.other_split) for one in repeats} == {
        ("b again", "exact", "b", "train"),
        ("c grainy", "near", "c", "train"),
        ("d again", "exact", "d", "validate"),
        ("a grainy", "near", "a", "train"),
    }
    assert all(0.98 <= one.likeness <= 1.0 for one in repeats)
    counts = {"train": 4, "validate": 5, "test": 4, "held_out": 0}
    assert count_repeats(repeats, counts) == {"validate": {"exact": 1, "near": 1}, "test": {"exact": 1, "near": 1}}
    write_repeats(tmp_path / "repeats.csv", repeats)
    lines = (tmp_path / "repeats.csv").read_text().splitlines()
    assert lines[0] == "key,split,kind,other_key,other_split,likeness"
    assert "b again,validate,exact,b,train,1" in lines


def test_a_set_of_one_split_repeats_nothing(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard-00000.parquet", [to_row(Clip("a", "train", ("x",), scene(1), 10.0, "drawn"))] * 2)
    assert find_repeats([tmp_path / "shard-00000.parquet"]) == []
    assert count_repeats([], {"train": 2, "validate": 0}) == {}
