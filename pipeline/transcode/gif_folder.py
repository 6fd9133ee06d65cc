"""Shard sets from and to a plain folder: x.gif, and x.txt beside it with a caption on each line.

An export adds clips.jsonl (key, split, source, attributes of each file), so that importing it gives the same rows; a
folder without it is split by hash. An imported GIF of the wanted shape keeps its bytes.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.gif import decode_gif, encode_gif, fit_frame_count, gif_timing
from pipeline.data.shards import Row, write_set, write_shard
from pipeline.sources.members import natural_order
from pipeline.sources.captions import caption_fault, split_by_hash

SIDECAR = "clips.jsonl"


@dataclass(frozen=True)
class GifShape:
    """What every clip of a set is brought to."""

    frames: int  # a longer clip is cut, a shorter one holds its last frame
    resolution: int  # px; centre-cropped to a square, then resized


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
            facts = {"key": row.key, "split": row.split, "source": row.source, "attributes": row.attributes}
            timing = {"fps": row.fps, "n_frames": row.n_frames}
            sidecar.write(json.dumps({"file": name, **facts, **timing}, sort_keys=True) + "\n")
    return len(names)


def import_folder(folder: Path, out: Path, shape: GifShape, *, clips_per_shard: int = 500) -> dict[str, Any]:
    """Write a shard set of the folder's clips, with rejected.csv; what set.json says.

    Raises ValueError where there is no usable clip or the target already holds shards.
    """
    paths = sorted(folder.glob("**/*.gif"), key=lambda path: natural_order(str(path.relative_to(folder))))
    if any(out.glob("shard-*.parquet")):
        raise ValueError(f"{out}: there are shards in it already; give a new folder with --set")
    facts = _read_sidecar(folder)
    keys = [str(path.relative_to(folder).with_suffix("")) for path in paths]
    splits = split_by_hash(keys) if not facts else {}
    rejected: list[tuple[str, str, str]] = []
    counts: Counter[str] = Counter()
    shard: list[Row] = []
    n_shards = 0
    for path, key in zip(paths, keys, strict=True):
        try:
            row = _read_row(path, key, facts.get(key, {}), splits.get(key, "train"), shape)
        except (ValueError, OSError, Image.DecompressionBombError) as error:  # Pillow's errors for a bad GIF
            rejected.append((key, "unusable", " ".join(str(error).split())))
            continue
        counts[row.split] += 1
        shard.append(row)
        if len(shard) == clips_per_shard:
            write_shard(out / f"shard-{n_shards:05d}.parquet", shard)
            shard, n_shards = [], n_shards + 1
    if not counts:
        why = f"; first: {rejected[0][0]}: {rejected[0][2]}" if rejected else ""
        raise ValueError(f"{folder}: no usable x.gif with an x.txt beside it{why}")
    if shard:
        write_shard(out / f"shard-{n_shards:05d}.parquet", shard)
    _write_rejected(out / "rejected.csv", rejected)
    about = {
        "set": out.name, "counts": dict(counts), "rejected": len(rejected), "resolution": shape.resolution,
        "frames": shape.frames, "split_rule": "as exported" if facts else "by hash",
    }  # fmt: skip
    write_set(out, about)
    return about


def _read_sidecar(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / SIDECAR
    if not path.is_file():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {facts["file"]: facts for facts in lines}


def _read_row(path: Path, key: str, facts: dict[str, Any], split: str, shape: GifShape) -> Row:
    gif = path.read_bytes()
    n_frames, fps = gif_timing(gif)
    n_frames, fps = facts.get("n_frames", n_frames), facts.get("fps", fps)
    frames = fit_frame_count(decode_gif(gif, n_frames), shape.frames)
    if n_frames != shape.frames or frames.shape[1:3] != (shape.resolution, shape.resolution):
        gif = encode_gif(_square(frames, shape.resolution), fps)
    return Row(
        key=facts.get("key", key),
        split=facts.get("split", split),
        captions=tuple(_captions(path.with_suffix(".txt"))),
        n_frames=shape.frames,
        fps=fps,
        gif=gif,
        source=facts.get("source", f"folder:{path.name}"),
        attributes=facts.get("attributes", {}),
    )


def _captions(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise ValueError(f"no {path.name} beside it")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    for line in lines or [""]:
        fault = caption_fault(line)
        if fault:
            raise ValueError(f"{path.name}: {fault}")
        yield " ".join(line.split())


def _square(frames: np.ndarray, resolution: int) -> np.ndarray:
    """uint8 (F, resolution, resolution, 3), from the centre."""
    _, height, width, _ = frames.shape
    side = min(height, width)
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    size = (resolution, resolution)
    resized = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, box) for frame in frames]
    return np.stack([np.asarray(image) for image in resized])


def _write_rejected(path: Path, rejected: list[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["key", "reason", "detail"])
        writer.writerows(rejected)
