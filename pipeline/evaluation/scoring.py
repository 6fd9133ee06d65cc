"""Samples in a judge's hands: read, marked against what was asked, and against what was not asked (the control)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.data.frames import to_rgb
from pipeline.evaluation.metrics import Marks, attribute_shares, derangement, exact_chance, flat_marks, wilson
from pipeline.evaluation.prompts import PromptSet, Samples
from pipeline.judge.judge import Judge
from pipeline.judge.oracles.reading import Reading

WORD_FIELDS = ("shape", "colour", "colour_to", "size", "digit", "motion", "speed")  # what of a thing decides its marks


@dataclass(frozen=True)
class Answers:
    """A model's samples for one set of prompts, with their marks where the set has attributes."""

    prompts: PromptSet
    samples: Samples
    readings: list[Reading]
    marks: list[Marks]


def has_attributes(prompts: PromptSet) -> bool:
    return bool(prompts.attributes[0].get("objects"))


def read_clips(judge: Judge, frames: np.ndarray) -> list[Reading]:
    """What each of uint8 (N, F, H, W, C) shows."""
    return [judge.read(clip) for clip in tqdm(to_rgb(frames), desc="read clips", disable=None)]


def mark_clips(judge: Judge, readings: Sequence[Reading], attributes: Sequence[Mapping[str, Any]]) -> list[Marks]:
    return [mark(judge, reading, wanted) for reading, wanted in zip(readings, attributes, strict=True)]


def mark(judge: Judge, reading: Reading, attributes: Mapping[str, Any]) -> Marks:
    """A reading against the attributes that were asked for."""
    return judge.score_reading(reading, attributes)


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
        answered.readings,
        attributes,
        partial(mark, judge),
        reading_key=reading_key,
        wanted_key=attributes_key,
    )
    return flat | {f"caption_shuffle.{name}_chance": value for name, value in chance.items()}


def _is_share(key: str, sheet: Marks) -> bool:
    name = key.partition(".")[2].removesuffix("_low").removesuffix("_high")
    return isinstance(sheet.get(name), bool)


def speed_between_real(attributes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What the speeds of two real clips differ by that the same words describe: a caption says no more than that.

    The mean of |a - b| / b over all ordered pairs of single-object clips of one motion and speed word; a model that
    only reads its caption has this speed error when it draws as the set does.
    """
    alike: defaultdict[tuple[Any, Any], list[float]] = defaultdict(list)
    for each in attributes:
        thing = each["objects"][0]
        if len(each["objects"]) == 1 and thing["speed_px"] > 0.0:
            alike[thing["motion"], thing.get("speed")].append(thing["speed_px"])
    total, pairs = 0.0, 0
    for speeds in (np.array(group) for group in alike.values()):
        total += float((np.abs(speeds[:, None] - speeds) / speeds).sum())
        pairs += len(speeds) * (len(speeds) - 1)
    return {"real_pairs.speed_error": total / pairs} if pairs else {}


def reading_key(reading: Reading) -> tuple[Any, ...]:
    """What of a reading decides its marks."""
    things = sorted(str(tuple(getattr(thing, name) for name in WORD_FIELDS)) for thing in reading.objects)
    return reading.count, reading.background, *things


def attributes_key(attributes: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a clip's attributes decides a reading's marks."""
    things = sorted(str(tuple(thing.get(name) for name in WORD_FIELDS)) for thing in attributes["objects"])
    return attributes.get("background"), *things


def in_words(reading: Reading) -> dict[str, str]:
    """A reading as the report says it: attribute to words, several things joined by "and"."""
    said: dict[str, str] = {}
    for name in ("colour", "shape", "digit", "size", "motion", "speed"):
        values = [getattr(thing, name) for thing in reading.objects]
        if any(value not in (None, "unclear") for value in values):
            said[name] = " and ".join(str(value) for value in values)
    return said or {"nothing": "clear"}
