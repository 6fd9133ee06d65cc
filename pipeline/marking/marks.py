"""Marks of anybody's clips: the oracle's or the readers' verdicts, controls and distances, as `evaluate` has them.

The metrics have the keys of metrics/evaluate/<model>.json. A clip that is missing or damaged is wrong in everything
that its prompt asks; shares of blank clips, distances and retrieval are of the clips that are there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from pipeline.config.evaluation import EvaluateParams
from pipeline.data.shards import Row
from pipeline.evaluation.evaluate import distance_metrics, memory_metrics
from pipeline.evaluation.labels import label_metrics, label_table
from pipeline.evaluation.prompt_sampler import Samples
from pipeline.evaluation.prompts import PromptSet, real_clips
from pipeline.evaluation.scenes import scene_metrics, scene_table
from pipeline.evaluation.scoring import (
    EvaluatedPrompts,
    accuracy_table,
    in_words,
    kind_metrics,
    read_clips,
    score_readings,
    speed_between_real,
)
from pipeline.evaluation.shares import flat_scores
from pipeline.evaluation.shuffle_control import shuffle_control
from pipeline.evaluation.unsaid import blank_metrics
from pipeline.generation.prompt_list import ListedPrompt
from pipeline.judge.judge import Judge
from pipeline.judge.label_readers import Label, score_label
from pipeline.judge.oracles.reading import LEAST_FRAMES, Reading
from pipeline.judge.oracles.score_reading import Scores
from pipeline.judge.oracles.score_reading import score_reading as score_by_oracle
from pipeline.judge.oracles.shapes import read_shapes
from pipeline.judge.oracles.world.reading import WorldReading, read_world
from pipeline.judge.oracles.world.score import score_world
from pipeline.judge.retrieval import recall_metrics
from pipeline.marking.asked import AskedPrompt
from pipeline.marking.known_set import KnownSet

log = logging.getLogger("t2v")

NOTHING = WorldReading((), -1, "", 1.0, 0.0, 0, 0, (), frozenset())  # of a clip that is not there
NO_CLIP = "no clip of this name"
NO_JUDGE = "No models/judge of this set is here: distances from real clips are not measured (dvc repro judge)."
NO_REAL = "The set's real clips are not here: distances from them are not measured (dvc repro)."


@dataclass(frozen=True)
class ShapesOracle:
    """Reads and scores clips of the shapes set without a judge's networks."""

    in_play: Mapping[str, Sequence[Any]]
    resolution: int

    def read(self, frames: np.ndarray) -> Reading:
        return read_world(frames) if self.in_play.get("kind") else read_shapes(frames)

    def score_reading(self, reading: Reading, attributes: Mapping[str, Any]) -> Scores:
        if isinstance(reading, WorldReading):
            return score_world(reading, attributes, self.in_play, resolution=self.resolution)
        return score_by_oracle(reading, attributes, self.in_play, resolution=self.resolution)


@dataclass(frozen=True)
class MarkedClip:
    """The verdict on one prompt's clip."""

    asked: AskedPrompt
    frames: np.ndarray | None  # uint8 (F, H, W, 3); None: missing or damaged
    problem: str  # why there are none
    right: bool | None  # None: nothing reads it
    wrong: tuple[str, ...]
    reading: dict[str, str]

    def facts(self) -> dict[str, Any]:
        """Its line of clips.jsonl."""
        told = {"name": self.asked.name, "kind": self.asked.kind, "prompt": self.asked.prompt}
        verdict = {"right": self.right, "wrong": list(self.wrong), "read": self.reading}
        return {**told, **verdict, "problem": self.problem or None}


@dataclass
class Marks:
    """Metrics by key, the accuracy table, and a verdict for each prompt in order."""

    metrics: dict[str, Any] = field(default_factory=dict)
    table: list[dict[str, Any]] = field(default_factory=list)
    clips: list[MarkedClip] = field(default_factory=list)


@dataclass(frozen=True)
class _Kind:
    """The prompts of one kind with their clips; `there` are the places of those that have one."""

    evaluated: EvaluatedPrompts
    there: list[int]

    @property
    def name(self) -> str:
        return self.evaluated.prompts.kind


