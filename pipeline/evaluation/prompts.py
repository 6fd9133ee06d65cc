"""Prompts of each kind, with the real clips they describe: what a model is asked."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.shards import Row, read_rows
from pipeline.model_io.clip_dataset import keep_known, split_names, validation_split
from pipeline.model_io.clip_decoding import ClipShape, fit_clip
from pipeline.model_io.model_card import ModelCard

log = logging.getLogger("t2v")

GENERATED = {"seen": "val", "held_out": "held_out", "reworded": "reworded"}  # split of each kind
TAKE_APART = 100_000  # between the seeds of two takes


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one kind; row i of `real` is the clip that prompt i was written for, in the model's shape."""

    kind: str
    captions: list[str]
    attributes: list[dict[str, Any]]
    keys: list[str]
    real: np.ndarray  # uint8 (N, F, H, W, 3)
    first_seed: int

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
        )


def load_prompts(
    shards: Path,
    card: ModelCard,
    *,
    count: int,
    seed: int,
    known: Container[str] | None = None,  # captions that have vectors; None: the model needs none
) -> list[PromptSet]:
    """The first `count` clips of each kind's split that have a known caption, validation clips first.

    A kind without such clips is left out; ValueError where none is left.
    """
    sets = []
    for kind, split in _split_of_kind(shards, card.dataset).items():
        rows = list(islice(keep_known(read_rows(shards, split), known), count))
        if len(rows) < count:
            log.info("%s: %d of the %d prompts asked for: the split %s holds no more", kind, len(rows), count, split)
        if rows:
            sets.append(_prompt_set(kind, rows, card, seed))
    if not sets:
        raise ValueError(
            f"{shards}: no clip to judge {card.dataset} by: no validation split has clips with a caption that could be "
            "embedded; make more clips, or raise embed.max_tokens"
        )
    return sets


def _split_of_kind(shards: Path, dataset: str) -> dict[str, str]:
    """Kinds of prompts in order, with the splits that they come from."""
    if dataset != "videos":
        return GENERATED
    validation = validation_split(split_names(shards))
    return ({"seen": validation} if validation else {}) | {"trained": "train"}


def _prompt_set(kind: str, rows: Sequence[Row], card: ModelCard, seed: int) -> PromptSet:
    captions = [row.captions[index % len(row.captions)] for index, row in enumerate(rows)]
    return PromptSet(
        kind,
        captions,
        [row.attributes for row in rows],
        [row.key for row in rows],
        real_clips(rows, card),
        seed,
    )


def real_clips(rows: Sequence[Row], card: ModelCard) -> np.ndarray:
    """uint8 (N, F, H, W, 3): real clips as the model would make them, with its frames and resolution."""
    shape = ClipShape(card.frames, card.resolution, 3)
    clips = np.empty((len(rows), card.frames, card.resolution, card.resolution, 3), np.uint8)
    for number, row in enumerate(rows):
        clips[number] = fit_clip(row.frames(), shape)
    return clips
