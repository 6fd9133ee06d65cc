"""Clips of a set decoded into the shape that a network is fed: block by block, or all of them on all cores.

Processes that train together on one machine share one file of decoded clips, and each decodes a part of it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pipeline.data.gif import decode_gif
from pipeline.runtime.executors import worker_count
from pipeline.runtime.row_file import Peers, RowFile
from pipeline.runtime.start import die_with_parent

CLIPS_PER_PROCESS = 1000  # at least: less is decoded sooner than another process has started


@dataclass(frozen=True)
class ClipShape:
    """Clips as a network takes them: frames taken evenly, px a side, channels 1 (grey), 3 or 4 (opaque alpha)."""

    frames: int
    resolution: int
    channels: int

    @property
    def bytes(self) -> int:
        return self.frames * self.resolution**2 * self.channels


def frame_indices(n_frames: int, frames: int) -> np.ndarray:
    """(frames,) indices spread evenly over n_frames: every second one where it is half of them."""
    return np.arange(frames) * n_frames // frames


def fit_clip(frames: np.ndarray, shape: ClipShape) -> np.ndarray:
    """uint8 (n, H, W, 3) to (F, h, w, C): box-averaged where it shrinks, bilinear where it grows."""
    if len(frames) < shape.frames:
        raise ValueError(
            f"a clip of {len(frames)} frames cannot give frames={shape.frames}; lower it, or make longer clips"
        )
    frames = frames[frame_indices(len(frames), shape.frames)]
    side = shape.resolution
    if frames.shape[1:3] != (side, side):
        how = Image.Resampling.BOX if frames.shape[1] > side else Image.Resampling.BILINEAR
        frames = np.stack([np.asarray(Image.fromarray(frame).resize((side, side), how)) for frame in frames])
    if shape.channels == 1:
        luma = frames @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
        return luma.round().astype(np.uint8)[..., None]
    if shape.channels == 4:
        return np.concatenate([frames, np.full_like(frames[..., :1], 255)], axis=-1)
    return frames


@dataclass(frozen=True)
class Block:
    """The clips of one parquet row group that belong to the split."""

    path: Path
    row_group: int
    rows: tuple[int, ...]  # within the row group
    first: int  # number of its first clip in the split


def decode_block(block: Block, shape: ClipShape) -> np.ndarray:
    """uint8 (len(block.rows), F, H, W, C)."""
    table = pq.ParquetFile(block.path).read_row_group(block.row_group, columns=["gif", "n_frames"])
    gifs, counts = table["gif"], table["n_frames"]
    return np.stack([fit_clip(decode_gif(gifs[row].as_py(), counts[row].as_py()), shape) for row in block.rows])


def decode_all(blocks: Sequence[Block], shape: ClipShape, peers: Peers) -> RowFile:
    """uint8 rows (F, H, W, C), one a clip, of blocks that number the clips from 0."""
    count = sum(len(block.rows) for block in blocks)
    dims = (shape.frames, shape.resolution, shape.resolution, shape.channels)
    clips = peers.share(lambda: RowFile.create(count, dims, np.uint8))
    mine = blocks[peers.local_rank :: peers.local_size]
    cores = max(1, worker_count() // peers.local_size)
    processes = max(1, min(cores, count // peers.local_size // CLIPS_PER_PROCESS))
    others = [_start(mine[number::processes], shape, clips) for number in range(1, processes)]
    try:
        decode_into(clips, mine[::processes], shape)
        for process in others:
            _, words = process.communicate()
            if process.returncode:
                said = words.decode(errors="replace").strip().splitlines()
                raise ValueError(f"a process that decodes clips failed: {said[-1] if said else process.returncode}")
    finally:
        for process in others:
            assert process.stderr is not None
            process.kill()
            process.wait()
            process.stderr.close()
    peers.wait()
    return clips


def decode_into(clips: RowFile, blocks: Sequence[Block], shape: ClipShape) -> None:
    """Write the clips of blocks at their places."""
    for block in blocks:
        clips.write(block.first, decode_block(block, shape))


def _start(blocks: Sequence[Block], shape: ClipShape, clips: RowFile) -> subprocess.Popen[bytes]:
    """Another process that decodes blocks: a light one, for this one may have imported torch."""
    start = f"from pipeline.model_io.clip_decoding import main; main({os.getpid()})"
    process = subprocess.Popen(
        [sys.executable, "-c", start],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[clips.file],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
    )
    assert process.stdin is not None
    pickle.dump((blocks, shape, (clips.file, clips.count, clips.row_shape, clips.dtype)), process.stdin)
    process.stdin.close()
    process.stdin = None
    return process


def main(parent: int) -> None:
    """Decode what the process `parent` asks for on stdin, into its file."""
    die_with_parent(parent)
    blocks, shape, rows = pickle.load(sys.stdin.buffer)
    decode_into(RowFile(*rows), blocks, shape)
