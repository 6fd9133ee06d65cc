"""Samples that an evaluation keeps for people: the first prompts of each kind, and the first failures of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config.evaluation import EvaluateParams
from pipeline.data.frames import to_rgb
from pipeline.data.gif import encode_gif
from pipeline.data.samples import Role, Sample, SampleScores
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import PromptSet
from pipeline.evaluation.scoring import EvaluatedPrompts, evaluate_prompts, in_words
from pipeline.evaluation.unsaid import UnsaidPrompts, unsaid_wrong
from pipeline.judge.judge import Judge
from pipeline.judge.oracles.reading import Reading
from pipeline.judge.oracles.score_reading import Scores
from pipeline.model_io.model_card import ModelCard


@dataclass(frozen=True)
class Showcase:
    """One kind's prompts on their way into samples."""

    card: ModelCard
    prompts: PromptSet

    def sample(
        self, row: int, frames: np.ndarray, role: Role, *, take: int = 0, scores: SampleScores | None = None
    ) -> Sample:
        """Frames uint8 (F, H, W, C) as the sample of prompt `row`."""
        fps, prompts = self.card.fps, self.prompts
        return Sample(
            kind=prompts.kind,
            index=row,
            role=role,
            take=take,
            seed=prompts.seeds(take)[row],
            caption=prompts.captions[row],
            gif=encode_gif(to_rgb(frames), fps),
            n_frames=len(frames),
            fps=fps,
            source=prompts.keys[row] if role == "real" else self.card.family,
            scores=scores,
            wanted=prompts.attributes[row],
        )

    def take(self, evaluated: EvaluatedPrompts, count: int, take: int = 0) -> Iterator[Sample]:
        """The first `count` samples of one take."""
        for row in range(min(count, len(evaluated.prompts))):
            yield self.sample(row, evaluated.samples.frames[row], "model", take=take, scores=_scores(evaluated, row))


def showcase(
    sampler: PromptSampler, judge: Judge, evaluated: EvaluatedPrompts, params: EvaluateParams
) -> Iterator[Sample]:
    """The real clip and `showcase_seeds` takes of the first `showcase_prompts`, then the first failures of the rest."""
    count, asked = params.showcase_prompts, evaluated.prompts.first(params.showcase_prompts)
    shown = Showcase(sampler.model.card, evaluated.prompts)
    for row, frames in enumerate(asked.real):
        yield shown.sample(row, frames, "real")
    yield from shown.take(evaluated, count)
    for take in range(1, params.showcase_seeds):
        again = evaluate_prompts(judge, asked, sampler.sample(asked, take=take, desc="more takes"))
        yield from shown.take(again, count, take)
    failures = [row for row, scores in enumerate(evaluated.scores) if row >= count and scores.get("joint") is False]
    for row in failures[:count]:
        yield shown.sample(row, evaluated.samples.frames[row], "failure", scores=_scores(evaluated, row))


def unsaid_showcase(
    card: ModelCard, asked: UnsaidPrompts, frames: np.ndarray, readings: Sequence[Reading], params: EvaluateParams
) -> Iterator[Sample]:
    """The first captions that leave something out, each by one seed, then the first clips of the rest that fail."""
    shown, count = Showcase(card, asked.prompts), params.showcase_prompts
    wrong = [unsaid_wrong(asked, row, reading) for row, reading in enumerate(readings)]
    first = range(min(count, len(wrong)))
    failures = [row for row in range(count, len(wrong)) if wrong[row]][:count]
    for row in (*first, *failures):
        scores = SampleScores(not wrong[row], wrong[row], in_words(readings[row]))
        yield shown.sample(row, frames[row], "model" if row < count else "failure", scores=scores)


def _scores(evaluated: EvaluatedPrompts, row: int) -> SampleScores | None:
    if not evaluated.scores or not evaluated.scores[row]:
        return None
    scores: Scores = evaluated.scores[row]
    wrong = tuple(name for name, value in scores.items() if value is False and name != "joint")
    reading = in_words(evaluated.readings[row]) if evaluated.readings else dict(evaluated.labels[row])
    return SampleScores(bool(scores["joint"]), wrong, reading)
