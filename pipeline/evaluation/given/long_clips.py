"""Clips many windows long, of things that bounce and so stay in the picture: are their last frames still right?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch

from pipeline.data.frames import to_rgb
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import PromptSet
from pipeline.evaluation.scoring import read_clips, score_readings, speed_between_real
from pipeline.evaluation.shares import flat_scores
from pipeline.evaluation.shuffle_control import derangement
from pipeline.judge.judge import Judge
from pipeline.judge.oracles.foreground import find_palette
from pipeline.runtime.parallel import run_on_cores
from pipeline.runtime.progress import Progress
from pipeline.sampling.rollout import plan_windows, roll_out

STAYS = "bounce"  # how the names of motions begin, whose things never leave the picture


@dataclass(frozen=True)
class LongClips:
    """Long clips by their first and last windows, uint8 (N, F, H, W, 3), and a few of them whole."""

    prompts: PromptSet
    first: np.ndarray
    last: np.ndarray
    whole: list[np.ndarray]  # uint8 (frames, H, W, 3)


def staying(prompts: PromptSet, count: int, seed: int) -> PromptSet | None:
    """`count` prompts of things that stay, by seeds that differ where a prompt comes again; None: there are none."""
    motions = [[thing["motion"] for thing in each["objects"]] for each in prompts.attributes]
    rows = [row for row, each in enumerate(motions) if all(motion.startswith(STAYS) for motion in each)]
    if not rows:
        return None
    chosen = [rows[place % len(rows)] for place in range(count)]
    return PromptSet(
        "rollout",
        [prompts.captions[row] for row in chosen],
        [prompts.attributes[row] for row in chosen],
        [prompts.keys[row] for row in chosen],
        prompts.real[chosen],
        seed,
    )


def draw_long_clips(sampler: PromptSampler, prompts: PromptSet, frames: int, *, kept_whole: int) -> LongClips:
    """From text alone, window by window; of all but a few only the first and the last window are held."""
    model, on_cores = sampler.model, sampler.model.device.type == "cpu"
    windows = plan_windows(model.card, frames).count
    text, seeds = sampler.text(prompts.captions), prompts.seeds()
    threads = torch.get_num_threads() if on_cores else 1
    batch_size = min(sampler.batch_size, -(-len(prompts) // threads))
    with Progress(total=len(prompts) * windows, desc=f"clips of {frames} frames", unit="window") as bar:

        def draw(start: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
            some = slice(start, start + batch_size)
            part = None if text is None else text.select(torch.arange(len(prompts))[some])
            parts: list[np.ndarray] = []
            last = np.empty(0)
            captions, kept = prompts.captions[some], max(0, kept_whole - start)
            for window in roll_out(model, captions, seeds[some], frames, text=part, sampling=sampler.sampling):
                parts.append(window if not parts else window[:kept])
                last = window if len(parts) == 1 else np.concatenate([last, window], axis=1)[:, -model.card.frames :]
                bar.update(len(captions))
            first = parts[0]
            whole = [np.concatenate([each[row] for each in parts]) for row in range(min(kept, len(captions)))]
            return list(first), list(last), whole

        jobs = [partial(draw, start) for start in range(0, len(prompts), batch_size)]
        drawn = run_on_cores(jobs) if on_cores else [job() for job in jobs]
    first, last, whole = (list(chain.from_iterable(part[place] for part in drawn)) for place in range(3))
    return LongClips(prompts, to_rgb(np.stack(first)), to_rgb(np.stack(last)), [to_rgb(clip) for clip in whole])


def long_clip_metrics(drawn: LongClips, judge: Judge, frames: int, seed: int) -> dict[str, Any]:
    """Metrics `rollout_<frames>.*` of the last window, as the oracle reads it; `…_shuffled` against other captions.

    `background_drift`: how far the background's colour is from the first window's, in levels of 255, the mean over
    clips of its worst channel; `background_drift_worst` is that of the worst clip.
    """
    name, attributes = f"rollout_{frames}", drawn.prompts.attributes
    readings = read_clips(judge, drawn.last)
    others = [attributes[place] for place in derangement(len(attributes), seed)]
    shuffled = flat_scores(f"{name}_shuffled", score_readings(judge, readings, others))
    drift = background_drift(drawn.first, drawn.last)
    return {
        f"{name}.clips": len(attributes),
        **flat_scores(name, score_readings(judge, readings, attributes)),
        f"{name}.background_drift": float(np.mean(drift)),
        f"{name}.background_drift_worst": max(drift),
        **{key: value for key, value in shuffled.items() if key.startswith(f"{name}_shuffled.joint")},
        **speed_between_real(attributes),
    }


def background_drift(first: Sequence[np.ndarray] | np.ndarray, last: Sequence[np.ndarray] | np.ndarray) -> list[float]:
    """Levels between the background's colours (the first one of a pattern) of two windows, for each clip."""
    return [
        float(np.abs(find_palette(late).colours[0] - find_palette(early).colours[0]).max())
        for early, late in zip(first, last, strict=True)
    ]
