"""Judge a trained model: sample its prompts, read the samples, and put every number beside its floor and its control.

The judge is trained and frozen before; prompts, seeds and clips are fixed, so two models of one set compare.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.evaluation import EvaluateParams
from pipeline.config.models import DiffusionParams, SamplingParams
from pipeline.data.frames import to_rgb
from pipeline.data.shards import Row, read_rows, read_set
from pipeline.diffusion.process import Diffusion
from pipeline.diffusion.validation import MAX_CLIPS, Validation
from pipeline.evaluation.curves import sampling_curves
from pipeline.evaluation.distances import frechet, nearest, nearest_neighbours, set_distances
from pipeline.evaluation.metrics import Marks, attribute_shares, derangement, flat_marks
from pipeline.evaluation.prompts import PromptSet, load_prompts, real_clips, sample_prompts
from pipeline.evaluation.scoring import (
    Answers,
    accuracy_table,
    has_attributes,
    mark_clips,
    read_clips,
    shuffle_control,
    speed_between_real,
)
from pipeline.evaluation.showcase import showcase
from pipeline.judge.judge import Judge
from pipeline.judge.retrieval import recall_metrics
from pipeline.model_io.clip_dataset import ClipShape, fit_clip
from pipeline.model_io.model_card import ModelCard, read_section
from pipeline.sampling.video_model import VideoModel
from pipeline.text.captions import CaptionTable

log = logging.getLogger("t2v")

TRAIN_POOL = 2000  # training clips among which the nearest is looked for
LEAST_CLIPS = 8  # for a distance between sets
PIXEL_GRID = 16  # px a side to which clips are averaged for the nearest in pixels
CLIP_NOTE = "CLIP similarity is not measured: it needs weights that this pipeline neither trains nor downloads."


@dataclass
class Evaluation:
    """What a model's evaluation leaves: flat metrics, tables for plots, and samples for the report."""

    metrics: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    samples: list[Row] = field(default_factory=list)

    def rounded_metrics(self) -> dict[str, Any]:
        """To six significant digits, so that differences of the last bit don't show."""
        return {
            key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in self.metrics.items()
        }


def evaluate_model(
    model: VideoModel,
    judge: Judge,
    table: CaptionTable | None,  # None: the model reads the words of a caption itself
    shards: Path,
    evaluate: EvaluateParams,
    sampling: SamplingParams | None,  # None: the model has no such choices
) -> Evaluation:
    """Everything about one model. Raises ValueError where the set has nothing to judge by."""
    card = model.card
    started = time.perf_counter()
    check_fit(card, judge, table)
    result = Evaluation()
    known = None if table is None else table.index
    sets = load_prompts(shards, card, count=evaluate.prompts, seed=evaluate.seed, known=known)
    answers = [_answer(model, judge, table, prompts, evaluate, sampling) for prompts in sets]
    if answers[0].marks:
        _judge_attributes(result, judge, answers, evaluate.seed)
    else:
        _judge_retrieval(result, judge, answers[0])
        result.metrics |= memory_metrics(answers[-1], evaluate.seed)
    result.metrics |= _cost(answers)
    result.metrics |= distance_metrics(judge, answers[0], shards, card, evaluate)
    if sampling is not None:
        _add_curves(result, model, judge, table, answers[0], evaluate, sampling)
        result.tables["loss_by_noise"] = loss_by_noise(model, table, answers[0].prompts, evaluate.batch_size)
        result.metrics["val_error"] = float(np.mean([row["error"] for row in result.tables["loss_by_noise"]]))
    for answered in answers:
        result.samples += showcase(model, judge, table, answered, evaluate, sampling)
    result.metrics |= {
        "dataset": card.dataset,
        "family": card.family,
        "device": str(model.device),
        "seed": evaluate.seed,
        "seconds": time.perf_counter() - started,
    }
    log.info("%s judged on %s: %s", card.family, read_set(shards)["set"], headline(result.metrics))
    return result


