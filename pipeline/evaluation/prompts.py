"""Prompts of each kind, with the real clips they describe: what a model is asked."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice, tee
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.data.frames import even_indices
from pipeline.data.shards import Row, read_rows, read_set
from pipeline.judge.oracles.world.score import kind_of
from pipeline.model_io.clip_dataset import keep_known, split_names, validation_split
from pipeline.model_io.clip_decoding import ClipShape, fit_clip
from pipeline.model_io.model_card import ModelCard

log = logging.getLogger("t2v")

GENERATED = {"seen": "val", "held_out": "held_out", "reworded": "reworded"}  # split of each kind
TAKE_APART = 100_000  # between the seeds of two takes


class Sized(Protocol):
    """Anything that says how long and how large clips are, as a model's card does."""

    @property
    def frames(self) -> int: ...

    @property
    def resolution(self) -> int: ...


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one kind; row i of `real` is the clip that prompt i was written for, in the model's shape."""

    kind: str
    captions: list[str]
    attributes: list[dict[str, Any]]
    keys: list[str]
    real: np.ndarray  # uint8 (N, F, H, W, 3)
    first_seed: int
    split: str = ""  # of the clips; empty: of none alone

    def __len__(self) -> int:
        return len(self.captions)

    def seeds(self, take: int = 0) -> list[int]:
        """One per prompt; another take has other seeds."""
        return [self.first_seed + index + take * TAKE_APART for index in range(len(self))]

    def first(self, count: int) -> PromptSet:
        return PromptSet(
            self.kind,
            self.captions[:count],
            self.attributes[:count],
            self.keys[:count],
            self.real[:count],
            self.first_seed,
            self.split,
        )


@dataclass(frozen=True)
class KindRows:
    """The clips whose captions are the prompts of one kind."""

    kind: str
    split: str
    rows: list[Row]

    @property
    def captions(self) -> list[str]:
        """The prompts: of each clip one of its captions, the first, the second … by turns."""
        return [row.captions[index % len(row.captions)] for index, row in enumerate(self.rows)]


def load_prompts(
    shards: Path,
    card: ModelCard,
    *,
    count: int,
    seed: int,
    known: Container[str] | None = None,  # captions that have vectors; None: the model needs none
) -> list[PromptSet]:
    """`find_prompts` with their real clips, as the model would make them."""
    return [_prompt_set(each, card, seed) for each in find_prompts(shards, card.dataset, count=count, known=known)]


def find_prompts(shards: Path, dataset: str, *, count: int, known: Container[str] | None = None) -> list[KindRows]:
    """The first `count` clips of each kind's split that have a known caption, validation clips first.

    Of a set with kinds of scene, the first `count` of each kind of scene.

    A kind without such clips is left out; ValueError where none is left.
    """
    found = []
    for kind, split in _split_of_kind(shards, dataset).items():
        rows = _rows_of(kind, split, shards, count, known)
        if len(rows) < count:
            log.info("%s: %d of the %d prompts asked for: the split %s holds no more", kind, len(rows), count, split)
        if rows:
            found.append(KindRows(kind, split, rows))
    if not found:
        raise ValueError(
            f"{shards}: no clip to judge {dataset} by: no validation split has clips with a caption that could be "
            "embedded; make more clips, or raise embed.max_tokens"
        )
    return found


def _split_of_kind(shards: Path, dataset: str) -> dict[str, str]:
    """Kinds of prompts in order, with the splits that they come from.

    Of own clips with combinations held out, seen are the validation clips of a combination that train has or, where
    none has one, train clips.
    """
    if dataset != "videos":
        return GENERATED
    names = split_names(shards)
    validation = validation_split(names)
    if "held_out" not in names:
        return ({"seen": validation} if validation else {}) | {"trained": "train"}
    if validation and any(_is_seen(shards, read_rows(shards, validation))):
        return {"seen": validation, "held_out": "held_out", "trained": "train"}
    return {"seen": "train", "held_out": "held_out"}


def _rows_of(kind: str, split: str, shards: Path, count: int, known: Container[str] | None) -> list[Row]:
    """The first rows; of a train split that stands for the seen combinations, rows from all over it."""
    rows = keep_known(read_rows(shards, split), known)
    if kind != "seen" or not read_set(shards).get("held_out_columns"):
        return list(islice(rows, count)) if "kinds" not in read_set(shards) else first_of_each(rows, count)
    if split != "train":
        rows, again = tee(rows)
        return list(islice(compress(rows, _is_seen(shards, again)), count))
    every = list(rows)
    return [every[place] for place in even_indices(len(every), count)] if len(every) > count else every


def first_of_each(rows: Iterable[Row], count: int) -> list[Row]:
    """The first `count` rows of each kind of scene, in order."""
    taken: Counter[str] = Counter()
    found = []
    for row in rows:
        name = kind_of(row.attributes)
        if taken[name] < count:
            taken[name] += 1
            found.append(row)
    return found


def _is_seen(shards: Path, rows: Iterable[Row]) -> Iterator[bool]:
    """Of each row, whether train has its combination of what is held out."""
    columns = read_set(shards)["held_out_columns"]
    in_train = {_combination(row, columns) for row in read_rows(shards, "train")}
    return (_combination(row, columns) in in_train for row in rows)


def _combination(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row.attributes.get(column) for column in columns)


def _prompt_set(found: KindRows, card: ModelCard, seed: int) -> PromptSet:
    return PromptSet(
        found.kind,
        found.captions,
        [row.attributes for row in found.rows],
        [row.key for row in found.rows],
        real_clips(found.rows, card),
        seed,
        found.split,
    )


def real_clips(rows: Sequence[Row], card: Sized) -> np.ndarray:
    """uint8 (N, F, H, W, 3): real clips as the model would make them, with its frames and resolution."""
    shape = ClipShape(card.frames, card.resolution, 3)
    clips = np.empty((len(rows), card.frames, card.resolution, card.resolution, 3), np.uint8)
    for number, row in enumerate(rows):
        clips[number] = fit_clip(row.frames(), shape)
    return clips
