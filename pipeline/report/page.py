"""The report: one HTML file with everything inside, for a run or for two runs side by side.

Template, style and script are files beside this one; clips go in as film strips, charts as SVG. Nothing is loaded from
anywhere else, and nothing depends on the clock, the machine or Git: the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.config.evaluation import ReportParams
from pipeline.report.accuracy import accuracy, ladder
from pipeline.report.curves import learning_charts, sampling_charts, sampling_note
from pipeline.report.distances import distance_notes, distance_rows, why_none
from pipeline.report.gather import Run
from pipeline.report.overview import headline, overview_chart, repeats_note, statements, tiles
from pipeline.report.pictures import Sheet
from pipeline.report.provenance import changes, stage_lines
from pipeline.report.samples import galleries, longest, sample_kinds
from pipeline.report.sections.given import given_results
from pipeline.report.sections.unsaid import unsaid_charts, unsaid_rows
from pipeline.runtime.files import write_text

HERE = Path(__file__).parent


def write_page(
    path: Path,
    runs: Sequence[Run],  # one, or two to compare
    report: ReportParams,
    sheets: Sequence[Sheet] = (),
    *,
    stale: Mapping[str, Sequence[str]] | None = None,  # by a model's label: why its results are not of this revision
) -> None:
    """Write the page of one run, or of two beside each other."""
    page = environment().get_template("page.html").render(_context(runs, report, sheets, stale or {}))
    write_text(path, page)


def environment(*folders: Path) -> Environment:
    """Jinja with the page's filters, templates of other `folders` first; everything is escaped."""
    made = Environment(
        loader=FileSystemLoader([*folders, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = shown
    made.filters["words"] = lambda key: str(key).replace("_", " ").replace(".", " ").capitalize()
    made.filters["value"] = lambda value: "–" if value is None else yaml.safe_dump(value).strip().removesuffix("\n...")
    made.globals["why_none"] = why_none
    return made


def style_and_script() -> dict[str, Markup]:
    """The files that every page holds."""
    return {name: Markup((HERE / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}


def shown(value: Any, style: str) -> str:
    """A number as the page writes it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if style == "percent":
        return f"{value:.1%}"
    if style == "bare":
        return f"{100 * value:.1f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if style == "plain" else f"{value:.3g}"


def _context(
    runs: Sequence[Run], report: ReportParams, sheets: Sequence[Sheet], stale: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    models = [model for run in runs for model in run.models]
    kinds = sample_kinds(models, report)
    context = {
        "title": "Text to video: "
        + " and ".join(run.name if len(runs) > 1 else run.set_title(run.dataset) for run in runs),
        "eyebrow": _eyebrow(runs),
        "headline": headline(runs[-1], len(runs) > 1),
        "stale": stale,
        "repeats": repeats_note(runs),
        "statements": statements(models),
        "tiles": tiles(models),
        "models": models,
        "overview_chart": overview_chart(models),
        "has_readers": any("oracle_on_real.unread" in model.metrics for model in models),
        "has_oracle": any("seen.joint" in model.metrics for model in models),
        "kinds": kinds,
        "given": given_results(runs, report),
        "failures": list(galleries(models, report.prompts)),
        "accuracy": accuracy(models),
        "unsaid": unsaid_rows(models),
        "unsaid_charts": unsaid_charts(models),
        "distances": distance_rows(models),
        "notes": distance_notes(runs),
        "sampling": sampling_charts(runs),
        "sampling_note": sampling_note(runs),
        "learning": learning_charts(models),
        "ladder": ladder(runs[-1].ladder),
        "sheets": sheets,
        "changes": changes(runs),
        "stages": stage_lines(runs),
        "all_params": yaml.safe_dump(runs[-1].params, sort_keys=False),
        "max_frames": longest(kinds),
        **style_and_script(),
    }
    return {**context, "sections": [(id_, name) for id_, name, there in _contents(context) if there]}


def _eyebrow(runs: Sequence[Run]) -> str:
    title = runs[-1].set_title(runs[-1].dataset)
    return f"{runs[0].name} beside {runs[1].name} · {title}" if len(runs) > 1 else f"Trained and evaluated on: {title}"


def _contents(context: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    yield "overview", "Overview", True
    yield "samples", "Samples", context["kinds"]
    yield "given", "Given frames", context["given"]
    yield "failures", "Failures", context["failures"]
    yield "accuracy", "Accuracy", context["accuracy"]
    yield "unsaid", "Unsaid", context["unsaid"]
    yield "distances", "Distances", context["distances"]
    yield "sampling", "Guidance", context["sampling"]
    yield "training", "Training", context["learning"]
    yield "oracle", "Oracle", context["ladder"]
    yield "data", "Data", context["sheets"]
    yield "run", "Run", True
