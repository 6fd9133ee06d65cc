"""The report: one HTML file with everything inside, for a run or for two runs side by side.

Template, style and script are files beside this one; clips go in as film strips, charts as SVG. Nothing is loaded from
anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.config.params import ReportParams
from pipeline.data.shards import Row, read_rows
from pipeline.render.clips import contact_sheet
from pipeline.report import sections
from pipeline.report.gather import ModelResult, Run
from pipeline.report.strips import Strip, film_strip, image_uri
from pipeline.runtime.files import write_text

HERE = Path(__file__).parent
SHEET_CLIPS = 8
SHEET_FRAMES = 8


@dataclass(frozen=True)
class Take:
    """One playing clip. `right` is None where nothing was asked or read."""

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
    label: str
    colour: int
    clips: list[Take]


@dataclass(frozen=True)
class Prompt:
    caption: str
    real: Take | None
    columns: list[Column]
    failures: int


@dataclass(frozen=True)
class Kind:
    id: str
    name: str
    about: str
    tag: str
    prompts: list[Prompt]


@dataclass(frozen=True)
class Gallery:
    label: str
    about: str
    clips: list[Take]


@dataclass(frozen=True)
class Sheet:
    name: str
    about: str
    uri: str
    captions: list[str]


@dataclass(frozen=True)
class Rung:
    corruption: str
    strength: str
    shares: list[tuple[float, str]]  # share right; breaks | spares | "": what the corruption does to it


@dataclass(frozen=True)
class Ladder:
    attributes: list[str]
    rungs: list[Rung]
    clips: int


def write_page(path: Path, runs: Sequence[Run], report: ReportParams, sheets: Sequence[Sheet] = ()) -> None:
    """Write the page of one run, or of two beside each other."""
    models = [model for run in runs for model in run.models]
    kinds = sample_kinds(models, report)
    context = {
        **_overview(runs, models),
        "kinds": kinds,
        "failures": list(galleries(models, report.prompts)),
        "accuracy": sections.accuracy(models),
        "distances": sections.distance_rows(models),
        "notes": sections.notes(models),
        "curves": sections.curve_charts(models),
        "learning": sections.learning_charts(models),
        "ladder": ladder(runs[-1].ladder),
        "sheets": sheets,
        "changes": sections.changes(runs[0], runs[1] if len(runs) > 1 else None),
        "stages": sections.stage_lines(runs),
        "all_params": yaml.safe_dump(runs[-1].params, sort_keys=False),
        "max_frames": max([clip.strip.frames for clip in _takes(kinds)], default=1),
    }
    context["sections"] = [(id_, name) for id_, name, shown in _contents(context) if shown]
    write_text(path, environment().get_template("page.html").render(context))


def environment() -> Environment:
    """Jinja with the page's filters; everything is escaped."""
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["shown"] = shown
    made.filters["words"] = lambda key: str(key).replace("_", " ").replace(".", " ").capitalize()
    made.filters["value"] = lambda value: "–" if value is None else yaml.safe_dump(value).strip().removesuffix("\n...")
    return made


def shown(value: Any, style: str) -> str:
    """A number as the page writes it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if style == "percent":
        return f"{value:.1%}"
    if style == "bare":
        return f"{100 * value:.1f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if style == "plain" else f"{value:.3g}"


def _overview(runs: Sequence[Run], models: Sequence[ModelResult]) -> dict[str, Any]:
    run = runs[-1]
    facts = [f"Trained and judged on {run.dataset.replace('_', ' ')}"]
    if len(runs) > 1:
        facts = [f"{runs[0].name} beside {runs[1].name}", run.dataset.replace("_", " ")]
    return {
        "title": "Text to video: " + (" and ".join(each.name for each in runs) if len(runs) > 1 else run.dataset),
        "eyebrow": " · ".join(facts),
        "headline": sections.headline(run, len(runs) > 1),
        "statements": sections.statements(models),
        "tiles": sections.TILES,
        "models": models,
        "overview_chart": sections.overview_chart(models),
        "overview_note": "Bars are 95% intervals. Dashed marks: what real clips score (right), and what the first "
        "model's clips score when they are judged against other captions (left).",
        "verdict_note": "A judge reads shape, colour and motion from the pixels; what it read is in the tooltip."
        if any("seen.joint" in model.metrics for model in models)
        else "",
        "css": Markup((HERE / "page.css").read_text(encoding="utf-8")),
        "js": Markup((HERE / "page.js").read_text(encoding="utf-8")),
    }


def _contents(context: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    yield "overview", "Overview", True
    yield "samples", "Samples", context["kinds"]
    yield "failures", "Failures", context["failures"]
    yield "accuracy", "Accuracy", context["accuracy"]
    yield "distances", "Distances", True
    yield "sampling", "Guidance", context["curves"]
    yield "training", "Training", context["learning"]
    yield "judge", "Judge", context["ladder"]
    yield "data", "Data", context["sheets"]
    yield "run", "Run", True


def sample_kinds(models: Sequence[ModelResult], report: ReportParams) -> list[Kind]:
    """Prompts by kind; each with its real clip and every model's takes."""
    kinds = []
    for kind, name in sections.KINDS.items():
        indices = sorted({row.attributes["index"] for model in models for row in _showcase(model, kind)})
        prompts = [_prompt(models, kind, index, report.seeds) for index in indices[: report.prompts]]
        if prompts:
            kinds.append(Kind(kind, name, sections.KIND_ABOUT[kind], name.lower(), prompts))
    return kinds


