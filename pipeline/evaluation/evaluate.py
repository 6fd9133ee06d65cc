"""Judge a trained model: sample its prompts, read the samples, and put every number beside its floor and its control.

The judge is trained and frozen before; prompts, seeds and clips are fixed, so two models of one set compare.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from pipeline.evaluation.curves import sampling_curves
from pipeline.evaluation.distances import frechet, nearest, set_distances
from pipeline.evaluation.metrics import Marks, attribute_shares, derangement, exact_chance, flat_marks, wilson
from pipeline.evaluation.prompts import PromptSet, Samples, load_prompts, real_clips, sample_prompts
from pipeline.models import ModelCard, VideoModel
from pipeline.params import DiffusionParams, EvaluateParams, ReportParams
from pipeline.render import to_rgb
from pipeline.shards import Row, read_rows, read_set
from pipeline.text import CaptionTable

log = logging.getLogger("t2v")

TRAIN_POOL = 2000  # training clips among which the nearest is looked for
LEAST_CLIPS = 8  # for a distance between sets
PIXEL_GRID = 16  # px a side to which clips are averaged for the nearest in pixels
CLIP_NOTE = "CLIP similarity is not measured: it needs weights that this pipeline neither trains nor downloads."


class Judge(Protocol):
    """What evaluation asks of models/judge."""

    def features(self, frames: np.ndarray) -> np.ndarray: ...

    def read(self, frames: np.ndarray) -> Any: ...

    def score(self, reading: Any, attributes: Mapping[str, Any]) -> Marks: ...

    def similarity(self, frames: np.ndarray, pooled: np.ndarray) -> np.ndarray: ...


@dataclass
class Evaluation:
    """What a model's evaluation leaves: flat metrics, tables for plots, and samples for the report."""

    metrics: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    samples: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Answers:
    """A model's samples for one set of prompts, with their marks where the set has attributes."""

    prompts: PromptSet
    samples: Samples
    readings: list[Any]
    marks: list[Marks]


def evaluate_model(
    model: VideoModel,
    judge: Judge,
    table: CaptionTable | None,
    shards: Path,
    evaluate: EvaluateParams,
    report: ReportParams,
) -> Evaluation:
    """Everything about one model. Raises ValueError where the set has nothing to judge by."""
    card = model.card
    result = Evaluation()
    sets = load_prompts(shards, card, count=evaluate.prompts, seed=evaluate.seed)
    answers = [_answer(model, judge, table, prompts, evaluate) for prompts in sets]
    if answers[0].marks:
        _judge_attributes(result, judge, answers, evaluate.seed)
    else:
        _judge_retrieval(result, judge, table, answers[0])
    result.metrics |= _cost(answers)
    result.metrics |= distance_metrics(judge, answers[0], shards, card, evaluate)
    if card.family == "unet":
        _add_curves(result, model, judge, table, answers[0], evaluate)
        result.tables["loss_by_noise"] = loss_by_noise(model, table, answers[0].prompts, evaluate.batch_size)
        result.metrics["val_error"] = float(np.mean([row["error"] for row in result.tables["loss_by_noise"]]))
    for answered in answers:
        result.samples += showcase(model, judge, table, answered, evaluate, report)
    return result


def _answer(
    model: VideoModel,
    judge: Judge,
    table: CaptionTable | None,
    prompts: PromptSet,
    evaluate: EvaluateParams,
) -> Answers:
    samples = sample_prompts(model, table, prompts, batch_size=evaluate.batch_size)
    if not has_attributes(prompts):
        return Answers(prompts, samples, [], [])
    readings = read_clips(judge, samples.frames)
    return Answers(prompts, samples, readings, mark_clips(judge, readings, prompts.attributes))


def has_attributes(prompts: PromptSet) -> bool:
    return bool(prompts.attributes[0].get("objects"))


def read_clips(judge: Judge, frames: np.ndarray) -> list[Any]:
    """What each of uint8 (N, F, H, W, C) shows."""
    return [judge.read(clip) for clip in tqdm(to_rgb(frames), desc="read clips", disable=None)]


def mark_clips(judge: Judge, readings: Sequence[Any], attributes: Sequence[Mapping[str, Any]]) -> list[Marks]:
    return [judge.score(reading, wanted) for reading, wanted in zip(readings, attributes, strict=True)]


