"""All that is measured of a model that takes given frames, and the clips of it that are kept to be looked at."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.config.evaluation import FramesParams
from pipeline.data.gif import encode_gif
from pipeline.data.samples import Role, Sample, SampleScores
from pipeline.evaluation.evaluate import Evaluation, check_fit
from pipeline.evaluation.given.contradiction import contradiction_metrics
from pipeline.evaluation.given.first_frame import FirstFrames, draw_first_frames, first_frame_metrics
from pipeline.evaluation.given.long_clips import LongClips, draw_long_clips, long_clip_metrics, staying
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import PromptSet, load_prompts
from pipeline.evaluation.scoring import evaluate_prompts, has_attributes, in_words
from pipeline.evaluation.shares import attribute_shares, flat_share
from pipeline.judge.judge import Judge

log = logging.getLogger("t2v")

NO_ORACLE = "No oracle reads clips of this set: what is drawn from given frames is kept to be looked at, not measured."
EVERY = 1_000_000  # clips of a split: all of them
NOTHING_STAYS = "No motion of this set stays in the picture (bounce-horizontal, bounce-vertical): no long clips."


def measure_given_frames(sampler: PromptSampler, judge: Judge, shards: Path, params: FramesParams) -> Evaluation:
    """First frames, contradictions, text alone and long clips, each by `params.clips` prompts or `params.rollouts`."""
    started, card = time.perf_counter(), sampler.model.card
    check_fit(card, judge, sampler.texts)
    known = None if sampler.texts is None else sampler.texts.index
    sets = {each.kind: each for each in load_prompts(shards, card, count=params.clips, seed=params.seed, known=known)}
    seen = next(iter(sets.values()))
    held_out = sets.get("held_out", seen)
    result = Evaluation()
    if not has_attributes(held_out):
        result.metrics["note"] = NO_ORACLE
        return result
    drawn = draw_first_frames(sampler, judge, held_out)
    result.metrics |= first_frame_metrics(drawn, judge, params.seed)
    result.samples += _first_frame_samples(sampler, drawn, params.shown)
    found, against = contradiction_metrics(sampler, judge, seen, params.seed)  # more of them agree in motion
    result.metrics |= found
    if against is not None:
        result.samples += _first_frame_samples(sampler, against, params.shown)
    for kind, prompts in (("text", seen), ("text_held_out", held_out)):
        scores = evaluate_prompts(judge, prompts, sampler.sample(prompts)).scores
        result.metrics |= flat_share(f"{kind}.joint", attribute_shares(scores)["joint"])
    _add_long_clips(result, sampler, judge, shards, params)
    result.metrics |= {"dataset": card.dataset, "seed": params.seed, "device": str(sampler.model.device)}
    result.metrics["seconds"] = time.perf_counter() - started
    return result


def _add_long_clips(
    result: Evaluation, sampler: PromptSampler, judge: Judge, shards: Path, params: FramesParams
) -> None:
    known = None if sampler.texts is None else sampler.texts.index
    every = load_prompts(shards, sampler.model.card, count=EVERY, seed=params.seed, known=known)[0]
    prompts = staying(every, params.rollouts, params.seed)
    if prompts is None:
        result.metrics["rollout_note"] = NOTHING_STAYS
        return
    drawn = draw_long_clips(sampler, prompts, params.rollout_frames, kept_whole=params.shown)
    result.metrics |= long_clip_metrics(drawn, judge, params.rollout_frames, params.seed)
    result.samples += _long_samples(sampler, drawn)


def _first_frame_samples(sampler: PromptSampler, drawn: FirstFrames, count: int) -> Iterator[Sample]:
    """Of the first prompts, what was given, the sample that begins so, and the real clip."""
    family, prompts = sampler.model.card.family, drawn.prompts
    for row, scores in enumerate(drawn.scores[:count]):
        wrong = tuple(name for name, value in scores.items() if value is False and name != "joint")
        verdict = SampleScores(bool(scores["joint"]), wrong, in_words(drawn.readings[row]))
        key, fps = prompts.keys[row], sampler.model.card.fps
        yield _sample(prompts, row, prompts.real[row][: drawn.given], fps, "given", key)
        yield _sample(prompts, row, prompts.real[row], fps, "real", key)
        yield _sample(prompts, row, drawn.frames[row], fps, "model", family, verdict)


def _long_samples(sampler: PromptSampler, drawn: LongClips) -> Iterator[Sample]:
    for row, frames in enumerate(drawn.whole):
        yield _sample(drawn.prompts, row, frames, sampler.model.card.fps, "model", sampler.model.card.family)


def _sample(
    prompts: PromptSet,
    row: int,
    frames: np.ndarray,
    fps: float,
    role: Role,
    source: str,
    scores: SampleScores | None = None,
) -> Sample:
    return Sample(
        kind=prompts.kind if prompts.kind in ("contradicted", "rollout") else "given",
        index=row,
        role=role,
        take=0,
        seed=prompts.seeds()[row],
        caption=prompts.captions[row],
        gif=encode_gif(frames, fps),
        n_frames=len(frames),
        fps=fps,
        source=source,
        scores=scores,
        wanted=prompts.attributes[row],
    )
