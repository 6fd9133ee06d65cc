"""Splits of clips into training and held back: by what the captions say, by names, or by a hash.

A split is told by, in this order: the captions' own column; MSR-VTT's ids; the name of the captions' file; the folder
of the clip. Test never lands in train: where two things of one rank differ, the more held back counts. Kin (a group)
stand on one side.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

SPLITS = ("train", "validate", "reworded", "held_out", "test")  # the most held back last
OTHER_NAMES = {
    **{"training": "train", "val": "validate", "valid": "validate", "validation": "validate", "dev": "validate"},
    **{"testing": "test"},
}
LEAST_SEEN = 2  # combinations that each value keeps in train
VALIDATE_SHARE = 0.1  # of clips that come without a validation split
MSRVTT_ID = re.compile(r"video(0|[1-9][0-9]{0,3})")
MSRVTT_VALIDATE, MSRVTT_TEST = 6513, 7010  # first ids of its official splits

Combination = tuple[Any, ...]


@dataclass(frozen=True)
class Splits:
    """The split of each clip, and the rule in words."""

    of: dict[str, str]
    rule: str
    held_out: tuple[Combination, ...] = ()  # combinations of attributes that train never has


@dataclass(frozen=True)
class HoldOut:
    """The combinations of attributes kept from training."""

    columns: tuple[str, ...]
    share: float  # of the combinations
    seed: int


def split_named(word: object) -> str | None:
    """The official name of a split, however it is written; None where it is none."""
    name = str(word).strip().lower()
    return name if name in SPLITS else OTHER_NAMES.get(name)


def split_told_by(path: str) -> str | None:
    """The split that a file's name or else its nearest folder tells, such as msrvtt_test_1k.json or TestVideo/x.mp4."""
    pure = PurePosixPath(path)
    for part in (pure.stem, *reversed(pure.parts[:-1])):
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", part)
        told = {split for word in words if (split := split_named(word))}
        if len(told) == 1:
            return told.pop()
        if told:
            return None  # train_val_annotation
    return None


def more_held_back(first: str | None, second: str) -> str:
    return second if first is None else max(first, second, key=SPLITS.index)


def official_split(key: str) -> str:
    """MSR-VTT's, by the number in its id."""
    number = int(key.removeprefix("video"))
    return "train" if number < MSRVTT_VALIDATE else "validate" if number < MSRVTT_TEST else "test"


