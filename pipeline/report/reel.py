"""A side-by-side reel as MP4: each prompt with its real clip and every model's sample, for those who share results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.data.shards import Row
from pipeline.render.clips import enlarge
from pipeline.report.gather import ModelResult
from pipeline.report.sections import KINDS

SIDE = 256  # px of a clip, the nearest whole multiple of its own
GAP = 24
HEADER = 84  # px, the prompt
FOOTER = 44  # px, who drew it
LOOPS = 2
PROMPTS_PER_KIND = 4
PAPER, INK, SOFT = (251, 250, 248), (27, 29, 34), (92, 96, 104)


def write_reel(path: Path, models: Sequence[ModelResult]) -> bool:
    """Write the reel; False, and no file, where there is no sample to show."""
    scenes = list(reel_scenes(models))
    if not scenes:
        return False
    from moviepy import ImageSequenceClip, concatenate_videoclips

    fps = scenes[0][1]
    clips = [ImageSequenceClip(list(frames), fps=fps) for frames, _ in scenes]
    path.parent.mkdir(parents=True, exist_ok=True)
    concatenate_videoclips(clips).write_videofile(
        str(path),
        fps=fps,
        codec="libx264",
        audio=False,
        threads=1,
        logger=None,
        ffmpeg_params=["-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart", "-fflags", "+bitexact"],
    )
    return True


def reel_scenes(models: Sequence[ModelResult]) -> Iterator[tuple[np.ndarray, float]]:
    """(frames uint8 (F, H, W, 3), fps) of one prompt after the other, with even sides."""
    for kind, name in KINDS.items():
        firsts = [{row.attributes["index"]: row for row in _takes(model, kind, "model")} for model in models]
        shared = sorted(set.intersection(*(set(rows) for rows in firsts))) if firsts else []
        real = {row.attributes["index"]: row for model in models for row in _takes(model, kind, "real")}
        for index in shared[:PROMPTS_PER_KIND]:
            panels = [("real clip", real[index])] if index in real else []
            panels += [(model.label, rows[index]) for model, rows in zip(models, firsts, strict=True)]
            yield _scene(panels, name), panels[0][1].fps


def _takes(model: ModelResult, kind: str, role: str) -> list[Row]:
    return [row for row in model.samples if (row.split, row.attributes["role"]) == (kind, role) and _is_first(row)]


def _is_first(row: Row) -> bool:
    return row.key.endswith("-0")


def _scene(panels: Sequence[tuple[str, Row]], kind: str) -> np.ndarray:
    clips = []
    for _, row in panels:
        frames = row.frames()
        clips.append(enlarge(frames, max(1, SIDE // frames.shape[1])))
    n_frames = min(len(clip) for clip in clips)
    height, width = clips[0].shape[1:3]
    canvas_width = GAP + len(panels) * (width + GAP)
    canvas = Image.new("RGB", (canvas_width + canvas_width % 2, HEADER + height + FOOTER), PAPER)
    draw = ImageDraw.Draw(canvas)
    caption = panels[0][1].captions[0]
    draw.text((GAP, 18), _fitting(draw, f"“{caption}”", canvas.width - 2 * GAP, 24), fill=INK, font=_font(24))
    draw.text((GAP, 52), kind.lower(), fill=SOFT, font=_font(16))
    for index, (label, row) in enumerate(panels):
        right = row.attributes["right"]
        verdict = {True: "  ·  right", False: "  ·  wrong", None: ""}[right]
        draw.text((GAP + index * (width + GAP), HEADER + height + 10), label + verdict, fill=INK, font=_font(18))
    still = np.asarray(canvas)
    still = still[: len(still) - len(still) % 2]
    frames = np.repeat(still[None], n_frames, axis=0)
    for index, clip in enumerate(clips):
        x = GAP + index * (width + GAP)
        frames[:, HEADER : HEADER + height, x : x + width] = clip[:n_frames]
    return np.concatenate([frames] * LOOPS)


def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def _fitting(draw: ImageDraw.ImageDraw, text: str, width: int, points: int) -> str:
    """The text, cut by an ellipsis where it is wider than `width` px."""
    while draw.textlength(text, font=_font(points)) > width:
        text = text[:-2].rstrip() + "…"
    return text
