"""What of an evaluation the report plays: the first prompts of each kind, and the first failures of all the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.evaluation import EvaluateParams
from pipeline.config.models import SamplingParams
from pipeline.data.frames import to_rgb
from pipeline.data.gif import encode_gif
from pipeline.data.shards import Row
from pipeline.evaluation.metrics import Marks
from pipeline.evaluation.prompts import PromptSet, sample_prompts
from pipeline.evaluation.scoring import Answers, in_words, mark_clips, read_clips
from pipeline.judge.judge import Judge
from pipeline.judge.oracles.reading import Reading
from pipeline.model_io.model_card import ModelCard
from pipeline.sampling.video_model import VideoModel
from pipeline.text.captions import CaptionTable


@dataclass(frozen=True)
class Shown:
    """A clip with its judgement, where there is one."""

    frames: np.ndarray  # uint8 (F, H, W, C)
    reading: Reading | None = None
    marks: Marks | None = None


def showcase(
    model: VideoModel,
    judge: Judge,
    table: CaptionTable | None,
    answered: Answers,
    evaluate: EvaluateParams,
    sampling: SamplingParams | None,
) -> Iterator[Row]:
    """The real clip and `showcase_seeds` takes of the first `showcase_prompts`, then the first failures of the rest."""
    card, prompts = model.card, answered.prompts
    asked = prompts.first(evaluate.showcase_prompts)
    for index, frames in enumerate(asked.real):
        yield _row(card, prompts, index, Shown(frames), role="real")
    for index in range(len(asked)):
        yield _row(card, prompts, index, _shown(answered, index), role="model")
    for take in range(1, evaluate.showcase_seeds):
        more = sample_prompts(
            model,
            table,
            asked,
            batch_size=evaluate.batch_size,
            sampling=sampling,
            take=take,
            desc="more takes",
        )
        readings = read_clips(judge, more.frames) if answered.marks else []
        again = Answers(asked, more, readings, mark_clips(judge, readings, asked.attributes) if readings else [])
        for index in range(len(asked)):
            yield _row(card, prompts, index, _shown(again, index), role="model", take=take)
    failures = [i for i, marks in enumerate(answered.marks) if i >= len(asked) and not marks["joint"]]
    for index in failures[: evaluate.showcase_prompts]:
        yield _row(card, prompts, index, _shown(answered, index), role="failure")


def _shown(answered: Answers, index: int) -> Shown:
    frames = answered.samples.frames[index]
    return Shown(frames, answered.readings[index], answered.marks[index]) if answered.marks else Shown(frames)


def _row(card: ModelCard, prompts: PromptSet, index: int, shown: Shown, *, role: str, take: int = 0) -> Row:
    marks = shown.marks
    facts: dict[str, Any] = {
        "kind": prompts.kind,
        "index": index,
        "role": role,  # real | model | failure
        "seed": prompts.seeds(take)[index],
        "wanted": prompts.attributes[index],
        "right": bool(marks["joint"]) if marks is not None else None,
        "wrong": [name for name, value in (marks or {}).items() if value is False and name != "joint"],
        "reading": in_words(shown.reading) if shown.reading is not None else {},
    }
    return Row(
        key=f"{prompts.kind}/{index:05d}/{role}-{take}",
        split=prompts.kind,
        captions=(prompts.captions[index],),
        n_frames=len(shown.frames),
        fps=card.fps,
        gif=encode_gif(to_rgb(shown.frames), card.fps),
        source=prompts.keys[index] if role == "real" else card.family,
        attributes=facts,
    )
