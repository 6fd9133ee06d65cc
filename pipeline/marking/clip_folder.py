"""Clips of a folder in the shape that a set is judged in, decoded by processes that may crash.

Any size, length and format that the stage transcode reads: frames are taken evenly over the whole clip, squares are cut
as `transcode.fit` says.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.data import TranscodeParams
from pipeline.data.gif import decode_gif
from pipeline.runtime.executors import open_workers
from pipeline.runtime.progress import Progress
from pipeline.sources.archive import VideoArchive, VideoEntry, open_videos
from pipeline.transcode.decoding.spec import FrameSpec, rgb_of
from pipeline.transcode.workers import BatchSettings, Limits, decoders, transcode_batch

CLIPS_PER_BATCH = 8


@dataclass(frozen=True)
class FoundClips:
    """A folder's clips by name, what is wrong with others, and those that nobody asked for."""

    frames: dict[str, np.ndarray]  # uint8 (F, H, W, 3)
    damaged: dict[str, str]  # name to the decoder's words
    unasked: list[str]  # file names


def list_clips(folder: Path) -> VideoArchive:
    """The clips of a folder, by name. Raises ValueError where there is no folder or no clip in it."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give the folder of the clips, such as x.gif, x.mp4 or x.webp")
    archive = open_videos(folder)
    if not archive.entries:
        raise ValueError(f"{folder}: no clip in it; a clip is a file such as x.gif, x.mp4 or x.webp")
    return archive


def decode_clips(
    archive: VideoArchive,
    names: Collection[str],
    *,
    frames: int,
    resolution: int,
    fps: float,
    transcode: TranscodeParams,
) -> FoundClips:
    """Decode the clips of these names; a name is a file's path in the folder without its suffix."""
    entries = {_bare(entry): entry for entry in archive.entries}
    asked = {name: entries[name] for name in names if name in entries}
    damaged = {name: reason for name, reason in _refused(archive).items() if name in names and name not in entries}
    spec = FrameSpec(frames, resolution, "whole", 0.0, transcode.fit, rgb_of(transcode.background))
    limits = Limits(transcode.time_limit_s, transcode.memory_limit_gb)
    settings = BatchSettings(str(archive.path.resolve()), spec, fps, None, limits)
    found: dict[str, np.ndarray] = {}
    every = list(asked.items())
    batches = [every[start : start + CLIPS_PER_BATCH] for start in range(0, len(every), CLIPS_PER_BATCH)]
    with (
        decoders(archive),
        open_workers(threads=True, files=[archive.path]) as workers,
        Progress(total=len(every), desc="decode") as bar,
    ):
        answers = workers.map(transcode_batch, settings, [[entry for _, entry in batch] for batch in batches])
        for batch, answered in zip(batches, answers, strict=True):
            for (name, _), answer in zip(batch, answered, strict=True):
                if answer.reason:
                    damaged[name] = f"{answer.reason}: {answer.detail}"
                else:
                    found[name] = decode_gif(answer.gif, frames)
            bar.update(len(batch))
    unasked = [entry.name for name, entry in entries.items() if name not in asked]
    return FoundClips(found, damaged, unasked)


def _bare(entry: VideoEntry) -> str:
    """The path inside the folder, without its suffix."""
    return entry.name.rpartition(".")[0]


def _refused(archive: VideoArchive) -> dict[str, str]:
    """Files that the folder's listing leaves out, by their name without suffix."""
    return {rejected.key: rejected.reason for rejected in archive.rejected}
