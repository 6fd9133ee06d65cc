"""The clips that the page plays: prompts by kind with every model's samples, and galleries of failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.evaluation import ReportParams
from pipeline.data.samples import Role, Sample
from pipeline.report.gather import ModelResult
from pipeline.report.pictures import Strip, film_strip

KINDS = {
    "seen": "Seen",
    "held_out": "Held out",
    "reworded": "Reworded",
    "unsaid": "Unsaid",
    "trained": "Trained on",
}
KIND_ABOUT = {
    "seen": "combinations that occur in training, on new clips",
    "held_out": "combinations that never occur in training",
    "reworded": "sentences of a form that never occurs in training",
    "unsaid": "captions that leave attributes out, which may then be any",
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
        shown = [[each for each in model.samples if each.kind == kind and each.role != "failure"] for model in models]
        indices = sorted({sample.index for samples in shown for sample in samples})
        prompts = [_prompt(models, shown, index, report.seeds) for index in indices[: report.prompts]]
        if prompts:
            kinds.append(Kind(kind, name, KIND_ABOUT[kind], name.lower(), prompts))
    return kinds


def first_samples(model: ModelResult, kind: str, role: Role) -> dict[int, Sample]:
    """The first sample (or the real clip) of each prompt of a kind, by the prompt's number."""
    return {each.index: each for each in model.samples if (each.kind, each.role, each.take) == (kind, role, 0)}


def galleries(models: Sequence[ModelResult], limit: int) -> Iterator[Gallery]:
    """Each model's first failures outside the showcase, up to `limit` of each kind of prompt."""
    for model in models:
        clips, counted = [], []
        for kind, name in KINDS.items():
            failed = [each for each in model.samples if (each.kind, each.role) == (kind, "failure")]
            clips += [playing(sample, model.label) for sample in failed[:limit]]
            if f"{kind}.failures" in model.metrics:
                counted.append(
                    f"{model.metrics[f'{kind}.failures']} of {model.metrics[f'{kind}.clips']} {name.lower()}"
                )
        if clips:
            yield Gallery(model.label, f"failed: {', '.join(counted)}" if counted else "", clips)


def longest(kinds: Sequence[Kind]) -> int:
    """Frames of the longest clip."""
    prompts = [prompt for kind in kinds for prompt in kind.prompts]
    clips = [clip for prompt in prompts for column in prompt.columns for clip in column.clips]
    clips += [prompt.real for prompt in prompts if prompt.real]
    return max((clip.strip.frames for clip in clips), default=1)


def _prompt(models: Sequence[ModelResult], shown: Sequence[Sequence[Sample]], index: int, seeds: int) -> Prompt:
    of_prompt = [[sample for sample in samples if sample.index == index] for samples in shown]
    real = next((sample for samples in of_prompt for sample in samples if sample.role == "real"), None)
    columns = []
    for colour, (model, samples) in enumerate(zip(models, of_prompt, strict=True)):
        clips = [playing(sample, model.label) for sample in samples if sample.role == "model"][:seeds]
        columns.append(Column(model.label, colour, clips))
    caption = next(sample.caption for samples in of_prompt for sample in samples)
    failures = sum(clip.right is False for column in columns for clip in column.clips)
    return Prompt(caption, playing(real) if real else None, columns, failures)


def reading_in_words(reading: Mapping[str, str]) -> str:
    """The oracle's reading, for a line under a clip; of many things only their number."""
    things = max((value.count(" and ") + 1 for value in reading.values()), default=0)
    if things > MOST_THINGS:
        return f"{things} things"
    named = sorted(reading, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return "nothing clear" if "nothing" in reading else ", ".join(reading[name] for name in named)


def playing(sample: Sample, label: str = "Real clip") -> PlayingClip:
    """A stored sample as the page plays it."""
    real, scores = sample.role in ("real", "given"), sample.scores
    wrong = ", ".join(name.replace("_", " ") for name in scores.wrong) if scores else ""
    verdict = "" if scores is None else ", right" if scores.right else f", wrong: {wrong}"
    return PlayingClip(
        strip=film_strip(sample.frames(), sample.fps),
        alt=f"{label}: {sample.caption}{verdict}",
        caption=sample.caption,
        kind=sample.kind,
        right=scores.right if scores and not real else None,
        wrong=wrong,
        reading=reading_in_words(scores.reading) if scores else "",
        note="" if real else f"seed {sample.seed}",
    )
