"""Evaluation of a trained model: its samples of prompts, read by the judge, each number beside its floor and control.

The judge is trained and frozen before; prompts, seeds and clips are fixed, so two models of one set compare.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.evaluation import EvaluateParams
from pipeline.config.models import DiffusionParams
from pipeline.data.frames import to_rgb
from pipeline.data.samples import Sample
from pipeline.data.shards import Row, count_clips, read_rows, read_set
from pipeline.diffusion.process import Diffusion
from pipeline.diffusion.validation import MAX_CLIPS, Validation
from pipeline.evaluation.distances import beside_floor, frechet, nearest, nearest_neighbours, set_distances
from pipeline.evaluation.labels import joint_share, label_metrics, label_table
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import PromptSet, Sized, load_prompts, real_clips
from pipeline.evaluation.sampling_curves import sampling_curves
from pipeline.evaluation.scenes import scene_metrics, scene_table
from pipeline.evaluation.scoring import (
    EvaluatedPrompts,
    accuracy_table,
    evaluate_prompts,
    has_attributes,
    kind_metrics,
    read_clips,
    score_readings,
    speed_between_real,
)
from pipeline.evaluation.shares import attribute_shares, flat_scores
from pipeline.evaluation.showcase import showcase, unsaid_showcase
from pipeline.evaluation.shuffle_control import derangement, shuffle_control
from pipeline.evaluation.unsaid import blank_metrics, unsaid_metrics, unsaid_prompts
from pipeline.judge.features import CHUNK
from pipeline.judge.judge import Judge
from pipeline.judge.oracles.reading import Reading
from pipeline.judge.oracles.score_reading import Scores
from pipeline.judge.oracles.world.score import is_single
from pipeline.judge.retrieval import recall_metrics
from pipeline.model_io.clip_dataset import split_names, validation_split
from pipeline.model_io.clip_decoding import ClipShape, fit_clip
from pipeline.model_io.model_card import ModelCard, read_section
from pipeline.text.captions import CaptionTable
from pipeline.text.vocabulary import words_of

log = logging.getLogger("t2v")

TRAIN_POOL = 2000  # training clips among which the nearest is looked for
LEAST_CLIPS = 8  # for a distance between sets
PIXEL_GRID = 16  # px a side to which clips are averaged for the nearest in pixels
PIXEL_STEPS = 16  # of a level of brightness, in which the averages are whole numbers
CLIP_NOTE = "CLIP similarity is not measured: it needs weights that this pipeline neither trains nor downloads."
NAMED_WORDS = 10
NO_VALIDATION = "The set has no validation clips: figures are of training clips and say nothing about new captions."


SEEN_IN_TRAINING = (
    "No validation clip has a combination of labels that training has: the prompts called seen are training captions, "
    "and what is said of them is said of clips that were learnt."
)


@dataclass
class Evaluation:
    """Flat metrics, tables for plots, and samples for the report."""

    metrics: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Floats to six significant digits, so that differences of the last bit don't show."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in values.items()}


def evaluate_model(sampler: PromptSampler, judge: Judge, shards: Path, params: EvaluateParams) -> Evaluation:
    """Everything about one model. Raises ValueError where the set has nothing to judge by."""
    card, started = sampler.model.card, time.perf_counter()
    check_fit(card, judge, sampler.texts)
    result = Evaluation()
    known = None if sampler.texts is None else sampler.texts.index
    sets = load_prompts(shards, card, count=params.prompts, seed=params.seed, known=known)
    if card.family == "gan":  # it reads words itself
        note_unknown_words([caption for prompts in sets for caption in prompts.captions], card.vocabulary)
    evaluated = [evaluate_prompts(judge, prompts, sampler.sample(prompts)) for prompts in sets]
    if judge.readers:
        result.metrics |= label_metrics(judge, evaluated, params.seed)
        result.tables["accuracy"] = [row for each in evaluated for row in label_table(each)]
    if evaluated[0].readings:
        _add_attributes(result, judge, evaluated, params.seed)
        _add_unsaid(result, sampler, judge, evaluated, shards, params)
    else:
        _add_retrieval(result, judge, evaluated[0])
        of_train = next((each for each in evaluated if each.prompts.split == "train"), evaluated[-1])
        result.metrics |= memory_metrics(of_train, params.seed)
    _add_cost(result, evaluated)
    result.metrics |= distance_metrics(judge, evaluated[0], shards, card, params)
    if sampler.sampling is not None:
        _add_curves(result, sampler, judge, evaluated[0], params)
        result.tables["loss_by_noise"] = loss_by_noise(sampler, evaluated[0].prompts)
        result.metrics["val_error"] = float(np.mean([row["error"] for row in result.tables["loss_by_noise"]]))
    for each in evaluated:
        result.samples += showcase(sampler, judge, each, params)
    result.metrics |= {"dataset": card.dataset, "family": card.family, "seed": params.seed}
    result.metrics |= {"device": str(sampler.model.device), "seconds": time.perf_counter() - started}
    log.info("%s judged on %s: %s", card.family, read_set(shards)["set"], headline(result.metrics))
    return result


def note_unknown_words(captions: Sequence[str], vocabulary: Sequence[str]) -> None:
    """Log, in one line, how many captions have words that a model never saw, and some of the words."""
    known = set(vocabulary)
    unknown = [set(words_of(caption)) - known for caption in captions]
    words = sorted(set().union(*unknown))
    if words:
        more = f" and {len(words) - NAMED_WORDS} more" if len(words) > NAMED_WORDS else ""
        log.warning(
            "%d of %d prompts have words that the model never saw and reads as nothing: %s%s",
            sum(map(bool, unknown)), len(captions), ", ".join(words[:NAMED_WORDS]), more,
        )  # fmt: skip


def check_fit(card: ModelCard, judge: Judge, texts: CaptionTable | None) -> None:
    """Raises ValueError where judge or embeddings belong to another set or encoder than the model."""
    if judge.card.dataset != card.dataset:
        raise ValueError(f"the judge is for {judge.card.dataset}, the model for {card.dataset}; run dvc repro")
    if card.text is not None and texts is not None and card.text != asdict(texts.info):
        raise ValueError(
            f"the model was trained with encoder {card.text}, the embeddings are by {texts.info}; run dvc repro"
        )


def _add_attributes(result: Evaluation, judge: Judge, evaluated: Sequence[EvaluatedPrompts], seed: int) -> None:
    """Accuracy by kind of prompt, beside the oracle's own on real clips and that of shuffled captions."""
    real_scores: list[Scores] = []
    result.tables["accuracy"] = table = []
    for each in evaluated:
        result.metrics |= kind_metrics(each)
        result.metrics |= blank_metrics(each.readings, f"{each.prompts.kind}.")
        table += accuracy_table(each)
        real = score_readings(judge, read_clips(judge, each.prompts.real), each.prompts.attributes)
        real_scores += real
        if "kind" in each.prompts.attributes[0]:
            result.metrics |= scene_metrics(judge, each, real, seed)
            table += scene_table(each)
    result.metrics |= flat_scores("oracle_on_real", real_scores, intervals=False)
    result.metrics |= shuffle_control(judge, evaluated[0], seed)
    result.metrics |= speed_between_real(evaluated[0].prompts.attributes)