def _showcase(model: ModelResult, kind: str) -> list[Row]:
    return [row for row in model.samples if row.attributes["kind"] == kind and row.attributes["role"] != "failure"]


def _prompt(models: Sequence[ModelResult], kind: str, index: int, seeds: int) -> Prompt:
    columns, real, caption = [], None, ""
    for colour, model in enumerate(models):
        rows = [row for row in _showcase(model, kind) if row.attributes["index"] == index]
        real = real or next((take(row) for row in rows if row.attributes["role"] == "real"), None)
        caption = caption or next((row.captions[0] for row in rows), "")
        clips = [take(row, model.label) for row in rows if row.attributes["role"] == "model"][:seeds]
        columns.append(Column(model.label, colour, clips))
    failures = sum(clip.right is False for column in columns for clip in column.clips)
    return Prompt(caption, real, columns, failures)


def take(row: Row, label: str = "Real clip") -> Take:
    """A stored sample as it plays."""
    facts = row.attributes
    wrong = ", ".join(key.replace("_", " ") for key in facts.get("wrong", ()))
    reading = ", ".join(f"{key} {value}" for key, value in facts.get("reading", {}).items())
    verdict = {True: ", judged right", False: f", judged wrong: {wrong}", None: ""}[facts.get("right")]
    return Take(
        strip=film_strip(row.frames(), row.fps),
        alt=f"{label}: {row.captions[0]}{verdict}",
        caption=row.captions[0],
        kind=row.split,
        right=facts.get("right") if facts["role"] != "real" else None,
        wrong=wrong,
        reading=f"read as: {reading}" if reading else "",
        note=f"seed {facts['seed']}" if facts["role"] != "real" else "",
    )


def galleries(models: Sequence[ModelResult], limit: int) -> Iterator[Gallery]:
    """Each model's first failures outside the showcase, up to `limit` of each kind of prompt."""
    for model in models:
        clips, counted = [], []
        for kind, name in sections.KINDS.items():
            rows = [row for row in model.samples if (row.split, row.attributes["role"]) == (kind, "failure")]
            clips += [take(row, model.label) for row in rows[:limit]]
            if f"{kind}.failures" in model.metrics:
                failed, total = (model.metrics[f"{kind}.{key}"] for key in ("failures", "clips"))
                counted.append(f"{failed} of {total} {name.lower()}")
        if clips:
            yield Gallery(model.label, "failed: " + ", ".join(counted), clips)


def _takes(kinds: Iterable[Kind]) -> Iterator[Take]:
    for kind in kinds:
        for prompt in kind.prompts:
            yield from ([prompt.real] if prompt.real else [])
            for column in prompt.columns:
                yield from column.clips


def ladder(tree: Mapping[str, Any]) -> Ladder | None:
    """The judge's corruption ladder as a table; None where the judge has none."""
    if not tree:
        return None
    names = list(tree["real"])
    rungs = [Rung("none", "real clips", [(float(tree["real"][name]), "") for name in names])]
    for rung in tree["rungs"]:
        aims = ["breaks" if name in rung["breaks"] else "spares" if name in rung["spares"] else "" for name in names]
        shares = [float(rung["right"][name]) for name in names]
        rungs.append(Rung(rung["corruption"], f"{rung['strength']:g}", list(zip(shares, aims, strict=True))))
    return Ladder(names, rungs, int(tree["clips"]))


def contact_sheets(shards: Path, names: Iterable[str]) -> Iterator[Sheet]:
    """The first clips of each set's first split."""
    for name in names:
        rows = list(read_rows(shards / name, limit=SHEET_CLIPS))
        clips = [row.frames() for row in rows]
        about = f"{rows[0].n_frames} frames at {rows[0].fps:g} fps, {clips[0].shape[1]} px"
        captions = [row.captions[0] for row in rows]
        yield Sheet(
            name.replace("_", " ").capitalize(), about, image_uri(contact_sheet(clips, columns=SHEET_FRAMES)), captions
        )
