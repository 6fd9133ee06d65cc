"""Decoded clips by number: a split of a set as uint8 (F, H, W, C), decoded once or streamed through a window.

Both kinds publish a seeded `order` of an epoch and give `frames` by clip number, so what a trainer sees is a function
of (seed, epoch) and never of timing. A streamed order is a shuffle buffer: file blocks in random order, cut into
windows that fit half the memory budget, each window shuffled; the next one is decoded while this one is used.
"""

from __future__ import annotations

import dataclasses
import os
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.data.shards import Row, shard_paths
from pipeline.model_io.clip_decoding import Block, ClipShape, decode_all, decode_block
from pipeline.runtime.row_file import Alone, Peers

VALIDATION_SPLITS = ("val", "validate", "test")  # the first one that a set has


@dataclass(frozen=True)
class SplitIndex:
    """The places of a split's clips, without their pixels."""

    keys: list[str]
    captions: list[tuple[str, ...]]
    fps: float
    n_frames: int
    blocks: list[Block]
    dropped: int  # clips left out because none of their captions is known

    def distinct_captions(self) -> list[str]:
        """Sorted."""
        return sorted({caption for offered in self.captions for caption in offered})

    def prompts(self, count: int) -> list[str]:
        """`count` first captions, distinct as far as the split has as many, repeated beyond."""
        distinct = list(dict.fromkeys(captions[0] for captions in self.captions))
        return [distinct[place % len(distinct)] for place in range(count)]

    def playback_fps(self, frames: int) -> float:
        """Frames per second of clips of `frames` frames that last as long as the set's."""
        return self.fps * frames / self.n_frames


def keep_known(rows: Iterable[Row], known: Container[str] | None) -> Iterator[Row]:
    """Rows with their captions in `known` (None: all of them); a row that keeps none is left out."""
    for row in rows:
        captions = tuple(caption for caption in row.captions if known is None or caption in known)
        if captions:
            yield dataclasses.replace(row, captions=captions)


def split_names(folder: Path) -> set[str]:
    """The splits that a set has clips of."""
    names: set[str] = set()
    for path in shard_paths(folder):
        names |= set(pq.read_table(path, columns=["split"])["split"].unique().to_pylist())
    return names


def validation_split(names: set[str]) -> str | None:
    """The first of VALIDATION_SPLITS among a set's splits."""
    return next((name for name in VALIDATION_SPLITS if name in names), None)


def index_split(folder: Path, split: str, known: Container[str] | None = None) -> SplitIndex:
    """Find a split's clips. Captions outside `known`, and clips that keep none, are left out; ValueError if all are."""
    keys: list[str] = []
    captions: list[tuple[str, ...]] = []
    blocks: list[Block] = []
    fps, n_frames, dropped = 0.0, 0, 0
    for path in shard_paths(folder):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            splits = file.read_row_group(group, columns=["split"])["split"].to_numpy()
            places = np.flatnonzero(splits == split)
            if not len(places):
                continue
            table = file.read_row_group(group, columns=["key", "captions", "n_frames", "fps"]).take(places)
            rows, first = [], len(keys)
            for row, record in zip(places.tolist(), table.to_pylist(), strict=True):
                kept = tuple(text for text in record["captions"] if known is None or text in known)
                if not kept:
                    dropped += 1
                    continue
                rows.append(row)
                keys.append(record["key"])
                captions.append(kept)
                fps, n_frames = record["fps"], record["n_frames"]
            if rows:
                blocks.append(Block(path, group, tuple(rows), first))
    if not keys:
        why = f": none of its {dropped} clips has a caption in the embeddings table" if dropped else ""
        raise ValueError(f"{folder}: no clips of split {split!r} to train on{why}; run the stages that make the set")
    return SplitIndex(keys, captions, fps, n_frames, blocks, dropped)


class DecodedClips:
    """Every clip decoded once, at the start, into a file that the system keeps in memory as far as there is room."""

    def __init__(self, index: SplitIndex, shape: ClipShape, peers: Peers | None = None) -> None:
        self.index, self.shape = index, shape
        self.pixels = decode_all(index.blocks, shape, peers or Alone())

    def __len__(self) -> int:
        return len(self.pixels)

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """A permutation of the clip numbers."""
        return rng.permutation(len(self))

    def expect(self, numbers: Sequence[int] | np.ndarray) -> None:
        """These clips are asked for soon: nothing to do."""

    def frames(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (b, F, H, W, C)."""
        return self.pixels.take(numbers)

    @property
    def window(self) -> int:
        """The number of clips ahead that `expect` should look."""
        return 0


class StreamedClips:
    """A set larger than memory: blocks are decoded by threads when a window needs them, the oldest are forgotten."""

    def __init__(self, index: SplitIndex, shape: ClipShape, budget_bytes: float) -> None:
        self.index, self.shape = index, shape
        largest = max(len(block.rows) for block in index.blocks)
        self.window_blocks = max(1, int(budget_bytes / 2 / (largest * shape.bytes)))
        self.block_of = np.concatenate([np.full(len(b.rows), i) for i, b in enumerate(index.blocks)])
        self.decoded: OrderedDict[int, Future[np.ndarray]] = OrderedDict()
        self.pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2), thread_name_prefix="decode")

    def __len__(self) -> int:
        return len(self.block_of)

    @property
    def window(self) -> int:
        return min(len(self), self.window_blocks * max(len(block.rows) for block in self.index.blocks))

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Windows of `window_blocks` blocks in random order, each shuffled: a permutation of the clip numbers."""
        numbers = np.arange(len(self))
        shuffled = rng.permutation(len(self.index.blocks))
        parts = []
        for start in range(0, len(shuffled), self.window_blocks):
            inside = [self.index.blocks[i] for i in shuffled[start : start + self.window_blocks]]
            clips = np.concatenate([numbers[block.first : block.first + len(block.rows)] for block in inside])
            parts.append(rng.permutation(clips))
        return np.concatenate(parts)

    def expect(self, numbers: Sequence[int] | np.ndarray) -> None:
        """Start decoding the blocks of these clips."""
        for block in np.unique(self.block_of[np.asarray(numbers, np.int64)]):
            self._block(int(block))

    def frames(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        numbers = np.asarray(numbers, np.int64)
        out = np.empty(
            (len(numbers), self.shape.frames, self.shape.resolution, self.shape.resolution, self.shape.channels),
            np.uint8,
        )
        for place, number in enumerate(numbers):
            block = int(self.block_of[number])
            out[place] = self._block(block).result()[number - self.index.blocks[block].first]
        return out

    def _block(self, block: int) -> Future[np.ndarray]:
        if block not in self.decoded:
            self.decoded[block] = self.pool.submit(decode_block, self.index.blocks[block], self.shape)
        self.decoded.move_to_end(block)
        while len(self.decoded) > 2 * self.window_blocks + 1:
            self.decoded.popitem(last=False)
        return self.decoded[block]


Clips = DecodedClips | StreamedClips


def open_clips(
    folder: Path,
    split: str,
    shape: ClipShape,
    *,
    ram_budget_gb: float,
    known: Container[str] | None = None,  # captions that have vectors
    peers: Peers | None = None,  # processes that open the same clips
) -> Clips:
    """The split's clips, all decoded at once where they fit the budget and streamed where they don't."""
    index = index_split(folder, split, known)
    budget = ram_budget_gb * 1e9
    if len(index.keys) * shape.bytes <= budget:
        return DecodedClips(index, shape, peers)
    return StreamedClips(index, shape, budget)