def _add_unsaid(
    result: Evaluation,
    sampler: PromptSampler,
    judge: Judge,
    evaluated: Sequence[EvaluatedPrompts],
    shards: Path,
    params: EvaluateParams,
) -> None:
    """Captions that leave attributes out, by seeds of their own, and how many of all clips show nothing."""
    readings: list[Reading] = [reading for each in evaluated for reading in each.readings]
    seeds = len(evaluated[0].prompts)
    first_seed = params.seed + seeds
    asked = unsaid_prompts(evaluated[0].prompts, judge.card.in_play, params.unsaid_clips, first_seed)
    if asked is not None:
        frames = sampler.sample(asked.prompts).frames
        read = read_clips(judge, frames)
        real = [row.attributes for row in read_rows(shards, "train", limit=TRAIN_POOL)]
        found, table = unsaid_metrics(asked, read, [each["objects"][0] for each in real if is_single(each)])
        result.metrics |= found
        result.tables["unsaid"] = table
        result.samples += unsaid_showcase(sampler.model.card, asked, frames, read, params)
        readings, seeds = readings + read, seeds + len(read)
    result.metrics |= blank_metrics(readings) | {"blank.clips": len(readings), "blank.seeds": seeds}


def _add_retrieval(result: Evaluation, judge: Judge, evaluated: EvaluatedPrompts) -> None:
    retrieval, prompts = judge.retrieval, evaluated.prompts
    if retrieval is None:
        raise ValueError("this judge was trained on a set with attributes, not on real video; rerun the judge stage")
    made = recall_metrics(retrieval.similarity(to_rgb(evaluated.samples.frames), prompts.captions))
    real = recall_metrics(retrieval.similarity(prompts.real, prompts.captions))
    result.metrics |= made
    real.pop("retrieval.note", None)  # it would say the same
    result.metrics |= {key.replace("retrieval.", "retrieval_on_real."): value for key, value in real.items()}
    result.metrics |= {"retrieval.clips": len(prompts), "clip_similarity_note": CLIP_NOTE}
    if prompts.split == "train":
        result.metrics["validation_note"] = NO_VALIDATION if prompts.kind == "trained" else SEEN_IN_TRAINING