def mark(
    asked: Sequence[AskedPrompt],  # kind after kind
    clips: Mapping[str, np.ndarray],  # by name, in the set's shape
    problems: Mapping[str, str],  # by name, why there is no clip
    known: KnownSet,
    judge: Judge | None,
    params: EvaluateParams,
) -> Marks:
    """Everything about the clips; without a judge, clips of the shapes set alone."""
    assert judge is not None or known.name == "shapes", known.name
    marks = Marks()
    oracle = judge or ShapesOracle(known.in_play, known.resolution)
    groups = [list(group) for _, group in groupby(asked, key=lambda one: one.kind)]
    kinds = [_kind(group, clips, known, judge, oracle) for group in groups]
    real = known.real([ListedPrompt(one.name, one.prompt) for one in asked])
    if known.is_drawn:
        _add_attributes(marks, kinds, oracle, real, known, params.seed)
    else:
        assert judge is not None
        _add_labels(marks, kinds, judge, params.seed)
        _add_retrieval(marks, kinds[0], judge)
        _add_memory(marks, kinds, real, known, params.seed)
    marks.metrics |= _distances(kinds[0], known, judge, params)
    for each in kinds:
        marks.clips += _verdicts(each, clips, problems, asked)
        marks.metrics[f"{each.name}.missing"] = len(each.evaluated.prompts) - len(each.there)
    marks.metrics |= {"clips": len(asked), "missing": sum(clip.frames is None for clip in marks.clips)}
    marks.metrics |= {"dataset": known.name, "seed": params.seed}
    return marks


def _kind(
    group: Sequence[AskedPrompt],
    clips: Mapping[str, np.ndarray],
    known: KnownSet,
    judge: Judge | None,
    oracle: Judge | ShapesOracle,
) -> _Kind:
    """The clips of one kind, read and scored."""
    shape = (known.frames, known.resolution, known.resolution, 3)
    there = [place for place, one in enumerate(group) if one.name in clips]
    frames = np.zeros((len(group), *shape), np.uint8)
    for place in there:
        frames[place] = clips[group[place].name]
    prompts = PromptSet(
        group[0].kind,
        [one.prompt for one in group],
        [one.attributes for one in group],
        [one.name for one in group],
        np.zeros((0, *shape), np.uint8),
        0,
    )
    samples = Samples(frames, 0.0, 0)
    if known.is_drawn:
        found = _read(oracle, {place: own_frames(frames[place]) for place in there})
        readings = [found.get(place, NOTHING) for place in range(len(group))]
        scores = score_readings(oracle, readings, prompts.attributes)
        scores = [_bare(each) if place not in found else each for place, each in enumerate(scores)]
        return _Kind(EvaluatedPrompts(prompts, samples, readings, scores), there)
    labels: list[Label] = []
    scores = []
    if judge is not None and judge.readers:
        seen = dict(zip(there, judge.read_labels(frames[there]), strict=True)) if there else {}
        nothing = dict.fromkeys(judge.card.in_play, "")
        labels = [seen.get(place, nothing) for place in range(len(group))]
        scores = [score_label(*pair, judge.card.in_play) for pair in zip(labels, prompts.attributes, strict=True)]
    return _Kind(EvaluatedPrompts(prompts, samples, [], scores, labels), there)


def _read(oracle: Judge | ShapesOracle, clips: Mapping[int, np.ndarray]) -> dict[int, Reading]:
    """Readings of clips, those of one length together."""
    found: dict[int, Reading] = {}
    for length in sorted({len(clip) for clip in clips.values()}):
        places = [place for place, clip in clips.items() if len(clip) == length]
        found |= zip(places, read_clips(oracle, np.stack([clips[place] for place in places])), strict=True)
    return found


