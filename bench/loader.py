"""Training samples per second: clips decoded once and fed from uint8, against opening the GIF for each sample.

`python -m bench.loader [--json FILE]`. The same 16-frame, 64 px clips, in the same random order; batches of 32.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.gif import Clip
from pipeline.data.shards import to_row, write_shard
from pipeline.model_io.clip_dataset import open_clips
from pipeline.model_io.clip_decoding import ClipShape
from pipeline.runtime.files import write_json
from pipeline.training.feed import ClipFeed

SHAPE = ClipShape(frames=16, resolution=64, channels=3)
BATCH = 32


def drawn_clip(index: int) -> Clip:
    """A bright blob that wanders over a shaded ground: some thousand colours a frame, as real video has."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[0:64, 0:64]
    ground = np.stack([x * 3, y * 3, (x + y) * 2], -1) + rng.normal(0, 4, (64, 64, 3))
    frames = []
    for time_ in range(16):
        blob = np.exp(-((x - 10 - 3 * time_) ** 2 + (y - 32) ** 2) / 80)[..., None] * rng.integers(60, 255, 3)
        frames.append((0.5 * ground + blob).clip(0, 255).astype(np.uint8))
    return Clip(f"clip{index}", "train", (f"clip {index}",), np.stack(frames), 10.0, "bench")


def open_gif(path: Path) -> np.ndarray:
    """One sample as the old loaders made it: open the file, seek through its frames."""
    frames = []
    with Image.open(io.BytesIO(path.read_bytes()), formats=("GIF",)) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")))
    return np.stack(frames)


def samples_per_s(batch: Callable[[int], object], batches: int, rounds: int) -> float:
    laps = []
    for number in range(rounds):
        started = time.perf_counter()
        for step in range(batches):
            batch(number * batches + step)
        laps.append(time.perf_counter() - started)
    return BATCH * batches / statistics.median(laps)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.loader", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [to_row(drawn_clip(index)) for index in range(options.clips)]
        write_shard(folder / "set" / "shard-00000.parquet", rows)
        paths = [folder / f"{row.key}.gif" for row in rows]
        for path, row in zip(paths, rows, strict=True):
            path.write_bytes(row.gif)

        started = time.perf_counter()
        clips = open_clips(folder / "set", "train", SHAPE, ram_budget_gb=8.0)
        opening_s = time.perf_counter() - started
        feed = ClipFeed(clips, batch_size=BATCH, seed=0)
        ours = samples_per_s(feed.batch, 40, options.rounds)
        theirs = samples_per_s(lambda step: [open_gif(paths[n]) for n in feed.batch(step).numbers], 3, options.rounds)
        budget = SHAPE.bytes * options.clips / 4 / 1e9
        streamed = ClipFeed(open_clips(folder / "set", "train", SHAPE, ram_budget_gb=budget), batch_size=BATCH, seed=0)
        stream = samples_per_s(streamed.batch, 10, options.rounds)
    figures = {
        "clips_per_s": ours,
        "gif_per_sample_clips_per_s": theirs,
        "ratio_to_gif_per_sample": ours / theirs,
        "streamed_clips_per_s": stream,
        "decode_once_s": opening_s,
        "memory_bytes_per_clip": SHAPE.bytes,
        "memory_gb_per_10000_clips": SHAPE.bytes * 10000 / 1e9,
    }
    print(
        f"fed from uint8 {ours:,.0f} clips/s, a GIF opened for each sample {theirs:,.0f}: "
        f"{figures['ratio_to_gif_per_sample']:.0f}x; decoded once at {options.clips / opening_s:,.0f} clips/s, "
        f"{SHAPE.bytes / 1024:.0f} KiB a clip in memory; streamed from disk {stream:,.0f} clips/s"
    )
    if options.json:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
