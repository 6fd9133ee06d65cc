"""A side-by-side reel as MP4: each prompt with its real clip and every model's sample, for those who share results.

moviepy composes a scene, a title card with clips that play on it; every picture of a scene is asked for once, by its
number, for moviepy's own lookups by time (image sequences, concatenation) repeat pictures and skip others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.data.frames import enlarge, to_rgb
from pipeline.data.samples import Sample
from pipeline.render.clips import draw_line, write_mp4
from pipeline.report.gather import ModelResult
from pipeline.report.samples import KINDS, first_samples

SIDE = 256  # px of a clip, or the nearest whole multiple of its own side below
GAP = 24
HEADER = 84  # px, the prompt
FOOTER = 44  # px, who drew it
LOOPS = 2
PROMPTS_PER_KIND = 4
PAPER, INK, SOFT = (251, 250, 248), (27, 29, 34), (92, 96, 104)


def write_reel(path: Path, models: Sequence[ModelResult]) -> bool:
    """Write the reel; False, and no file, where there is no sample to show."""
    scenes = reel_scenes(models)
    first = next(scenes, None)
    if first is None:
        return False
    write_mp4(path, chain.from_iterable(chain([first], scenes)), _reel_fps(models))
    return True


def _reel_fps(models: Sequence[ModelResult]) -> float:
    return next(sample.fps for model in models for sample in model.samples)


def reel_scenes(models: Sequence[ModelResult]) -> Iterator[list[np.ndarray]]:
    """The frames, uint8 (H, W, 3) of one size, of one prompt after the other."""
    for kind, name in KINDS.items():
        firsts = [first_samples(model, kind, "model") for model in models]
        shared = sorted(set.intersection(*(set(samples) for samples in firsts))) if firsts else []
        real = {index: clip for model in models for index, clip in first_samples(model, kind, "real").items()}
        for index in shared[:PROMPTS_PER_KIND]:
            drawn = [(model.label, samples[index]) for model, samples in zip(models, firsts, strict=True)]
            yield list(compose_scene([("real clip", real.get(index)), *drawn], name.lower()))


def compose_scene(panels: Sequence[tuple[str, Sample | None]], kind: str) -> Iterator[np.ndarray]:
    """Clips side by side on a title card, LOOPS times over; a panel without a clip stays empty."""
    from moviepy import CompositeVideoClip, ImageClip, VideoClip

    samples = [sample for _, sample in panels if sample is not None]
    fps = samples[0].fps
    n_frames = LOOPS * min(sample.n_frames for sample in samples)
    seconds = (n_frames + 0.5) / fps  # moviepy cuts the product of seconds and rate down to a whole number
    layers = [ImageClip(_title_card(panels, kind)).with_duration(seconds)]
    for column, (_, sample) in enumerate(panels):
        if sample is not None:
            frames = to_rgb(sample.frames())[: n_frames // LOOPS]
            frames = enlarge(frames, max(1, SIDE // max(frames.shape[1:3])))
            clip = VideoClip(lambda t, frames=frames: frames[round(t * fps) % len(frames)], duration=seconds)
            layers.append(clip.with_position((GAP + column * (SIDE + GAP), HEADER)))
    yield from CompositeVideoClip(layers, use_bgclip=True).iter_frames(fps=fps, dtype="uint8")


def _title_card(panels: Sequence[tuple[str, Sample | None]], kind: str) -> np.ndarray:
    """uint8 (H, W, 3): the prompt above, and who drew what below."""
    width = GAP + len(panels) * (SIDE + GAP)
    card = Image.new("RGB", (width, HEADER + SIDE + FOOTER), PAPER)
    draw = ImageDraw.Draw(card)
    caption = next(sample.caption for _, sample in panels if sample is not None)
    draw_line(draw, (GAP, 18), f"“{caption}”", width - 2 * GAP, 24, INK)
    draw_line(draw, (GAP, 52), kind, width - 2 * GAP, 16, SOFT)
    for column, (label, sample) in enumerate(panels):
        scores = sample.scores if sample is not None else None
        verdict = "" if scores is None else "  ·  right" if scores.right else "  ·  wrong"
        draw_line(draw, (GAP + column * (SIDE + GAP), HEADER + SIDE + 10), label + verdict, SIDE, 18, INK)
    return np.asarray(card)
