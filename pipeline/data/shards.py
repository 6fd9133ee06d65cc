"""Parquet shards of GIF clips: `data/shards/<set>/shard-00000.parquet` … and `set.json` beside them.

A row is one clip (see SCHEMA). Bytes are deterministic for the same rows and pyarrow version. `set.json` publishes what
the set holds: counts per split, held-out combinations, templates, attributes in play.
`python -m pipeline.shards export | import | show` is in pipeline/shards.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.gif import Clip, decode_gif, encode_gif
from pipeline.runtime.files import whole_file, write_json
from pipeline.runtime.row_file import RowFile

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("n_frames", pa.int32()),
        ("fps", pa.float32()),
        ("gif", pa.binary()),
        ("source", pa.string()),
        ("attributes", pa.string()),  # JSON
    ]
)


@dataclass(frozen=True)
class Row:
    """One clip as stored: its frames are still GIF bytes."""

    key: str
    split: str
    captions: tuple[str, ...]
    n_frames: int
    fps: float
    gif: bytes
    source: str
    attributes: dict[str, Any]

    def frames(self) -> np.ndarray:
        """uint8 (n_frames, H, W, 3)."""
        return decode_gif(self.gif, self.n_frames)


def to_row(clip: Clip) -> Row:
    return Row(
        clip.key,
        clip.split,
        clip.captions,
        len(clip.frames),
        clip.fps,
        encode_gif(clip.frames, clip.fps),
        clip.source,
        clip.attributes,
    )


def write_shard(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to one parquet file, whole or not at all."""
    columns = {
        "key": [row.key for row in rows],
        "split": [row.split for row in rows],
        "captions": [list(row.captions) for row in rows],
        "n_frames": [row.n_frames for row in rows],
        "fps": [row.fps for row in rows],
        "gif": [row.gif for row in rows],
        "source": [row.source for row in rows],
        "attributes": [json.dumps(row.attributes, sort_keys=True) for row in rows],
    }
    with whole_file(path) as partial:
        pq.write_table(pa.table(columns, schema=SCHEMA), partial, compression="none", row_group_size=100)


def shard_paths(folder: Path) -> list[Path]:
    """The set's shards in order. Raises ValueError where there are none."""
    paths = sorted(Path(folder).glob("shard-*.parquet"))
    if not paths:
        raise ValueError(f"{folder}: no shard-*.parquet in it; run the stage that makes this set (dvc repro)")
    return paths


def read_shard(path: Path | IO[bytes]) -> Iterator[Row]:
    """The clips of one file, in order."""
    for batch in pq.ParquetFile(path).iter_batches(batch_size=100):
        for record in batch.to_pylist():
            captions, attributes = tuple(record["captions"]), json.loads(record["attributes"])
            yield Row(**{**record, "captions": captions, "attributes": attributes})


def read_rows(folder: Path, split: str | None = None, limit: int | None = None) -> Iterator[Row]:
    """The set's clips in order, of one split or of all."""
    rows = (row for path in shard_paths(folder) for row in read_shard(path) if split in (None, row.split))
    return islice(rows, limit)


def read_captions(folder: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(key, split, captions) of every clip, without touching the GIF bytes."""
    for path in shard_paths(folder):
        for record in pq.read_table(path, columns=["key", "split", "captions"]).to_pylist():
            yield record["key"], record["split"], tuple(record["captions"])


def count_clips(folder: Path) -> dict[str, int]:
    """Clips of each split that has any, by the shards themselves."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("shard-*.parquet")):
        counts.update(pq.read_table(path, columns=["split"]).column("split").to_pylist())
    return dict(sorted(counts.items()))


def write_set(folder: Path, description: dict[str, Any]) -> None:
    """Publish what the set holds beside its shards.

    Raises ValueError where the shards do not hold the clips of each split that `counts` says.
    """
    told = {split: count for split, count in sorted(description["counts"].items()) if count}
    there = count_clips(folder)
    if there != told:
        raise ValueError(
            f"{folder}: its shards hold clips {there}, not {told}; something deleted or changed them; rerun"
        )
    write_json(folder / "set.json", description)


def read_set(folder: Path) -> dict[str, Any]:
    """The description that `write_set` published."""
    path = Path(folder) / "set.json"
    if not path.is_file():
        raise ValueError(f"{path}: missing; run the stage that makes this set (dvc repro)")
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class LoadedSplit:
    """A split decoded once."""

    keys: list[str]
    captions: list[tuple[str, ...]]
    attributes: list[dict[str, Any]]
    frames: RowFile  # uint8 (N, F, H, W, 3)
    fps: float

    def __len__(self) -> int:
        return len(self.keys)


def load_rows(rows: Iterable[Row], at_most: int | None = None) -> LoadedSplit:
    """Decode rows of equal frame count and resolution, one after the other: `at_most` of them, if not all.

    Raises ValueError where there are none.
    """
    if at_most is None:
        rows = list(rows)
        at_most = len(rows)
    keys: list[str] = []
    captions: list[tuple[str, ...]] = []
    attributes: list[dict[str, Any]] = []
    frames, fps = None, 0.0
    for number, row in enumerate(islice(rows, at_most)):
        clip = row.frames()
        if frames is None:
            frames, fps = RowFile.create(at_most, clip.shape, np.uint8), row.fps
        frames.write(number, clip[None])
        keys.append(row.key)
        captions.append(row.captions)
        attributes.append(row.attributes)
    if frames is None:
        raise ValueError("no clips to load: this split of the set is empty")
    frames.count = len(keys)
    return LoadedSplit(keys, captions, attributes, frames, fps)