def memory_metrics(evaluated: EvaluatedPrompts, seed: int) -> dict[str, float]:
    """Share of samples for training clips' captions that lie nearer to their own clip, in pixels, than to the others.

    Beside it chance, and the same samples held against other prompts' clips; a clip that stands there twice is one.
    Empty for prompts of other splits.
    """
    prompts = evaluated.prompts
    if (prompts.kind != "trained" and prompts.split != "train") or len(prompts) < 2:
        return {}
    real = _pixels(prompts.real)
    _, found = nearest_neighbours(real, _pixels(to_rgb(evaluated.samples.frames)))
    _, same = np.unique(real, axis=0, return_inverse=True)  # a number for each different clip
    return {
        "trained.clips": len(prompts),
        "trained.own_clip": float((same[found] == same).mean()),
        "trained.own_clip_chance": float((np.bincount(same) ** 2).sum() / len(prompts) ** 2),
        "trained.own_clip_shuffled": float((same[found] == same[derangement(len(prompts), seed)]).mean()),
    }


def _add_cost(result: Evaluation, evaluated: Sequence[EvaluatedPrompts]) -> None:
    clips = sum(len(each.prompts) for each in evaluated)
    passes = sum(each.samples.passes for each in evaluated)
    result.metrics |= {"clips": clips, "evaluations_per_clip": passes / clips}
    result.metrics["seconds_per_clip"] = sum(each.samples.seconds for each in evaluated) / clips


