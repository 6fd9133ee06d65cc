"""The clips that the page plays: prompts by kind with every model's samples, and galleries of failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.params import ReportParams
from pipeline.data.shards import Row
from pipeline.report.gather import ModelResult
from pipeline.report.pictures import Strip, film_strip

KINDS = {"seen": "Seen", "held_out": "Held out", "reworded": "Reworded", "trained": "Trained on"}
KIND_ABOUT = {
    "seen": "combinations that occur in training, on new clips",
    "held_out": "combinations that never occur in training",
    "reworded": "sentences of a form that never occurs in training",
    "trained": "captions of training clips: what is remembered of them",
}

MOST_THINGS = 3  # described one by one
ORDER = ("size", "colour", "shape", "digit", "motion", "speed")  # as a sentence names them


@dataclass(frozen=True)
class PlayingClip:
    """One clip with what the oracle read in it. `right` is None where nothing was asked or read."""

    strip: Strip
    alt: str
    caption: str
    kind: str
    right: bool | None
    wrong: str
    reading: str
    note: str


@dataclass(frozen=True)
class Column:
    """A model's clips of one prompt."""

    label: str
    colour: int
    clips: list[PlayingClip]


@dataclass(frozen=True)
class Prompt:
    """A caption, its real clip, and a column a model."""

    caption: str
    real: PlayingClip | None
    columns: list[Column]
    failures: int


@dataclass(frozen=True)
class Kind:
    """The prompts of one kind."""

    id: str
    name: str
    about: str
    tag: str
    prompts: list[Prompt]


@dataclass(frozen=True)
class Gallery:
    """A model's failures."""

    label: str
    about: str
    clips: list[PlayingClip]


def sample_kinds(models: Sequence[ModelResult], report: ReportParams) -> list[Kind]:
    """Prompts by kind; each with its real clip and every model's samples."""
    kinds = []
    for kind, name in KINDS.items():
        indices = sorted({row.attributes["index"] for model in models for row in _showcase(model, kind)})
        prompts = [_prompt(models, kind, index, report.seeds) for index in indices[: report.prompts]]
        if prompts:
            kinds.append(Kind(kind, name, KIND_ABOUT[kind], name.lower(), prompts))
    return kinds


def first_samples(model: ModelResult, kind: str, role: str) -> dict[int, Row]:
    """The first sample (or the real clip) of each prompt of a kind, by the prompt's number."""
    return {
        row.attributes["index"]: row
        for row in model.samples
        if (row.split, row.attributes["role"]) == (kind, role) and row.key.endswith("-0")
    }


def galleries(models: Sequence[ModelResult], limit: int) -> Iterator[Gallery]:
    """Each model's first failures outside the showcase, up to `limit` of each kind of prompt."""
    for model in models:
        clips, counted = [], []
        for kind, name in KINDS.items():
            rows = [row for row in model.samples if (row.split, row.attributes["role"]) == (kind, "failure")]
            clips += [playing(row, model.label) for row in rows[:limit]]
            if f"{kind}.failures" in model.metrics:
                failed, total = (model.metrics[f"{kind}.{key}"] for key in ("failures", "clips"))
                counted.append(f"{failed} of {total} {name.lower()}")
        if clips:
            yield Gallery(model.label, "failed: " + ", ".join(counted), clips)


def longest(kinds: Sequence[Kind]) -> int:
    """Frames of the longest clip."""
    prompts = [prompt for kind in kinds for prompt in kind.prompts]
    clips = [clip for prompt in prompts for column in prompt.columns for clip in column.clips]
    clips += [prompt.real for prompt in prompts if prompt.real]
    return max((clip.strip.frames for clip in clips), default=1)


def _showcase(model: ModelResult, kind: str) -> list[Row]:
    return [row for row in model.samples if row.attributes["kind"] == kind and row.attributes["role"] != "failure"]


def _prompt(models: Sequence[ModelResult], kind: str, index: int, seeds: int) -> Prompt:
    columns, real, caption = [], None, ""
    for colour, model in enumerate(models):
        rows = [row for row in _showcase(model, kind) if row.attributes["index"] == index]
        real = real or next((playing(row) for row in rows if row.attributes["role"] == "real"), None)
        caption = caption or next((row.captions[0] for row in rows), "")
        clips = [playing(row, model.label) for row in rows if row.attributes["role"] == "model"][:seeds]
        columns.append(Column(model.label, colour, clips))
    failures = sum(clip.right is False for column in columns for clip in column.clips)
    return Prompt(caption, real, columns, failures)


def _in_words(reading: Mapping[str, str]) -> str:
    """What the oracle read, for a line under a clip; of many things only their number."""
    things = max((value.count(" and ") + 1 for value in reading.values()), default=0)
    if things > MOST_THINGS:
        return f"{things} things"
    named = sorted(reading, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return "nothing clear" if "nothing" in reading else ", ".join(reading[name] for name in named)


def playing(row: Row, label: str = "Real clip") -> PlayingClip:
    """A stored sample as the page plays it."""
    facts = row.attributes
    real = facts["role"] == "real"
    wrong = ", ".join(key.replace("_", " ") for key in facts.get("wrong", ()))
    verdict = {True: ", right", False: f", wrong: {wrong}", None: ""}[facts.get("right")]
    return PlayingClip(
        strip=film_strip(row.frames(), row.fps),
        alt=f"{label}: {row.captions[0]}{verdict}",
        caption=row.captions[0],
        kind=row.split,
        right=None if real else facts.get("right"),
        wrong=wrong,
        reading=_in_words(facts.get("reading", {})),
        note="" if real else f"seed {facts['seed']}",
    )
