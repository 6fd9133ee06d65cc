"""The set that prompts are of: its prompts by kind, what each says, and its real clips.

Everything comes from data/shards/<set> where the stages have made it by today's params. A drawn set can do without:
its clips are functions of params and number, so a fresh clone lists the same prompts. A sentence that no clip has is
read by the set's grammar.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.config.tree import Params
from pipeline.data.shards import Row, read_rows, read_set
from pipeline.evaluation.prompts import GENERATED, KindRows, find_prompts, first_of_each
from pipeline.generation.prompt_list import ListedPrompt
from pipeline.judge.oracles.world.score import OBJECTS, kind_of
from pipeline.marking.sentences import CaptionReader
from pipeline.model_io.clip_dataset import split_names
from pipeline.synthetic.combinations import key_of
from pipeline.synthetic.digits import load_digit_bank
from pipeline.synthetic.grammar import ObjectPhrase
from pipeline.synthetic.moving_digits import DigitsSet, digits_set
from pipeline.synthetic.shapes import ShapesSet, shapes_set

log = logging.getLogger("t2v")

KIND_OF_SPLIT = {"train": "seen", **{split: kind for kind, split in GENERATED.items()}}
# Of a clip's attributes, what no caption says: how it was drawn.
DRAWING = ("seed", "background_colours", "templates", "trajectory", "radius_px", "height_px", "width_px", "picture")


@dataclass(frozen=True)
class Said:
    """Meaning of a prompt, and its kind."""

    kind: str
    attributes: dict[str, Any]


class KnownSet:
    """The set that params name."""

    def __init__(self, params: Params, data: Path) -> None:
        """`data` holds shards/ and embeddings/. Raises ValueError where a set of real clips has none."""
        self.name, self.params = str(params.dataset), params
        self.drawn = _drawn_set(params)
        self.embeddings = data / f"embeddings/{self.name}.parquet"
        folder = data / "shards" / self.name
        self.folder = folder if (folder / "set.json").is_file() else None
        if self.drawn is None and self.folder is None:
            raise ValueError(f"{folder}: no clips of {self.name} there; run the stage that makes them (dvc repro)")
        told = {} if self.folder is None else read_set(self.folder)
        if self.drawn is not None:
            asked = self.drawn.description()
            if told and any(told.get(key) != value for key, value in asked.items() if key in told):
                log.warning("%s: drawn by other params than today's, so it is left out; dvc repro mends it", folder)
                self.folder, told = None, {}
            told = asked
        self.description = told
        self._drawn: dict[str, Row] = {}

    @property
    def is_drawn(self) -> bool:
        return self.drawn is not None

    @property
    def has_scenes(self) -> bool:
        """Whether clips are of several kinds of scene."""
        return "kinds" in self.description

    @property
    def frames(self) -> int:
        return int(self.description["frames"])

    @property
    def resolution(self) -> int:
        return int(self.description["resolution"])

    @property
    def fps(self) -> float:
        return float(self.description["fps"])

    @property
    def in_play(self) -> dict[str, list[Any]]:
        """Attribute values of a drawn set."""
        return self.description.get("attributes", {}) if self.is_drawn else {}

    def prompts(self, count: int) -> list[KindRows]:
        """The prompts that `evaluate` asks, by kind: the first `count` of each."""
        if self.folder is not None:
            known = _captions_of(self.embeddings) if self.embeddings.is_file() else None
            return find_prompts(self.folder, self.name, count=count, known=known)
        assert self.drawn is not None
        found = []
        for kind, split in GENERATED.items():
            rows = (self.drawn.row(split, index) for index in range(self._clips(split)))
            if self.has_scenes:
                of_kind = first_of_each(_until_full(rows, count, self._scenes), count)
            else:
                of_kind = list(islice(rows, count))
            found += [KindRows(kind, split, of_kind)] if of_kind else []
        return found

    def listed(self, count: int, seed: int) -> list[ListedPrompt]:
        """The same as lines of a list; `seed` is that of each kind's first clip."""
        return [
            ListedPrompt(row.key, caption, each.kind, seed + place, sayings(row))
            for each in self.prompts(count)
            for place, (row, caption) in enumerate(zip(each.rows, each.captions, strict=True))
        ]

    def say(self, prompt: ListedPrompt) -> Said | None:
        """Meaning of a prompt, by its own clip, by another one with this caption or by the grammar; None: unknown."""
        row = self._own_row(prompt) or self._captions.get(prompt.prompt)
        if row is not None:
            return Said(self._kind(row), sayings(row))
        return self._parsed(prompt.prompt) if self.drawn is not None else None

    def real(self, prompts: Sequence[ListedPrompt]) -> dict[str, Row]:
        """By name, the clips that prompts were written for; without those that are of no clip of the set."""
        own = {row.key: row for prompt in prompts if (row := self._own_row(prompt)) is not None}
        if self.folder is None or not own:
            return own
        return {row.key: row for row in self._every_row() if row.key in own}

    def scene_values(self, kind: str, name: str) -> list[Any]:
        """Values of an attribute among the clips of a kind of scene."""
        found = {row.attributes[name] for row in self._rows.values() if row.attributes.get("kind") == kind}
        return sorted(found, key=str)

    def _kind(self, row: Row) -> str:
        if self.is_drawn:
            return KIND_OF_SPLIT[row.split]
        return self._kinds.get(row.split, "seen")

    def _own_row(self, prompt: ListedPrompt) -> Row | None:
        """The clip of the prompt's name, if that is one of its captions; with its pixels where it is drawn here."""
        row = self._drawn_row(prompt.name) if self.folder is None else self._rows.get(prompt.name)
        return row if row is not None and prompt.prompt in row.captions else None

    def _drawn_row(self, key: str) -> Row | None:
        assert self.drawn is not None
        split, _, number = key.rpartition("-")
        if split not in GENERATED.values() or not number.isdecimal() or key != key_of(split, int(number)):
            return None
        if key not in self._drawn and int(number) < self._clips(split):
            self._drawn[key] = self.drawn.row(split, int(number))
        return self._drawn.get(key)

    def _clips(self, split: str) -> int:
        """Clips of a split of a drawn set, by params."""
        return int(getattr(getattr(self.params, self.name), f"{split}_clips"))

    @cached_property
    def _rows(self) -> dict[str, Row]:
        """Clips by key, without their pixels: of a set with a grammar those that prompts are taken from, else all."""
        return {row.key: replace(row, gif=b"") for row in self._every_row()}

    def _every_row(self) -> Iterator[Row]:
        """The same with their pixels."""
        if self.folder is not None:
            whole = not self.is_drawn or self.has_scenes  # scenes are known by their captions alone
            splits = split_names(self.folder) if whole else set(GENERATED.values())
            yield from (row for row in read_rows(self.folder) if row.split in splits)
            return
        assert self.drawn is not None
        for split in GENERATED.values():
            yield from (self.drawn.row(split, index) for index in range(self._clips(split)))

    @property
    def _scenes(self) -> set[str]:
        """Names of the kinds of scene, as figures are told by."""
        names = {kind_of({"kind": kind, "objects": []}) for kind in self.in_play["kind"] if kind != OBJECTS}
        numbers = self.in_play["objects"] if OBJECTS in self.in_play["kind"] else []
        return names | {kind_of({"objects": [{}] * number}) for number in numbers}

    @cached_property
    def _captions(self) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for row in self._rows.values():
            for caption in row.captions:
                found.setdefault(caption, row)
        return found

    @cached_property
    def _kinds(self) -> dict[str, str]:
        assert self.folder is not None
        return {each.split: each.kind for each in find_prompts(self.folder, self.name, count=1)}

    @cached_property
    def _sayings(self) -> dict[ObjectPhrase, dict[str, Any]]:
        assert self.drawn is not None
        return self.drawn.sayings()

    @cached_property
    def _reader(self) -> CaptionReader:
        assert self.drawn is not None
        backgrounds = self.in_play.get("background", [])
        told = list(backgrounds) if len(backgrounds) > 1 else [None]
        return CaptionReader(self.drawn.grammar, list(self._sayings), told)

    def _parsed(self, caption: str) -> Said | None:
        meaning = self._reader.read(caption)
        if meaning is None:
            return None
        things = [{"speed": None, "speed_px": 0.0, **self._sayings[phrase]} for phrase in meaning.phrases]
        held_out = {tuple(map(str, each)) for each in self.description["held_out"]}
        names = ("shape", "colour", "motion") if self.name == "shapes" else ("digit", "motion")
        is_new = any(tuple(str(thing[name]) for name in names) in held_out for thing in things)
        kind = "held_out" if is_new else "reworded" if meaning.reworded else "seen"
        background = meaning.background or next(iter(self.in_play.get("background", ["black"])))
        told = {"kind": "objects"} if self.has_scenes else {}
        return Said(kind, {"set": self.name, **told, "background": background, "objects": things})


def _until_full(rows: Iterable[Row], count: int, scenes: Iterable[str]) -> Iterator[Row]:
    """Rows up to the one with which each kind of scene has `count`: what comes then need not be drawn."""
    left = dict.fromkeys(scenes, count)
    for row in rows:
        yield row
        name = kind_of(row.attributes)
        left[name] -= 1
        if left[name] == 0 and max(left.values()) <= 0:
            return


def _drawn_set(params: Params) -> ShapesSet | DigitsSet | None:
    if params.dataset == "shapes":
        return shapes_set(params.shapes)
    if params.dataset == "moving_mnist":
        return digits_set(params.moving_mnist, load_digit_bank(params.moving_mnist))
    return None


def _captions_of(table: Path) -> set[str]:
    """The captions that have vectors."""
    return set(pq.read_table(table, columns=["caption"])["caption"].to_pylist())


def sayings(row: Row) -> dict[str, Any]:
    """Meaning of a clip's captions, with its true speed, as a list publishes it."""
    if "objects" not in row.attributes:
        return dict(row.attributes)
    things = [{**_said(thing), "frames": row.n_frames} for thing in row.attributes["objects"]]
    return {**_said(row.attributes), "objects": things}


def _said(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in DRAWING}
