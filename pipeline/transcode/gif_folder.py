"""Shard sets from and to a plain folder: x.gif, and x.txt beside it with a caption on each line.

An import is what the stage transcode makes of a folder, by the same params. An export adds clips.jsonl (key, split,
source, attributes of each file), so that importing it gives the same rows: a GIF of the wanted shape keeps its bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.config.data import TranscodeParams
from pipeline.data.gif import decode_gif
from pipeline.data.shards import Row, read_set, read_shard, shard_paths, write_set, write_shard
from pipeline.runtime.executors import open_workers
from pipeline.sources.archive import VideoArchive
from pipeline.sources.captions import read_captions
from pipeline.sources.manifest import left_out_of, videos_of
from pipeline.transcode.assemble import Transcoding
from pipeline.transcode.repeats import count_repeats, find_repeats, write_repeats

SIDECAR = "clips.jsonl"


def export_rows(rows: Iterable[Row], folder: Path) -> int:
    """Write x.gif, x.txt and the sidecar; how many clips. Raises ValueError where the folder already has clips."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.gif")):
        raise ValueError(f"{folder}: there are GIFs in it already; give an empty or a new folder")
    names: set[str] = set()
    with (folder / SIDECAR).open("w", encoding="utf-8") as sidecar:
        for row in rows:
            name = re.sub(r"[^\w.-]", "_", row.key, flags=re.ASCII).lstrip(".") or "clip"
            name = name if name not in names else f"{name}-{len(names)}"
            names.add(name)
            (folder / f"{name}.gif").write_bytes(row.gif)
            (folder / f"{name}.txt").write_text("".join(f"{caption}\n" for caption in row.captions), encoding="utf-8")
            facts = {"file": name, **vars(row)}
            del facts["gif"]
            sidecar.write(json.dumps(facts, sort_keys=True, ensure_ascii=False) + "\n")
    return len(names)


def import_folder(folder: Path, out: Path, params: TranscodeParams) -> dict[str, Any]:
    """Write a shard set of the folder's clips, as the stage transcode does; what set.json says.

    Raises ValueError where there is no usable clip or the target already holds shards.
    """
    if any(out.glob("shard-*.parquet")):
        raise ValueError(f"{out}: there are shards in it already; give a new folder with --set")
    archive = videos_of(folder, str(folder))
    facts = _read_sidecar(folder)
    left_out = {name: why for name, why in left_out_of(archive).items() if name != SIDECAR}
    with TemporaryDirectory() as scratch, open_workers(threads=True, files=[archive.path]) as workers:
        job = Transcoding(archive, read_captions(folder), params, scratch=Path(scratch), left_out=left_out)
        job.run(out, workers)
    if facts:
        _restore(out, archive, facts)
    return read_set(out)


def _read_sidecar(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / SIDECAR
    if not path.is_file():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {facts["file"]: facts for facts in lines}


def _restore(out: Path, archive: VideoArchive, facts: dict[str, dict[str, Any]]) -> None:
    """Give the rows of exported clips back what they were, in all shards of the set."""
    entries = {entry.key: entry for entry in archive.entries}
    counts: Counter[str] = Counter()
    for path in shard_paths(out):
        rows = [
            _as_exported(row, facts[row.key], archive.read(entries[row.key])) if row.key in facts else row
            for row in read_shard(path)
        ]
        counts.update(row.split for row in rows)
        write_shard(path, rows)
    repeats = find_repeats(shard_paths(out))
    write_repeats(out / "repeats.csv", repeats)
    told = {"counts": dict(counts), "split_rule": "as exported", "repeats": count_repeats(repeats, counts)}
    write_set(out, read_set(out) | told)


def _as_exported(row: Row, facts: dict[str, Any], gif: bytes) -> Row:
    """The row that was exported; its GIF too, where the decoder process has made the same pixels of it."""
    is_same = facts["n_frames"] == row.n_frames and np.array_equal(decode_gif(gif, row.n_frames), row.frames())
    known = {name: facts[name] for name in ("key", "split", "source", "attributes", "fps")}
    return replace(row, **known, gif=gif if is_same else row.gif)
