"""Clips per second and quantisation loss: ours against moviepy 2 (`subclipped`, `resized`, `write_gif`).

`python -m bench.transcode [--json FILE]`. Same clips, the first 2 s of each to 16 frames of 64 px, in turn, one core.
Ours is the stage's whole way: archive, decoder process, GIF. The easy clip is ffmpeg's `testsrc2`, the hard one
`mandelbrot` with turning hues and noise; both x264 with AAC, 10 s of 320x240 at 30 fps.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np

from pipeline.data.gif import decode_gif, encode_gif
from pipeline.runtime.executors import open_workers
from pipeline.runtime.files import write_json
from pipeline.sources.archive import VideoEntry, open_videos
from pipeline.transcode.assemble import CLIPS_PER_BATCH
from pipeline.transcode.decoding.decode import decode_clip
from pipeline.transcode.decoding.spec import FrameSpec
from pipeline.transcode.workers import BatchSettings, Limits, decoders, transcode_batch

SPEC = FrameSpec(frames=16, resolution=64, span="first", duration_s=2.0, fit="crop", background=(255, 255, 255))
FPS = 8  # of moviepy's GIF: 16 frames in 2 s
LIMITS = Limits(time_s=120.0, memory_gb=4.0)
CLIPS = {
    "easy": ("testsrc2=s=320x240:r=30:d=10", "null"),
    "hard": ("mandelbrot=s=320x240:r=30", "hue=H=t,noise=alls=20:allf=t"),
}


def draw_clip(name: str, path: Path) -> Path:
    """One of CLIPS as an MP4 with sound."""
    source, filters = CLIPS[name]
    picture = ffmpeg.input(source, f="lavfi", t=10)
    sound = ffmpeg.input("sine=frequency=440", f="lavfi", t=10)
    options = {"vcodec": "libx264", "pix_fmt": "yuv420p", "acodec": "aac", "vf": filters, "t": 10}
    out = ffmpeg.output(picture, sound, str(path), **options)
    out.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)
    return path


def by_moviepy(path: Path, out: Path) -> None:
    from moviepy import VideoFileClip

    with VideoFileClip(str(path)) as video:
        video.subclipped(0, SPEC.duration_s).resized((SPEC.resolution, SPEC.resolution)).write_gif(
            str(out), fps=FPS, logger=None
        )


def by_us(settings: BatchSettings, entries: Sequence[VideoEntry]) -> None:
    answers = transcode_batch(settings, entries)
    assert all(answer.gif for answer in answers), answers


def all_of(archive: Path) -> tuple[BatchSettings, list[VideoEntry]]:
    return BatchSettings(str(archive), SPEC, 10.0, None, LIMITS), open_videos(archive).entries


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def loss_db(path: Path) -> float:
    """PSNR of the GIF against the decoded frames, over all of them."""
    frames = decode_clip(path, SPEC)
    error = decode_gif(encode_gif(frames, 10.0), len(frames)).astype(float) - frames
    return float(10 * np.log10(255**2 / np.square(error).mean()))


@contextmanager
def on_one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def against_moviepy(folder: Path, rounds: int) -> dict[str, float]:
    """Medians on one core, which ffmpeg's processes and ours inherit."""
    figures: dict[str, float] = {}
    with decoders(), on_one_core():
        for name in CLIPS:
            path = folder / f"{name}.mp4"
            work = all_of(archive_of(folder / f"{name}.zip", [path]))
            ours, theirs = [], []
            for _ in range(rounds + 1):
                theirs.append(seconds(lambda path=path: by_moviepy(path, folder / "theirs.gif")))  # type: ignore[misc]
                ours.append(seconds(lambda work=work: by_us(*work)))  # type: ignore[misc]
            figures[f"{name}_ms"] = 1000 * statistics.median(ours[1:])
            figures[f"{name}_moviepy_ms"] = 1000 * statistics.median(theirs[1:])
            figures[f"{name}_ratio_to_moviepy"] = figures[f"{name}_moviepy_ms"] / figures[f"{name}_ms"]
            figures[f"{name}_db"] = loss_db(path)
    total = sum(figures[f"{name}_ms"] for name in CLIPS)
    figures["ratio_to_moviepy"] = sum(figures[f"{name}_moviepy_ms"] for name in CLIPS) / total
    figures["clips_per_s"] = 1000 * len(CLIPS) / total
    return figures


def two_against_one(folder: Path, copies: int, rounds: int) -> float:
    """Throughput of two workers over that of one."""
    paths = [folder / f"{name}.mp4" for name in CLIPS]
    settings, entries = all_of(archive_of(folder / "many.zip", paths * copies))
    batches = [entries[start : start + CLIPS_PER_BATCH] for start in range(0, len(entries), CLIPS_PER_BATCH)]
    medians = []
    for count in (1, 2):
        with open_workers(count, threads=True) as workers, decoders():
            laps = [seconds(lambda crew=workers: list(crew.map(by_us, settings, batches))) for _ in range(rounds + 1)]  # type: ignore[misc]
        medians.append(statistics.median(laps[1:]))
    return medians[0] / medians[1]


def archive_of(path: Path, clips: list[Path]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, clip in enumerate(clips):
            archive.write(clip, f"video{number}.mp4")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.transcode", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--copies", type=int, default=16, help="of each clip, for two workers against one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for clip in CLIPS:
            draw_clip(clip, folder / f"{clip}.mp4")
        figures = against_moviepy(folder, options.rounds)
        figures["two_workers_to_one"] = two_against_one(folder, options.copies, max(1, options.rounds // 3))
    for clip in CLIPS:
        print(
            f"{clip}: {figures[f'{clip}_ms']:.0f} ms a clip, moviepy {figures[f'{clip}_moviepy_ms']:.0f} ms "
            f"({figures[f'{clip}_ratio_to_moviepy']:.1f}x), {figures[f'{clip}_db']:.1f} dB"
        )
    print(f"both: {figures['ratio_to_moviepy']:.1f}x; two workers {figures['two_workers_to_one']:.2f}x one")
    if options.json:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