def _judge_attributes(result: Evaluation, judge: Judge, answers: Sequence[Answers], seed: int) -> None:
    real_marks: list[Marks] = []
    table: list[dict[str, Any]] = []
    for answered in answers:
        kind = answered.prompts.kind
        result.metrics |= flat_marks(kind, answered.marks)
        result.metrics[f"{kind}.clips"] = len(answered.marks)
        result.metrics[f"{kind}.failures"] = sum(not sheet["joint"] for sheet in answered.marks)
        table += accuracy_table(kind, answered)
        real = read_clips(judge, answered.prompts.real)
        real_marks += mark_clips(judge, real, answered.prompts.attributes)
    result.metrics |= flat_marks("oracle_on_real", real_marks, intervals=False)
    result.metrics |= shuffle_control(judge, answers[0], seed)
    result.tables["accuracy"] = table


def accuracy_table(kind: str, answered: Answers) -> list[dict[str, Any]]:
    """A row per attribute ("all") and per value of it that the prompts ask for, of single-object clips."""
    rows = [
        {"kind": kind, "attribute": name, "value": "all", **_share_row(share.right, share.clips)}
        for name, share in attribute_shares(answered.marks).items()
    ]
    wanted = [each["objects"][0] if len(each["objects"]) == 1 else {} for each in answered.prompts.attributes]
    for name in ("shape", "colour", "digit", "motion", "size", "speed"):
        values = dict.fromkeys(thing[name] for thing in wanted if thing.get(name) is not None)
        for value in sorted(values, key=str) if len(values) > 1 else ():
            sheets = [
                sheet
                for sheet, thing in zip(answered.marks, wanted, strict=True)
                if thing.get(name) == value and name in sheet
            ]
            if sheets:
                right = sum(bool(sheet[name]) for sheet in sheets)
                rows.append({"kind": kind, "attribute": name, "value": str(value), **_share_row(right, len(sheets))})
    return rows


def _share_row(right: int, clips: int) -> dict[str, Any]:
    share = wilson(right, clips)
    return {"right": right, "clips": clips, "share": share.value, "low": share.low, "high": share.high}


def shuffle_control(judge: Judge, answered: Answers, seed: int) -> dict[str, float]:
    """The same samples against other prompts' attributes: once by a derangement, and its exact mean over all."""
    attributes = answered.prompts.attributes
    if len(attributes) < 2:
        return {}
    order = derangement(len(attributes), seed)
    marks = mark_clips(judge, answered.readings, [attributes[index] for index in order])
    flat = {key: value for key, value in flat_marks("caption_shuffle", marks).items() if _is_share(key, marks[0])}
    chance = exact_chance(
        answered.readings, attributes, judge.score, reading_key=reading_key, wanted_key=attributes_key
    )
    return flat | {f"caption_shuffle.{name}_chance": value for name, value in chance.items()}


def _is_share(key: str, sheet: Marks) -> bool:
    name = key.partition(".")[2].removesuffix("_low").removesuffix("_high")
    return isinstance(sheet.get(name), bool)


WORD_FIELDS = ("shape", "colour", "colour_to", "size", "digit", "motion", "speed")


def reading_key(reading: Any) -> tuple[Any, ...]:
    """What of a reading decides its marks."""
    things = sorted(str(tuple(getattr(thing, name) for name in WORD_FIELDS)) for thing in reading.objects)
    return reading.count, reading.background, *things