def own_frames(frames: np.ndarray) -> np.ndarray:
    """A clip (F, H, W, 3) without the repeats by which one of fewer frames was made as long: it would seem to jerk."""
    f = len(frames)
    is_new = np.array([True, *(frames[1:] != frames[:-1]).reshape(f - 1, -1).any(axis=1)])
    count = int(is_new.sum())
    evenly = np.diff(np.arange(f) * count // f, prepend=-1) > 0
    return frames[is_new] if LEAST_FRAMES <= count < f and (is_new == evenly).all() else frames


def _bare(scores: Scores) -> Scores:
    """Verdicts alone: a clip that is not there has no speed error."""
    return {name: value for name, value in scores.items() if isinstance(value, bool)}


def _add_attributes(
    marks: Marks,
    kinds: Sequence[_Kind],
    oracle: Judge | ShapesOracle,
    real: Mapping[str, Row],
    known: KnownSet,
    seed: int,
) -> None:
    readings: list[Reading] = []
    rows = list(real.values())
    scores = score_readings(oracle, read_clips(oracle, real_clips(rows, known)), [row.attributes for row in rows])
    of_real = dict(zip(real, scores, strict=True))
    for each in kinds:
        marks.metrics |= kind_metrics(each.evaluated)
        marks.table += accuracy_table(each.evaluated)
        if known.has_scenes:
            keys = each.evaluated.prompts.keys
            own_scores = [of_real[key] for key in keys] if all(key in of_real for key in keys) else None
            marks.metrics |= scene_metrics(oracle, each.evaluated, own_scores, seed)
            marks.table += scene_table(each.evaluated)
        own = [each.evaluated.readings[place] for place in each.there]
        marks.metrics |= blank_metrics(own, f"{each.name}.") if own else {}
        readings += own
    if readings:
        marks.metrics |= blank_metrics(readings) | {"blank.clips": len(readings)}
    first = kinds[0].evaluated
    marks.metrics |= shuffle_control(oracle, first, seed)
    marks.metrics |= speed_between_real(first.prompts.attributes)
    if scores:
        marks.metrics |= flat_scores("oracle_on_real", scores, intervals=False)
    elif isinstance(oracle, Judge):
        marks.metrics |= {key: each for key, each in oracle.card.metrics.items() if key.startswith("oracle_on_real.")}


def _add_labels(marks: Marks, kinds: Sequence[_Kind], judge: Judge, seed: int) -> None:
    if judge.readers:
        evaluated = [each.evaluated for each in kinds]
        marks.metrics |= label_metrics(judge, evaluated, seed)
        marks.table += [row for each in evaluated for row in label_table(each)]


def _add_retrieval(marks: Marks, first: _Kind, judge: Judge) -> None:
    if judge.retrieval is None or not first.there:
        return
    captions = [first.evaluated.prompts.captions[place] for place in first.there]
    similarity = judge.retrieval.similarity(first.evaluated.samples.frames[first.there], captions)
    marks.metrics |= recall_metrics(similarity) | {"retrieval.clips": len(captions)}


def _add_memory(marks: Marks, kinds: Sequence[_Kind], real: Mapping[str, Row], known: KnownSet, seed: int) -> None:
    """The share of training captions whose clip is nearest to their own one."""
    for each in kinds:
        prompts = each.evaluated.prompts
        own = [place for place in each.there if prompts.keys[place] in real]
        if each.name == "trained" and own:
            rows = [real[prompts.keys[place]] for place in own]
            captions, keys = [prompts.captions[place] for place in own], [prompts.keys[place] for place in own]
            some = PromptSet("trained", captions, [{}] * len(own), keys, real_clips(rows, known), 0)
            samples = Samples(each.evaluated.samples.frames[own], 0.0, 0)
            marks.metrics |= memory_metrics(EvaluatedPrompts(some, samples, [], []), seed)


def _distances(first: _Kind, known: KnownSet, judge: Judge | None, params: EvaluateParams) -> dict[str, Any]:
    """Distances of the first kind's clips from as many real clips of its split."""
    if judge is None or known.folder is None:
        return {"distances_note": NO_JUDGE if judge is None else NO_REAL}
    found = next((each for each in known.prompts(max(1, len(first.there))) if each.kind == first.name), None)
    if found is None or not first.there:
        return {"distances_note": NO_REAL}
    prompts, there = first.evaluated.prompts, first.there
    captions, keys = [prompts.captions[place] for place in there], [prompts.keys[place] for place in there]
    some = PromptSet(first.name, captions, [{}] * len(there), keys, real_clips(found.rows, known), 0, found.split)
    samples = Samples(first.evaluated.samples.frames[there], 0.0, 0)
    return distance_metrics(judge, EvaluatedPrompts(some, samples, [], []), known.folder, known, params)


def _verdicts(
    kind: _Kind, clips: Mapping[str, np.ndarray], problems: Mapping[str, str], asked: Sequence[AskedPrompt]
) -> Iterator[MarkedClip]:
    evaluated, group = kind.evaluated, [one for one in asked if one.kind == kind.name]
    for place, one in enumerate(group):
        frames = clips.get(one.name)
        scores: Scores = evaluated.scores[place] if evaluated.scores else {}
        right = bool(scores["joint"]) if scores else None
        wrong = tuple(name for name, value in scores.items() if value is False and name != "joint")
        reading: dict[str, str] = {}
        if frames is not None:
            read = evaluated.readings[place] if evaluated.readings else None
            reading = in_words(read) if read is not None else dict(evaluated.labels[place]) if evaluated.labels else {}
        problem = "" if frames is not None else problems.get(one.name, NO_CLIP)
        if problem and scores:
            wrong = ("missing",) if problem == NO_CLIP else ("damaged",)
        yield MarkedClip(one, frames, problem, right, wrong, reading)