def split_by_hash(keys: Iterable[str], groups: Mapping[str, str] | None = None) -> dict[str, str]:
    """One clip in ten, at least one of two, to validate: by a hash of its key, the same on each machine.

    With `groups` (key to group), whole groups in the order of their hashes, as many as fit.
    """
    kin: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        kin[groups[key] if groups else key].append(key)
    n_clips = sum(map(len, kin.values()))
    room = max(1, int(n_clips * VALIDATE_SHARE))
    chosen: set[str] = set()
    for name in sorted(kin, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(kin) > 1 and len(kin[name]) <= room:
            chosen.add(name)
            room -= len(kin[name])
    if not chosen and len(kin) > 1:
        chosen.add(min(kin, key=lambda name: (len(kin[name]), name)))
    return {key: "validate" if name in chosen else "train" for name, members in kin.items() for key in members}


@dataclass(frozen=True)
class Told:
    """A rule of splits: `rule` in words, and the split by clip key."""

    rule: str
    of: Mapping[str, str]
    is_sure: bool = True  # a name alone is not: one that leaves nothing to train on counts for nothing


def split_clips(keys: Collection[str], told: Iterable[Told], groups: Mapping[str, str] | None = None) -> Splits:
    """Each clip's split by the first of `told` that names it; the rest train, and one in ten of them validates.

    Raises ValueError where a group of `groups` (key to group) has clips on both sides.
    """
    of: dict[str, str] = {}
    rules: list[str] = []
    for one in told:
        new = {key: one.of[key] for key in keys if key in one.of and key not in of}
        both = {**of, **new}
        leaves_train = len(both) < len(keys) or "train" in both.values()
        if new and (one.is_sure or leaves_train):
            of, rules = both, [*rules, one.rule]
    free = [key for key in keys if of.get(key, "train") == "train"]
    if "validate" in of.values():
        of = {key: of.get(key, "train") for key in keys}
    else:
        of = {**of, **split_by_hash(free, groups)}
        rules.append("validate by hash" if rules else "by hash")
    _refuse_parted_kin(of, groups or {})
    return Splits({key: of[key] for key in keys}, ", ".join(rules))


def _refuse_parted_kin(of: Mapping[str, str], groups: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    parted = {groups[key] for key in groups if of[first.setdefault(groups[key], key)] != of[key]}
    if parted:
        group = min(parted)
        clips = {of[key]: key for key in groups if groups[key] == group}
        where = ", ".join(f"{key} in {split}" for split, key in sorted(clips.items()))
        raise ValueError(
            f"transcode.group: {len(parted)} groups have clips in several of the splits that the captions name, such "
            f"as {group!r} ({where}); take the split column away, or set transcode.group to null"
        )


def hold_out_combinations(
    keys: Collection[str], attributes: Mapping[str, Mapping[str, Any]], how: HoldOut
) -> dict[Combination, list[str]]:
    """The clips of each combination that is held out, in the order of a seeded hash, the same on each machine.

    Each value stays in train in LEAST_SEEN combinations at least, and loses no more than its share of them, so fewer
    than the share may be found. Raises ValueError where none is.
    """
    combinations: dict[Combination, list[str]] = defaultdict(list)
    for key in keys:
        own = attributes.get(key, {})
        if all(column in own for column in how.columns):
            combinations[tuple(own[column] for column in how.columns)].append(key)
    totals = Counter(value for combination in combinations for value in enumerate(combination))
    lost: Counter[tuple[int, Any]] = Counter()
    held: dict[Combination, list[str]] = {}

    def is_spare(value: tuple[int, Any]) -> bool:
        return totals[value] - lost[value] > LEAST_SEEN and lost[value] < math.ceil(how.share * totals[value])

    for combination in sorted(combinations, key=lambda one: hashlib.sha256(f"{how.seed} {one}".encode()).digest()):
        if len(held) < round(how.share * len(combinations)) and all(map(is_spare, enumerate(combination))):
            held[combination] = combinations[combination]
            lost.update(enumerate(combination))
    if not held:
        raise ValueError(
            f"transcode.hold_out={list(how.columns)}: {len(combinations)} combinations, of which none can be held out "
            f"at hold_out_share={how.share:g}, as each value keeps {LEAST_SEEN} in train; columns beside the captions: "
            f"{_columns(keys, attributes)}"
        )
    return held


def _columns(keys: Iterable[str], attributes: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(column for key in keys for column in attributes.get(key, {}))) or "none"


def group_clips(keys: Collection[str], attributes: Mapping[str, Mapping[str, Any]], group: str) -> dict[str, str]:
    """Key to group: by a regex on keys where `group` has a (group) in it, else by the attribute of this name.

    A clip that has none is alone. Raises ValueError where no clip has one.
    """
    if "(" in group:
        found = {key: match for key in keys if (match := re.search(group, key))}
        names = {key: "/".join(part or "" for part in match.groups()) for key, match in found.items()}
        hint = f"this regex finds nothing in keys such as {next(iter(keys), '')!r}"
    else:
        names = {key: str(attributes[key][group]) for key in keys if group in attributes.get(key, {})}
        hint = f"no column of this name beside the captions (columns: {_columns(keys, attributes)})"
    if not names:
        raise ValueError(f"transcode.group={group}: {hint}; a regex on keys has a (group) in it")
    return {key: f"{group} {names[key]}" if key in names else key for key in keys}
