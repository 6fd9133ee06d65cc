"""A stand-in of MSR-VTT, drawn here: videos of its kind in one zip, and captions of its lengths in its own JSON.

A few long films are drawn and encoded (320 x 240, H.264 at MSR-VTT's bit rate); each clip is a lossless cut of one at a
time of its own, so that no two are alike. 497 of 7,010 clips are for validation, as in MSR-VTT.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np

CAPTIONS_PER_CLIP = 20
# Of MSR-VTT's 140,200 captions of train and validation, by words: 2, 3, 4 …
CAPTIONS_BY_WORDS = (
    *(5, 562, 8325, 13860, 17505, 15840, 14808, 14461, 12780, 10114, 7401, 5688, 4331, 3314, 2552, 1876, 1458, 1191),
    *(916, 759, 530, 427, 340, 264, 229, 147, 113, 89, 58, 68, 48, 37, 19, 18, 11, 9),
)
REPEATED = 0.16  # of the captions, that stand elsewhere too
VALIDATE_ONE_IN = 14
LENGTHS_S = (10, 11, 11, 12, 13, 14, 16, 19, 23, 30)  # quantiles of MSR-VTT's
CLIPS_PER_FILM = 120
WORDS = """
man woman person girl boy people group men women player cartoon character dog cat baby car ball game video kitchen
food pan onion screen stage street river mountain road room table phone paper guitar piano computer horse talks sings
plays runs walks cooks drives dances shows explains fights rides swims jumps cuts mixes paints folds about with into
near behind under beside slowly quickly outside together red blue black white large small young
""".split()  # noqa: SIM905


def draw_stand_in(folder: Path, clips: int, *, lengths_s: tuple[int, ...] = LENGTHS_S, seed: int = 0) -> None:
    """Write videos.zip and captions.json into `folder`."""
    with zipfile.ZipFile(folder / "videos.zip", "w") as archive, TemporaryDirectory(dir=folder) as name:
        films = max(1, clips // CLIPS_PER_FILM)
        per_film = -(-clips // films)
        for film in range(films):
            path = Path(name) / "film.mp4"
            draw_film(path, per_film + max(lengths_s) + 1, seed + film)
            for start_s in range(min(per_film, clips - film * per_film)):
                number = film * per_film + start_s
                cut = cut_clip(path, start_s, lengths_s[number % len(lengths_s)])
                archive.writestr(f"TrainValVideo/video{number}.mp4", cut)
    annotation = annotate(clips, seed)
    (folder / "captions.json").write_text(json.dumps(annotation), encoding="utf-8")


def annotate(clips: int, seed: int = 0) -> dict[str, list[dict[str, object]]]:
    """MSR-VTT's JSON for video0, video1 …"""
    rng = random.Random(seed)
    lengths = rng.choices(range(2, 2 + len(CAPTIONS_BY_WORDS)), CAPTIONS_BY_WORDS, k=clips * CAPTIONS_PER_CLIP)
    captions: list[str] = []
    for length in lengths:
        is_old = captions and rng.random() < REPEATED
        captions.append(rng.choice(captions) if is_old else " ".join(["a", *rng.choices(WORDS, k=length - 1)]))
    videos = [
        {"video_id": f"video{n}", "id": n, "category": 0, "split": "train" if n % VALIDATE_ONE_IN else "validate"}
        for n in range(clips)
    ]
    sentences = [
        {"sen_id": number, "video_id": f"video{number // CAPTIONS_PER_CLIP}", "caption": caption}
        for number, caption in enumerate(captions)
    ]
    return {"videos": videos, "sentences": sentences}  # type: ignore[dict-item]


def cut_clip(film: Path, start_s: int, length_s: int) -> bytes:
    """MP4 bytes of a part of a film, its packets as they are; the film has a key frame each second."""
    buffer = io.BytesIO()
    with av.open(str(film)) as source, av.open(buffer, "w", format="mp4") as target:
        stream = source.streams.video[0]
        assert stream.time_base is not None
        copy = target.add_stream_from_template(stream)
        first, last = (round(seconds / stream.time_base) for seconds in (start_s, start_s + length_s))
        source.seek(first, stream=stream)
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None or packet.pts < first:
                continue
            if packet.dts >= last:
                break
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, copy
            target.mux(packet)
    return buffer.getvalue()


def draw_film(path: Path, seconds: int, seed: int) -> None:
    """Colours that flow and turn, with grain that moves; no two moments of two films are alike."""
    rng = np.random.default_rng(seed)
    colours = ":".join(f"c{number}=0x{rng.integers(2**24):06x}" for number in range(6))
    source = f"gradients=s=320x240:r=30:nb_colors=6:{colours}:speed=0.03:seed={seed}:d={seconds}"
    filters = f"hue=H=0.3*t+{seed},noise=alls=12:allf=t"
    options = {
        "vcodec": "libx264",
        "preset": "veryfast",
        "b:v": "400k",
        "g": 30,
        "sc_threshold": 0,
        "bf": 2,
        "pix_fmt": "yuv420p",
    }
    film = ffmpeg.output(ffmpeg.input(source, f="lavfi", t=seconds), str(path), vf=filters, **options)
    film.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True)
