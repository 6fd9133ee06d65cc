"""Evaluated samples on disk: what `evaluate` keeps for people to look at and the report plays.

evaluations/<model>/samples.parquet holds them as rows of a shard: the split is the kind of prompt, the attributes are
the sample's facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from pipeline.data.gif import decode_gif
from pipeline.data.shards import Row, read_shard, write_shard

Role = Literal["given", "real", "model", "failure"]


@dataclass(frozen=True)
class SampleScores:
    """The judge's verdict on a sample."""

    right: bool  # every attribute that the caption names
    wrong: tuple[str, ...]  # names of the attributes that are not
    reading: dict[str, str]  # the attributes as read


@dataclass(frozen=True)
class Sample:
    """One clip of an evaluation, by a model or real."""

    kind: str  # of prompt: seen | held_out | reworded | unsaid | trained | given | contradicted | rollout
    index: int  # of the prompt within its kind
    role: Role  # given: first frames of a sample; real: the prompt's clip; failure: a wrong sample beyond the showcase
    take: int  # 0, 1 … of the same prompt by other seeds
    seed: int
    caption: str
    gif: bytes
    n_frames: int
    fps: float
    source: str  # the model's family; of a real clip its key
    scores: SampleScores | None = None  # None: of a real clip, and where nothing scores
    wanted: dict[str, Any] = field(default_factory=dict)  # the true attributes of the prompt's clip

    @property
    def is_first_take(self) -> bool:
        return self.role == "model" and self.take == 0

    def frames(self) -> np.ndarray:
        """uint8 (n_frames, H, W, 3)."""
        return decode_gif(self.gif, self.n_frames)

    def to_row(self) -> Row:
        facts: dict[str, Any] = {
            "kind": self.kind,
            "index": self.index,
            "role": self.role,
            "take": self.take,
            "seed": self.seed,
            "wanted": self.wanted,
            "right": None if self.scores is None else self.scores.right,
            "wrong": [] if self.scores is None else list(self.scores.wrong),
            "reading": {} if self.scores is None else self.scores.reading,
        }
        key = f"{self.kind}/{self.index:05d}/{self.role}-{self.take}"
        return Row(key, self.kind, (self.caption,), self.n_frames, self.fps, self.gif, self.source, facts)

    @classmethod
    def from_row(cls, row: Row) -> Sample:
        """Also of files written before a sample named its take, which then stands in its key alone."""
        facts = row.attributes
        scores = None
        if facts.get("right") is not None:
            scores = SampleScores(facts["right"], tuple(facts.get("wrong", ())), facts.get("reading", {}))
        return cls(
            kind=facts["kind"],
            index=facts["index"],
            role=facts["role"],
            take=facts["take"] if "take" in facts else int(row.key.rpartition("-")[2]),
            seed=facts["seed"],
            caption=row.captions[0],
            gif=row.gif,
            n_frames=row.n_frames,
            fps=row.fps,
            source=row.source,
            scores=scores,
            wanted=facts.get("wanted", {}),
        )


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write a samples file, whole or not at all."""
    write_shard(path, [sample.to_row() for sample in samples])


def read_samples(file: Path | IO[bytes]) -> Iterator[Sample]:
    """The samples of a file, in order."""
    return map(Sample.from_row, read_shard(file))
