"""The head of the page: a sentence a model, its main numbers, a chart, and what a reader must know before the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipeline.report.figures import Dot, DotRow, dot_chart
from pipeline.report.gather import ModelResult, Run
from pipeline.report.samples import KINDS

TILES = (  # name, key of the metrics file, style
    ("Seen prompts", "seen.joint", "percent"),
    ("Held out", "held_out.joint", "percent"),
    ("Reworded", "reworded.joint", "percent"),
    ("Unsaid, clean", "unsaid.clean", "percent"),
    ("Recall at 1", "retrieval.r1", "percent"),
    ("Recall at 10", "retrieval.r10", "percent"),
    ("Trained on", "trained.own_clip", "percent"),
    ("Fréchet ratio", "frechet.ratio", "number"),
    ("Network evaluations a clip", "evaluations_per_clip", "number"),
)
NEAREST = 10  # clips among which recall at 10 looks


@dataclass(frozen=True)
class Statement:
    """A model's result in words."""

    label: str
    text: str
    colour: int


def headline(run: Run, compared: bool) -> str:
    """The page's title."""
    if compared:
        return "Two runs, side by side"
    best = max(run.models, key=lambda model: float(model.metrics.get("seen.joint", 0.0)))
    if "seen.joint" not in best.metrics:
        return "Text to video, trained from scratch"
    return f"{best.metrics['seen.joint']:.1%} of seen prompts come out entirely right"


def statements(models: Sequence[ModelResult]) -> list[Statement]:
    """One sentence a model, in words."""
    return [Statement(model.label, _sentence(model.metrics), index) for index, model in enumerate(models)]


def _sentence(m: Mapping[str, Any]) -> str:
    if "seen.joint" not in m:
        return _retrieval_sentence(m) if "retrieval.r10" in m else "was measured by distances only."
    parts = [f"draws everything that the prompt asks for in {m['seen.joint']:.1%} of seen prompts"]
    if "held_out.joint" in m:
        parts.append(f"{m['held_out.joint']:.1%} of combinations it never saw")
    if "reworded.joint" in m:
        parts.append(f"{m['reworded.joint']:.1%} in wordings it never read")
    said = ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"{said}. Scored against other captions, the same clips reach {m['caption_shuffle.joint']:.1%}."


def _retrieval_sentence(m: Mapping[str, Any]) -> str:
    prompts = m["retrieval.clips"]
    if prompts == 1:
        return "was asked for one clip only: there is nothing to rank."
    if prompts <= NEAREST:
        return (
            f"was asked for {prompts} clips only, too few to look among the ten nearest. "
            f"Its caption's clip comes first in {m['retrieval.r1']:.0%}, by chance in {1 / prompts:.0%}."
        )
    return (
        f"puts its caption's clip among the ten nearest in {m['retrieval.r10']:.0%} of {prompts} prompts, "
        f"against {m['retrieval.r10_shuffled']:.0%} with shuffled captions."
    )


def tiles(models: Sequence[ModelResult]) -> list[tuple[str, str, str]]:
    """Name, key and style of each number that says something for these models."""
    few = any(1 <= model.metrics.get("retrieval.clips", 0) <= NEAREST for model in models)
    return [tile for tile in TILES if not (few and tile[1] == "retrieval.r10")]


def overview_chart(models: Sequence[ModelResult]) -> Markup:
    """Joint accuracy by kind of prompt, with real clips and other captions as marks."""
    rows = [
        DotRow(name, dots, _marks(models[0].metrics, "joint"))
        for kind, name in KINDS.items()
        if (dots := _dots(models, f"{kind}.joint"))
    ]
    return dot_chart("All attributes right", rows) if rows else Markup("")


def _marks(metrics: Mapping[str, Any], attribute: str) -> tuple[tuple[str, float], ...]:
    named = (("real clips", f"oracle_on_real.{attribute}"), ("other captions", f"caption_shuffle.{attribute}"))
    return tuple((name, float(metrics[key])) for name, key in named if key in metrics)


def _dots(models: Sequence[ModelResult], key: str) -> tuple[Dot, ...]:
    return tuple(
        Dot(model.label, model.metrics[key], model.metrics[f"{key}_low"], model.metrics[f"{key}_high"], colour)
        for colour, model in enumerate(models)
        if key + "_low" in model.metrics
    )


def repeats_note(runs: Sequence[Run]) -> str:
    """A sentence where validation clips repeat training clips: each figure measured on them is flattered."""
    sentences = []
    for run in runs:
        if any(run.repeats.values()):
            prefix = f"{run.name}: of" if len(runs) > 1 else "Of"
            sentences.append(
                f"{prefix} {run.validation_clips:,} validation clips {run.repeats['exact']:,} repeat a training clip "
                f"and {run.repeats['near']:,} nearly do: what is measured on them is flattered."
            )
    return " ".join(sentences)
