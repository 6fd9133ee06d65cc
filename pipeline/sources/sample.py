"""A few captioned clips, drawn and encoded here, in the very layout of MSR-VTT on Kaggle: nothing to download.

`videos.zip` holds `TrainValVideo/videoN.mp4` (320x240, H.264 + AAC) and `captions.json` is MSR-VTT's JSON with official
split names. The same params give the same bytes on one machine: x264 runs on one thread and writes no date or version.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import ffmpeg
import imageio_ffmpeg

from pipeline.config.data import DownloadParams
from pipeline.runtime.progress import Progress
from pipeline.sources.manifest import Manifest, describe
from pipeline.sources.sample_scenes import HEIGHT, SCENES, WIDTH, Details, Scene, draw_details

FPS = (25, 15, 30)
DURATION_S = (2.0, 3.0, 2.5, 4.0)
VALIDATE_ONE_IN = 6
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
CATEGORY = 8  # MSR-VTT's number for animation


@dataclass(frozen=True)
class SampleClip:
    key: str
    split: str
    scene: Scene
    details: Details
    fps: int
    duration_s: float

    @property
    def captions(self) -> list[str]:
        return self.scene.captions_for(self.details)


def fetch(params: DownloadParams, out: Path) -> Manifest:
    """Draw `params.sample_clips` clips into `out`."""
    clips = plan_clips(params.sample_clips, params.seed)
    with zipfile.ZipFile(out / "videos.zip", "w") as archive, TemporaryDirectory(dir=out) as folder:
        for clip in Progress(clips, desc="drawing sample clips"):
            file = Path(folder) / f"{clip.key}.mp4"
            encode(clip, file)
            archive.writestr(zipfile.ZipInfo(f"TrainValVideo/{file.name}", EPOCH), file.read_bytes())
    text = json.dumps(annotation(clips), indent=1)
    (out / "captions.json").write_text(text + "\n", encoding="utf-8")
    origin = {"videos": "drawn", "captions": "drawn"}
    return describe(out, source="sample", origin=origin, videos="videos.zip", captions="captions.json")


def plan_clips(n_clips: int, seed: int) -> list[SampleClip]:
    """Scenes in turn, with colour, side and moment drawn per clip; the last sixth goes to validate."""
    n_validate = max(1, n_clips // VALIDATE_ONE_IN)
    return [
        SampleClip(
            key=f"video{number}",
            split="validate" if number >= n_clips - n_validate else "train",
            scene=SCENES[number % len(SCENES)],
            details=draw_details(Random(f"{seed}:{number}")),
            fps=FPS[number % len(FPS)],
            duration_s=DURATION_S[number % len(DURATION_S)],
        )
        for number in range(n_clips)
    ]


def encode(clip: SampleClip, path: Path) -> None:
    """Write the clip's mp4: drawn frames, and a tone of its own as sound."""
    n_frames = round(clip.fps * clip.duration_s)
    frames = (clip.scene.frame(i / (n_frames - 1), clip.details).tobytes() for i in range(n_frames))
    size = f"{WIDTH // 2}x{HEIGHT // 2}"
    video = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=size, framerate=clip.fps, threads=1)
    tone = f"sine=frequency={220 + 110 * SCENES.index(clip.scene)}:sample_rate=44100:duration={clip.duration_s}"
    exact = {"flags:v": "+bitexact", "flags:a": "+bitexact", "fflags": "+bitexact", "x264-params": "threads=1"}
    output = ffmpeg.output(
        video,
        ffmpeg.input(tone, format="lavfi"),
        str(path),
        vcodec="libx264",
        preset="veryfast",
        crf=23,
        pix_fmt="yuv420p",
        acodec="aac",
        audio_bitrate="64k",
        threads=1,
        **exact,
    )
    try:
        output.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), input=b"".join(frames), quiet=True, overwrite_output=True)
    except ffmpeg.Error as error:
        words = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ValueError(
            f"{clip.key}: ffmpeg could not encode it ({' '.join(words)}); reinstall imageio-ffmpeg"
        ) from None


def annotation(clips: list[SampleClip]) -> dict[str, Any]:
    """MSR-VTT's JSON of the clips."""
    videos = [
        {
            "id": number,
            "video_id": clip.key,
            "category": CATEGORY,
            "url": "",
            "start time": 0.0,
            "end time": clip.duration_s,
            "split": clip.split,
        }
        for number, clip in enumerate(clips)
    ]
    pairs = [(clip.key, caption) for clip in clips for caption in clip.captions]
    sentences = [{"sen_id": n, "video_id": key, "caption": caption} for n, (key, caption) in enumerate(pairs)]
    info = {"contributor": "drawn by pipeline/sources/sample.py", "description": "sample clips in MSR-VTT's layout"}
    return {"info": info, "videos": videos, "sentences": sentences}
