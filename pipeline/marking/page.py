"""The page of marks: one HTML file in the report's style, what went wrong first, each clip with what was read in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.marking.marks import MarkedClip, Marks
from pipeline.report.accuracy import accuracy
from pipeline.report.distances import distance_rows
from pipeline.report.gather import SET_TITLES, ModelResult
from pipeline.report.overview import overview_chart
from pipeline.report.page import environment, style_and_script
from pipeline.report.pictures import film_strip
from pipeline.report.samples import PlayingClip, reading_in_words
from pipeline.runtime.files import write_text

HERE = Path(__file__).parent
MOST_FAILURES, MOST_RIGHT = 300, 24  # clips on the page; every verdict is in clips.jsonl
MOST_NAMED = 12  # of each trouble
TILES = (
    ("Seen prompts", "seen.joint", "percent"),
    ("Held out", "held_out.joint", "percent"),
    ("Reworded", "reworded.joint", "percent"),
    ("Trained on", "trained.joint", "percent"),
    ("Against other captions", "caption_shuffle.joint", "percent"),
    ("Real clips", "oracle_on_real.joint", "percent"),
    ("Blank", "blank_share", "percent"),
    ("Recall at 1", "retrieval.r1", "percent"),
    ("Fréchet ratio", "frechet.ratio", "number"),
)


@dataclass(frozen=True)
class Trouble:
    """Causes that kept clips or prompts from being marked, by name."""

    about: str
    named: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """The first of them, each in a line."""
        lines = [f"{name}: {why}" if why else name for name, why in list(self.named.items())[:MOST_NAMED]]
        more = len(self.named) - len(lines)
        return [*lines, f"and {more} more, in clips.jsonl"] if more else lines


def write_marks_page(
    path: Path, marks: Marks, *, label: str, fps: float, troubles: Sequence[Trouble], listing: str
) -> None:
    """Write the page; `listing` names the list of prompts."""
    tables = {"accuracy": pd.DataFrame(marks.table)} if marks.table else {}
    model = ModelResult(label, "mark", marks.metrics, (), tables, {})
    failed = [clip for clip in marks.clips if clip.right is False and clip.frames is not None]
    others = [clip for clip in marks.clips if clip.right is not False and clip.frames is not None]
    context: dict[str, Any] = {
        "title": f"{label}: marks",
        "eyebrow": f"{label}, marked by {listing} on: {_set_title(str(marks.metrics['dataset']))}",
        "headline": _headline(marks.clips),
        "troubles": [trouble for trouble in troubles if trouble.named],
        "models": [model],
        "tiles": TILES,
        "overview_chart": overview_chart([model]),
        "failures": [playing_mark(clip, fps) for clip in failed[:MOST_FAILURES]],
        "failed": len(failed),
        "others": [playing_mark(clip, fps) for clip in others[:MOST_RIGHT]],
        "is_read": any(clip.right is not None for clip in marks.clips),
        "accuracy": accuracy([model]),
        "distances": distance_rows([model]),
        "notes": [str(value) for key, value in marks.metrics.items() if key.endswith("note")],
        **style_and_script(),
    }
    context["max_frames"] = max((clip.strip.frames for clip in context["failures"] + context["others"]), default=1)
    context["sections"] = [(id_, name) for id_, name, there in _contents(context) if there]
    write_text(path, environment(HERE).get_template("marks.html").render(context))


def playing_mark(clip: MarkedClip, fps: float) -> PlayingClip:
    """A clip as the page plays it, its name below."""
    assert clip.frames is not None
    wrong = ", ".join(name.replace("_", " ") for name in clip.wrong)
    verdict = "" if clip.right is None else ", right" if clip.right else f", wrong: {wrong}"
    return PlayingClip(
        strip=film_strip(clip.frames, fps),
        alt=f"{clip.asked.name}: {clip.asked.prompt}{verdict}",
        caption=clip.asked.prompt,
        kind=clip.asked.kind,
        right=clip.right,
        wrong=wrong,
        reading=reading_in_words(clip.reading) if clip.reading else "",
        note=clip.asked.name,
    )


def _set_title(name: str) -> str:
    return SET_TITLES.get(name, "Own clips")


def _headline(clips: Sequence[MarkedClip]) -> str:
    read = [clip for clip in clips if clip.right is not None]
    if not read:
        return f"{len(clips)} clips, measured without a reader"
    right = sum(bool(clip.right) for clip in read)
    return f"{right} of {len(read)} prompts come out entirely right"


def _contents(context: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    yield "overview", "Overview", True
    yield "failures", "Failures", context["failures"]
    yield "accuracy", "Accuracy", context["accuracy"]
    yield "distances", "Distances", context["distances"]
    yield "others", "Right" if context["is_read"] else "Clips", context["others"]
    yield "metrics", "Metrics", True
