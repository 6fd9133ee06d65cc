"""Building of the judge of a set: train its networks on train clips, then measure everything on clips it never saw."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pipeline.config.evaluation import JudgeParams
from pipeline.data.frames import even_indices
from pipeline.data.shards import LoadedSplit, count_clips, load_rows, read_rows, read_set
from pipeline.judge.digit_training import train_digit_reader
from pipeline.judge.features import FeatureNet, attribute_targets, embed, train_attribute_features
from pipeline.judge.judge import Judge, JudgeCard
from pipeline.judge.label_readers import find_labels, label_shares, score_label, train_label_reader
from pipeline.judge.ladder import CORRUPTIONS, run_ladder, shares_right
from pipeline.judge.oracles.digit_classifier import DigitReader
from pipeline.judge.oracles.digits import cut_out, find_strokes
from pipeline.judge.retrieval import recall_metrics, train_retrieval
from pipeline.model_io.clip_dataset import split_names, validation_split
from pipeline.runtime.row_file import RowFile

log = logging.getLogger("t2v")

ROOM_BYTES = 2 << 30  # for decoded train clips, in a file
VAL_CLIPS = 1000  # for the judge's own score
LADDER_CLIPS = 96
CROP_FRAMES = 4  # of a clip, that the digit reader learns from
NO_VALIDATION = "The set has no validation clips: nothing can be said of captions and clips that are new to the judge."
NO_HELD_BACK = "No real clip is held back whose labels all occur in training: how well the readers do is unknown."
CROP_WITHIN = 0.06  # of the height, between a crop and the digit that it shows


@dataclass(frozen=True)
class JudgeBuild:
    """A judge, its corruption ladder (None for real video) and how many clips it was made from."""

    judge: Judge
    ladder: dict[str, Any] | None
    train_clips: int
    val_clips: int


def build_judge(shards: Path, params: JudgeParams, device: torch.device) -> JudgeBuild:
    """The judge of the set in `shards`. Raises ValueError where it has no clips to learn from."""
    description = read_set(shards)
    train = _load(shards, "train", ROOM_BYTES)
    if description["set"] not in CORRUPTIONS:
        split = validation_split(split_names(shards))
        val = None if split is None else _load(shards, split, ROOM_BYTES // 4, VAL_CLIPS)
        judge = _judge_of_real_video(description, train, val, params, device)
        if judge.readers:
            judge = measure_readers(judge, shards)
        return JudgeBuild(judge, None, len(train), 0 if val is None else len(val))
    val = _load(shards, "val", ROOM_BYTES // 4, VAL_CLIPS)
    judge = _judge_of_generated(description, train, val, params, device)
    few = slice(0, LADDER_CLIPS)
    ladder = run_ladder(val.frames[few], val.attributes[few], CORRUPTIONS[description["set"]], judge.score)
    return JudgeBuild(judge, ladder, len(train), len(val))


def _judge_of_generated(
    description: dict[str, Any], train: LoadedSplit, val: LoadedSplit, params: JudgeParams, device: torch.device
) -> Judge:
    in_play = description["attributes"]
    targets = attribute_targets(train.attributes, in_play)
    net, namer = train_attribute_features(train.frames, targets, params, device)
    mean, std = _scale(net, train.frames, params, device)
    reader = _digit_reader(train, params, device) if description["set"] == "moving_mnist" else None
    named = _named_right(net, namer, val, in_play, device)
    card = _card(description, train, params, in_play, {})
    judge = Judge(card, net, mean, std, digit_reader=reader, device=device)
    read = shares_right(judge.score_many(val.frames, val.attributes))
    metrics = {f"oracle_on_real.{name}": value for name, value in read.items()}
    card = _card(description, train, params, in_play, {**metrics, "features.values_right": named})
    return Judge(card, net, mean, std, digit_reader=reader, device=device)


def _judge_of_real_video(
    description: dict[str, Any],
    train: LoadedSplit,
    val: LoadedSplit | None,
    params: JudgeParams,
    device: torch.device,
) -> Judge:
    retrieval = train_retrieval(train.frames, train.captions, params, device)
    mean, std = _scale(retrieval.features, train.frames, params, device)
    metrics: dict[str, Any] = {"validation_note": NO_VALIDATION}
    if val is not None:
        own = [captions[0] for captions in val.captions]
        metrics = recall_metrics(retrieval.similarity(val.frames, own), seed=params.seed)
    labels = find_labels(train.attributes)
    readers = [
        train_label_reader(name, values, train.frames, train.attributes, params, device)
        for name, values in labels.items()
    ]
    in_play: dict[str, list[Any]] = {name: list(values) for name, values in labels.items()}
    card = _card(description, train, params, in_play, metrics, retrieval.half.vocabulary)
    return Judge(card, retrieval.features, mean, std, text_half=retrieval.half, readers=readers, device=device)


def measure_readers(judge: Judge, shards: Path) -> Judge:
    """The same judge, its card with how well its readers do on real clips that they never saw: their ceiling."""
    names = split_names(shards)
    held_back = [split for split in (validation_split(names), "held_out") if split in names]
    scores = []
    for split in held_back:
        clips = _load(shards, split, ROOM_BYTES // 4, VAL_CLIPS)
        read = judge.read_labels(clips.frames)
        scores += [score_label(*pair, judge.card.in_play) for pair in zip(read, clips.attributes, strict=True)]
    shares = {name: right / clips for name, (right, clips) in label_shares(scores).items()}
    metrics: dict[str, Any] = {f"oracle_on_real.{name}": round(share, 4) for name, share in shares.items()}
    metrics |= {"oracle_on_real.clips": sum(map(bool, scores)), "oracle_on_real.unread": scores.count({})}
    if not shares:
        metrics["oracle_note"] = NO_HELD_BACK
    card = replace(judge.card, metrics={**judge.card.metrics, **metrics})
    half = judge.retrieval.half if judge.retrieval else None
    return Judge(card, judge.net, judge.mean, judge.std, text_half=half, readers=judge.readers, device=judge.device)


def digit_crops(split: LoadedSplit) -> tuple[np.ndarray, np.ndarray]:
    """Crops float32 (n, SIDE, SIDE) of single frames, cut as the oracle cuts them, and the digits (n,) they show."""
    crops, digits = [], []
    for frames, truth in zip(split.frames, split.attributes, strict=True):
        chosen = even_indices(len(frames), CROP_FRAMES)
        strokes = find_strokes(frames[chosen])
        centres = (strokes.boxes[:, :2] + strokes.boxes[:, 2:]) / 2.0
        paths = np.array([thing["trajectory"] for thing in truth["objects"]])[:, chosen, :2]  # (things, F, 2)
        away = np.linalg.norm(paths[:, strokes.blobs.frame] - centres[None], axis=-1)
        close = away.min(axis=0, initial=np.inf) < CROP_WITHIN * frames.shape[1]
        crops.append(cut_out(strokes)[close])
        digits += [truth["objects"][k]["digit"] for k in away.argmin(axis=0)[close]]
    return np.concatenate(crops), np.array(digits)


def _digit_reader(train: LoadedSplit, params: JudgeParams, device: torch.device) -> DigitReader:
    crops, digits = digit_crops(train)
    log.info("judge: %d crops of digits from %d train clips", len(crops), len(train))
    return train_digit_reader(crops, digits, params, device)


def _load(shards: Path, split: str, room_bytes: int, limit: int | None = None) -> LoadedSplit:
    """As many captioned clips of a split as there is room for, from its beginning."""
    rows = (row for row in read_rows(shards, split) if row.captions)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{shards}: no clips in split {split!r}, which the judge needs; make more of this set")
    room = max(2, room_bytes // first.frames().nbytes)
    there = count_clips(shards)[split]
    return load_rows(chain([first], rows), min(room, there, limit or there))


def _scale(
    net: FeatureNet, frames: RowFile, params: JudgeParams, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (D,) of the features of train clips; of a thousand, which is plenty."""
    values = torch.from_numpy(embed(net, frames, device, at_most=1000))
    std = values.std(dim=0).clamp(min=1e-6) if len(values) > 1 else torch.ones_like(values[0])
    return values.mean(dim=0), std


def _named_right(
    net: FeatureNet, namer: nn.Linear, val: LoadedSplit, in_play: dict[str, list[Any]], device: torch.device
) -> float:
    """Share of the attribute values that the feature network names rightly (shown or not shown) on val clips."""
    features = torch.from_numpy(embed(net, val.frames, device)).to(device)
    with torch.no_grad():
        shown = (namer(functional.silu(features)) > 0.0).cpu().numpy()
    return round(float((shown == attribute_targets(val.attributes, in_play)).mean()), 4)


def _card(
    description: dict[str, Any],
    train: LoadedSplit,
    params: JudgeParams,
    in_play: dict[str, list[Any]],
    metrics: dict[str, Any],
    vocabulary: tuple[str, ...] = (),
) -> JudgeCard:
    _, n_frames, height, _, _ = train.frames.shape
    return JudgeCard(
        dataset=description["set"],
        resolution=height,
        frames=n_frames,
        width=params.width,
        feature_dim=params.feature_dim,
        in_play=in_play,
        metrics=metrics,
        vocabulary=vocabulary,
    )
