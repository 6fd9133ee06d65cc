"""Clips that stand in two splits: with the same bytes (exact), or with nearly the same pixels (near).

A model that has seen a clip in training is not judged by drawing it again. Each clip of a held-back split is compared
with all clips of the splits before it (train, validate, test), and named once, with the clip most like it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.shards import Row, read_shard
from pipeline.runtime.executors import worker_count
from pipeline.runtime.files import write_csv
from pipeline.sources.splits import SPLITS

FRAMES, SIDE = 4, 8  # of a clip's small picture: frames from first to last, px
NEAR = 0.98  # correlation of two small pictures; real clips: compressed, brightened or cropped anew 0.986 and more
BLOCK = 2048  # clips compared at a time


@dataclass(frozen=True)
class Repeat:
    """A held-back clip and one like it in a split before."""

    key: str
    split: str
    kind: str  # exact | near
    other_key: str
    other_split: str
    likeness: float  # correlation; 1 where exact


@dataclass(frozen=True)
class _Clips:
    """The pictures compared."""

    keys: list[str]
    splits: np.ndarray  # (N,) of str
    digests: np.ndarray  # (N,) of bytes
    pictures: np.ndarray  # uint8 (N, FRAMES * SIDE * SIDE * 3)


def find_repeats(shards: Sequence[Path]) -> list[Repeat]:
    """One entry for each held-back clip that has a like in a split before, in the order of the shards."""
    clips = _read(shards)
    found: list[Repeat] = []
    order = [*SPLITS, *sorted(set(clips.splits.tolist()) - set(SPLITS))]
    for place, split in enumerate(order):
        held = np.flatnonzero(clips.splits == split)
        before = np.flatnonzero(np.isin(clips.splits, order[:place]))
        if len(held) and len(before):
            found += _between(clips, held, before)
    places = {key: place for place, key in enumerate(clips.keys)}
    return sorted(found, key=lambda repeat: places[repeat.key])


def count_repeats(repeats: Sequence[Repeat], counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """By held-back split that has clips: how many of them repeat, by kind."""
    held = [split for split, count in counts.items() if count and split != "train"]
    return {
        split: {kind: sum(one.split == split and one.kind == kind for one in repeats) for kind in ("exact", "near")}
        for split in held
    }


def write_repeats(path: Path, repeats: Sequence[Repeat]) -> None:
    """A line each, under a header."""
    write_csv(path, pd.DataFrame([vars(one) for one in repeats], columns=[field.name for field in fields(Repeat)]))


def _read(shards: Sequence[Path]) -> _Clips:
    rows = (row for path in shards for row in read_shard(path))
    keys: list[str] = []
    splits: list[str] = []
    digests: list[bytes] = []
    pictures: list[np.ndarray] = []
    with ThreadPoolExecutor(worker_count()) as pool:
        for batch in _batched(rows, 64):
            keys += [row.key for row in batch]
            splits += [row.split for row in batch]
            digests += [hashlib.sha256(row.gif).digest() for row in batch]
            pictures += pool.map(small_picture, batch)
    return _Clips(keys, np.array(splits, object), np.array(digests, object), np.array(pictures, np.uint8))


def _batched(rows: Iterator[Row], count: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def small_picture(row: Row) -> np.ndarray:
    """uint8 (FRAMES * SIDE * SIDE * 3,): frames from first to last, averaged over the cells of a coarse grid."""
    frames = row.frames()
    frames = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)].astype(np.float32)
    for axis in (1, 2):
        edges = np.linspace(0, frames.shape[axis], SIDE + 1).astype(int)
        shape = [1, 1, 1, 1]
        shape[axis] = SIDE
        frames = np.add.reduceat(frames, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    return np.rint(frames).astype(np.uint8).ravel()


def _between(clips: _Clips, held: np.ndarray, before: np.ndarray) -> Iterator[Repeat]:
    by_digest = {clips.digests[place]: place for place in before[::-1]}
    best, likeness = _nearest(clips.pictures, held, before)
    for place, other, value in zip(held, best, likeness, strict=True):
        same = by_digest.get(clips.digests[place])
        if same is not None:
            other, value, kind = same, 1.0, "exact"
        elif value >= NEAR:
            kind = "near"
        else:
            continue
        shown = round(float(value), 4)
        yield Repeat(clips.keys[place], clips.splits[place], kind, clips.keys[other], clips.splits[other], shown)


def _nearest(pictures: np.ndarray, held: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each held clip the place of the one most like it, and their correlation."""
    best, likeness = np.zeros(len(held), np.int64), np.full(len(held), -1.0, np.float32)
    for start in range(0, len(held), BLOCK):
        rows = slice(start, start + BLOCK)
        own = _normed(pictures[held[rows]])
        for other in range(0, len(before), BLOCK):
            places = before[other : other + BLOCK]
            values = own @ _normed(pictures[places]).T
            columns = values.argmax(1)
            top = values[np.arange(len(own)), columns]
            better = top > likeness[rows]
            best[rows][better], likeness[rows][better] = places[columns[better]], top[better]
    return best, likeness


def _normed(pictures: np.ndarray) -> np.ndarray:
    """float32, less each picture's mean, of length 1; 0 where it is blank, which is like nothing."""
    centred = pictures.astype(np.float32)
    centred -= centred.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(length > np.sqrt(pictures.shape[1]), centred / np.maximum(length, 1.0), 0.0)