def distance_metrics(
    judge: Judge, evaluated: EvaluatedPrompts, shards: Path, card: Sized, params: EvaluateParams
) -> dict[str, Any]:
    """Distances of the seen samples from real clips, each with its floor; a note where the set is too small."""
    fake = to_rgb(evaluated.samples.frames)[: params.feature_clips]
    real = _real_clips(evaluated.prompts, shards, card)[: params.feature_clips]
    pool = min(count_clips(shards)["train"], max(TRAIN_POOL, 2 * len(fake)))
    if min(len(fake), pool // 2) < LEAST_CLIPS:
        note = f"Distances are not measured: {len(fake)} samples and {pool} training clips are too few."
        return {"distances_note": note}
    log.info("distances of %d samples from %d real clips, among %d training clips", len(fake), len(real), pool)
    train_features, train_pixels = _features_and_pixels(judge, read_rows(shards, "train", limit=pool), card)
    flat = set_distances(train_features, judge.features(real), judge.features(fake), seed=params.seed).flat()
    pixels = [train_pixels, _pixels(real), _pixels(fake)]
    unit = PIXEL_STEPS * float(np.sqrt(pixels[0].shape[1]))
    made, floor = (float(np.median(nearest(pixels[0], each))) / unit for each in (pixels[2], pixels[1]))
    return {**flat, **beside_floor("nearest_pixels", made, floor)}


def _real_clips(prompts: PromptSet, shards: Path, card: Sized) -> np.ndarray:
    """The prompts' own clips; where they are seen ones of training, the validation clips."""
    validation = validation_split(split_names(shards)) if (prompts.kind, prompts.split) == ("seen", "train") else None
    return prompts.real if validation is None else real_clips(list(read_rows(shards, validation)), card)


def _features_and_pixels(judge: Judge, rows: Iterator[Row], card: Sized) -> tuple[np.ndarray, np.ndarray]:
    """Features and small pixels of many clips, some in memory at a time."""
    features, pixels = [], []
    while some := list(islice(rows, CHUNK)):
        clips = real_clips(some, card)
        features.append(judge.features(clips))
        pixels.append(_pixels(clips))
    return np.concatenate(features), np.concatenate(pixels)


def _pixels(clips: np.ndarray) -> np.ndarray:
    """int16 (N, D) of clips averaged to a PIXEL_GRID, in whole PIXEL_STEPS."""
    n, f, h, w, c = clips.shape
    step = max(1, h // PIXEL_GRID)
    rows, columns = h // step, w // step
    cut = clips[:, :, : rows * step, : columns * step].reshape(n, f, rows, step, columns, step, c)
    return (PIXEL_STEPS * cut.sum(axis=(3, 5), dtype=np.int32) // step**2).reshape(n, -1).astype(np.int16)


def _add_curves(
    result: Evaluation, sampler: PromptSampler, judge: Judge, seen: EvaluatedPrompts, params: EvaluateParams
) -> None:
    real = seen.prompts.first(params.curve_prompts).real
    real_features = judge.features(real) if len(real) >= LEAST_CLIPS else None

    def measure(frames: np.ndarray, prompts: PromptSet) -> dict[str, float]:
        found: dict[str, float] = {}
        if has_attributes(prompts):
            share = attribute_shares(score_readings(judge, read_clips(judge, frames), prompts.attributes))["joint"]
            found = {"joint": share.value, "low": share.low, "high": share.high}
        elif judge.readers and (read := joint_share(judge, to_rgb(frames), prompts.attributes)):
            found = {"joint": read.value, "low": read.low, "high": read.high}
        if real_features is not None:
            found["distance"] = frechet(real_features, judge.features(to_rgb(frames)))
        return found

    for name, curve in sampling_curves(sampler, seen.prompts, measure, params, known=seen.samples).items():
        result.tables[name] = curve.rows
        result.metrics |= {f"{name}.{value}.seconds_per_clip": each for value, each in curve.seconds_per_clip.items()}


def loss_by_noise(sampler: PromptSampler, prompts: PromptSet) -> list[dict[str, Any]]:
    """Error of a diffusion model on real clips by noise level: t, loss (as in training) and error (MSE of x0)."""
    model, asked = sampler.model, prompts.first(MAX_CLIPS)
    card = model.card
    shape = ClipShape(card.frames, card.resolution, card.channels)
    frames = np.stack([fit_clip(clip, shape) for clip in asked.real])
    diffusion = Diffusion(read_section(DiffusionParams, card, "diffusion"))
    validation = Validation(frames, sampler.text(asked.captions), sampler.batch_size)
    rows = validation.measure(model.network, diffusion, model.device, contextlib.nullcontext, card.steps)
    return [{"t": row.t, "loss": row.loss, "error": row.x0_mse} for row in rows]


def headline(metrics: Mapping[str, Any]) -> str:
    """The joint accuracies, or what there is instead, in a line."""
    keys = ("seen.joint", "held_out.joint", "reworded.joint", "retrieval.r10", "frechet.ratio")
    return ", ".join(f"{key} {metrics[key]:.3f}" for key in keys if metrics.get(key) is not None)