def attributes_key(attributes: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a clip's attributes decides a reading's marks."""
    things = sorted(str(tuple(thing.get(name) for name in WORD_FIELDS)) for thing in attributes["objects"])
    return attributes.get("background"), *things


def _judge_retrieval(result: Evaluation, judge: Judge, table: CaptionTable | None, answered: Answers) -> None:
    from pipeline.evaluation.retrieval import recall_metrics

    assert table is not None, "a set of real video is judged by its captions' vectors"
    prompts = answered.prompts
    pooled = table.batch(prompts.captions).pooled.numpy()
    made = recall_metrics(judge.similarity(to_rgb(answered.samples.frames), pooled))
    real = recall_metrics(judge.similarity(prompts.real, pooled))
    result.metrics |= made
    result.metrics |= {key.replace("retrieval.", "retrieval_on_real."): value for key, value in real.items()}
    result.metrics |= {"retrieval.clips": len(prompts), "clip_similarity_note": CLIP_NOTE}


def _cost(answers: Sequence[Answers]) -> dict[str, float]:
    clips = sum(len(answered.prompts) for answered in answers)
    return {
        "clips": clips,
        "seconds_per_clip": sum(answered.samples.seconds for answered in answers) / clips,
        "evaluations_per_clip": sum(answered.samples.passes for answered in answers) / clips,
    }


def distance_metrics(
    judge: Judge, answered: Answers, shards: Path, card: ModelCard, evaluate: EvaluateParams
) -> dict[str, Any]:
    """Distances of the seen samples from real clips, each with its floor; a note where the set is too small."""
    fake = to_rgb(answered.samples.frames)[: evaluate.feature_clips]
    real = answered.prompts.real[: evaluate.feature_clips]
    pool = max(TRAIN_POOL, 2 * len(fake))
    train = real_clips(list(read_rows(shards, "train", limit=pool)), card)
    if min(len(fake), len(train) // 2) < LEAST_CLIPS:
        note = f"Distances are not measured: {len(fake)} samples and {len(train)} training clips are too few."
        return {"distances_note": note}
    log.info("distances of %d samples from %d real clips, among %d training clips", len(fake), len(real), len(train))
    train_features, real_features, fake_features = (judge.features(clips) for clips in (train, real, fake))
    flat = set_distances(train_features, real_features, fake_features, seed=evaluate.seed).flat()
    small = [_shrunk(clips) for clips in (train, real, fake)]
    scale = float(np.sqrt(small[0].shape[1]))
    made, floor = (float(np.median(nearest(small[0], each))) / scale for each in (small[2], small[1]))
    return {
        **flat,
        "nearest_pixels.distance": made,
        "nearest_pixels.floor": floor,
        "nearest_pixels.ratio": made / floor,
    }


def _shrunk(clips: np.ndarray) -> np.ndarray:
    """float32 (N, D) of clips averaged to a PIXEL_GRID."""
    n, f, h, w, c = clips.shape
    step = max(1, h // PIXEL_GRID)
    rows, columns = h // step, w // step
    cut = clips[:, :, : rows * step, : columns * step].reshape(n, f, rows, step, columns, step, c)
    return cut.mean(axis=(3, 5), dtype=np.float32).reshape(n, -1)


def _add_curves(
    result: Evaluation,
    model: VideoModel,
    judge: Judge,
    table: CaptionTable | None,
    seen: Answers,
    evaluate: EvaluateParams,
) -> None:
    real = seen.prompts.first(evaluate.curve_prompts).real
    real_features = judge.features(real) if len(real) >= LEAST_CLIPS else None

    def measure(frames: np.ndarray, prompts: PromptSet) -> dict[str, float]:
        found: dict[str, float] = {}
        if has_attributes(prompts):
            share = attribute_shares(mark_clips(judge, read_clips(judge, frames), prompts.attributes))["joint"]
            found = {"joint": share.value, "low": share.low, "high": share.high}
        if real_features is not None:
            found["distance"] = frechet(real_features, judge.features(to_rgb(frames)))
        return found

    result.tables |= sampling_curves(model, table, seen.prompts, measure, evaluate, seen.samples)


def loss_by_noise(
    model: VideoModel, table: CaptionTable | None, prompts: PromptSet, batch_size: int
) -> list[dict[str, Any]]:
    """Error on real clips by noise level: columns t, loss (as in training) and error (MSE of x0)."""
    from pipeline.diffusion import Diffusion
    from pipeline.training.clip_store import ClipShape, fit_clip
    from pipeline.training.validation import MAX_CLIPS, Validation

    card, asked = model.card, prompts.first(MAX_CLIPS)
    shape = ClipShape(card.frames, card.resolution, card.channels)
    frames = np.stack([fit_clip(clip, shape) for clip in asked.real])
    text = table.batch(asked.captions) if table is not None and card.text is not None else None
    diffusion = Diffusion(DiffusionParams.model_validate(card.section("diffusion")))
    validation = Validation(frames, text, batch_size)
    rows = validation.measure(model.network, diffusion, model.device, contextlib.nullcontext, card.steps)
    return [{"t": row.t, "loss": row.loss, "error": row.x0_mse} for row in rows]


def showcase(
    model: VideoModel,
    judge: Judge,
    table: CaptionTable | None,
    answered: Answers,
    evaluate: EvaluateParams,
    report: ReportParams,
) -> list[Row]:
    """The first prompts with `report.seeds` takes and the real clip of each, then the first failures of the rest."""
    shown = answered.prompts.first(report.prompts)
    rows = [
        _row(model, answered, index, "real", shown.real[index], None, None, 0, showcase=True)
        for index in range(len(shown))
    ]
    for take in range(report.seeds):
        frames, readings, marks = answered.samples.frames, answered.readings, answered.marks
        if take:
            made = sample_prompts(model, table, shown, batch_size=evaluate.batch_size, take=take, desc="more takes")
            frames = made.frames
            readings = read_clips(judge, frames) if marks else []
            marks = mark_clips(judge, readings, shown.attributes) if marks else []
        for index in range(len(shown)):
            judged = (readings[index], marks[index]) if marks else (None, None)
            rows.append(_row(model, answered, index, "model", frames[index], *judged, take, showcase=True))
    failures = [i for i, sheet in enumerate(answered.marks) if i >= len(shown) and not sheet["joint"]]
    for index in failures[: report.prompts]:
        judged = answered.readings[index], answered.marks[index]
        rows.append(_row(model, answered, index, "model", answered.samples.frames[index], *judged, 0, showcase=False))
    return rows


def _row(
    model: VideoModel,
    answered: Answers,
    index: int,
    role: str,
    frames: np.ndarray,
    reading: Any,
    marks: Marks | None,
    take: int,
    *,
    showcase: bool,
) -> Row:
    from pipeline.clips import encode_gif

    prompts = answered.prompts
    seed = prompts.seeds(take)[index]
    facts: dict[str, Any] = {"kind": prompts.kind, "index": index, "role": role, "seed": seed, "showcase": showcase}
    facts["wanted"] = prompts.attributes[index]
    facts["right"] = bool(marks["joint"]) if marks is not None else None
    if marks is not None:
        facts["wrong"] = [name for name, value in marks.items() if value is False and name != "joint"]
        facts["reading"] = in_words(reading)
    return Row(
        key=f"{prompts.kind}/{index:05d}/{role}-{take}",
        split=prompts.kind,
        captions=(prompts.captions[index],),
        n_frames=len(frames),
        fps=model.card.fps,
        gif=encode_gif(to_rgb(frames), model.card.fps),
        source=prompts.keys[index] if role == "real" else model.card.family,
        attributes=facts,
    )


def in_words(reading: Any) -> dict[str, str]:
    """A reading as the report says it: attribute to words, several things joined by "and"."""
    said: dict[str, str] = {}
    for name in ("colour", "shape", "digit", "size", "motion", "speed"):
        values = [getattr(thing, name) for thing in reading.objects]
        if any(value not in (None, "unclear") for value in values):
            said[name] = " and ".join(str(value) for value in values)
    return said or {"nothing": "clear"}


def timed_evaluation(
    model: VideoModel,
    judge: Judge,
    table: CaptionTable | None,
    shards: Path,
    evaluate: EvaluateParams,
    report: ReportParams,
) -> Evaluation:
    """`evaluate_model`, with what it was run on and how long it took."""
    started = time.perf_counter()
    result = evaluate_model(model, judge, table, shards, evaluate, report)
    result.metrics |= {
        "dataset": model.card.dataset,
        "family": model.card.family,
        "device": str(model.device),
        "seed": evaluate.seed,
        "seconds": time.perf_counter() - started,
        "set_counts": None,
    }
    del result.metrics["set_counts"]
    log.info("%s judged on %s: %s", model.card.family, read_set(shards)["set"], headline(result.metrics))
    return result


def headline(metrics: Mapping[str, Any]) -> str:
    """The joint accuracies, or what there is instead, in a line."""
    keys = ("seen.joint", "held_out.joint", "reworded.joint", "retrieval.r10", "frechet.ratio")
    return ", ".join(f"{key} {metrics[key]:.3f}" for key in keys if key in metrics)