def check_fit(card: ModelCard, judge: Judge, table: CaptionTable | None) -> None:
    """Raises ValueError where judge or embeddings belong to another set or encoder than the model."""
    if judge.card.dataset != card.dataset:
        raise ValueError(f"the judge is for {judge.card.dataset}, the model for {card.dataset}; run dvc repro")
    if card.text is not None and table is not None and card.text != asdict(table.info):
        raise ValueError(
            f"the model was trained with encoder {card.text}, the embeddings are by {table.info}; run dvc repro"
        )


def _answer(
    model: VideoModel,
    judge: Judge,
    table: CaptionTable | None,
    prompts: PromptSet,
    evaluate: EvaluateParams,
    sampling: SamplingParams | None,
) -> Answers:
    samples = sample_prompts(model, table, prompts, batch_size=evaluate.batch_size, sampling=sampling)
    if not has_attributes(prompts):
        return Answers(prompts, samples, [], [])
    readings = read_clips(judge, samples.frames)
    return Answers(prompts, samples, readings, mark_clips(judge, readings, prompts.attributes))


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
    result.metrics |= speed_between_real(answers[0].prompts.attributes)
    result.tables["accuracy"] = table


def _judge_retrieval(result: Evaluation, judge: Judge, answered: Answers) -> None:
    retrieval, prompts = judge.retrieval, answered.prompts
    if retrieval is None:
        raise ValueError("this judge was trained on a set with attributes, not on real video; rerun the judge stage")
    made = recall_metrics(retrieval.similarity(to_rgb(answered.samples.frames), prompts.captions))
    real = recall_metrics(retrieval.similarity(prompts.real, prompts.captions))
    result.metrics |= made
    result.metrics |= {key.replace("retrieval.", "retrieval_on_real."): value for key, value in real.items()}
    result.metrics |= {"retrieval.clips": len(prompts), "clip_similarity_note": CLIP_NOTE}


def memory_metrics(answered: Answers, seed: int) -> dict[str, float]:
    """How often a sample for a training clip's caption lies nearer to that clip, in pixels, than to the others.

    Beside it chance, and the same samples held against other prompts' clips. Empty for prompts of other splits.
    """
    prompts = answered.prompts
    if prompts.kind != "trained" or len(prompts) < 2:
        return {}
    _, found = nearest_neighbours(_shrunk(prompts.real), _shrunk(to_rgb(answered.samples.frames)))
    return {
        "trained.clips": len(prompts),
        "trained.own_clip": float((found == np.arange(len(prompts))).mean()),
        "trained.own_clip_chance": 1.0 / len(prompts),
        "trained.own_clip_shuffled": float((found == derangement(len(prompts), seed)).mean()),
    }


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
    sampling: SamplingParams,
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

    result.tables |= sampling_curves(
        model, table, seen.prompts, measure, evaluate, default=sampling, known=seen.samples
    )


def loss_by_noise(
    model: VideoModel, table: CaptionTable | None, prompts: PromptSet, batch_size: int
) -> list[dict[str, Any]]:
    """Error on real clips by noise level: columns t, loss (as in training) and error (MSE of x0)."""
    card, asked = model.card, prompts.first(MAX_CLIPS)
    shape = ClipShape(card.frames, card.resolution, card.channels)
    frames = np.stack([fit_clip(clip, shape) for clip in asked.real])
    text = table.batch(asked.captions) if table is not None and card.text is not None else None
    diffusion = Diffusion(read_section(DiffusionParams, card, "diffusion"))
    validation = Validation(frames, text, batch_size)
    rows = validation.measure(model.network, diffusion, model.device, contextlib.nullcontext, card.steps)
    return [{"t": row.t, "loss": row.loss, "error": row.x0_mse} for row in rows]


def headline(metrics: Mapping[str, Any]) -> str:
    """The joint accuracies, or what there is instead, in a line."""
    keys = ("seen.joint", "held_out.joint", "reworded.joint", "retrieval.r10", "frechet.ratio")
    return ", ".join(f"{key} {metrics[key]:.3f}" for key in keys if key in metrics)
