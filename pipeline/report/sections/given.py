"""A model that takes given frames: what it was given beside what it made of it, its long clips, and its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.evaluation import ReportParams
from pipeline.data.samples import Role, Sample
from pipeline.render.clips import contact_sheet
from pipeline.report.gather import Run
from pipeline.report.pictures import Sheet, image_uri
from pipeline.report.samples import PlayingClip, playing

STRIP_FRAMES = 32  # of a long clip, evenly
STRIP_COLUMNS = 16
KINDS = {"given": "First frame given", "contradicted": "First frame against the caption"}
ABOUT = {
    "given": "the first frame of a real clip of a held-out combination, and its caption",
    "contradicted": "the first frame of a real clip, and the caption of another thing that moves alike",
}
ROWS = (
    (
        "first_frame.kept",
        "Kept",
        "what the frame shows is there, alone, and next stands within a pixel of its place",
    ),
    ("first_frame.motion", "Motion", "as the caption says"),
    ("first_frame.joint", "All right", "shape, colour, motion and speed as the caption says"),
    ("first_frame_shuffled.kept", "Kept, of another frame", "the control: the same clips, held against other frames"),
    ("contradicted.frame_wins", "The frame wins", "where the caption names another thing"),
    ("contradicted.caption_wins", "The caption wins", "the same clips; the rest shows neither"),
    ("text.joint", "Text alone: all right", "nothing given, combinations that training showed"),
    ("text_held_out.joint", "Text alone, held out", "nothing given, combinations that training never showed"),
)


@dataclass(frozen=True)
class GivenRow:
    """A share of the table with its 95 % interval."""

    name: str
    how: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GivenPrompt:
    """A caption with what was given, what was made of it, and the real clip."""

    caption: str
    given: PlayingClip
    sample: PlayingClip
    real: PlayingClip


@dataclass(frozen=True)
class GivenKind:
    """The prompts of one kind."""

    id: str
    name: str
    about: str
    prompts: list[GivenPrompt]


@dataclass(frozen=True)
class GivenResult:
    """The results of one run's model."""

    label: str
    rows: list[GivenRow]
    notes: list[str]
    kinds: list[GivenKind]
    long: list[Sheet]


def given_results(runs: Sequence[Run], report: ReportParams) -> list[GivenResult]:
    """Of each run whose model was trained for given frames."""
    return [_result(run, len(runs) > 1, report) for run in runs if run.given is not None]


def _result(run: Run, several: bool, report: ReportParams) -> GivenResult:
    assert run.given is not None
    metrics, samples = run.given.metrics, run.given.samples
    return GivenResult(
        label=run.name if several else "",
        rows=[GivenRow(name, how, *_share(metrics, key)) for key, name, how in _rows(metrics)],
        notes=list(_notes(metrics)),
        kinds=[kind for kind in (_kind(name, samples, report.prompts) for name in KINDS) if kind.prompts],
        long=[long_sheet(sample) for sample in samples if sample.kind == "rollout"],
    )


def _rows(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = [row for row in ROWS if row[0] in metrics]
    for name in _rollouts(metrics):
        frames = name.removeprefix("rollout_")
        how = f"all right in the last frames of clips of {frames}, drawn from text alone window by window"
        rows.append((f"{name}.joint", f"Long clips, {frames} frames", how))
    return rows


def _rollouts(metrics: dict[str, Any]) -> list[str]:
    names = [key.removesuffix(".joint") for key in metrics if key.startswith("rollout_") and key.endswith(".joint")]
    return [name for name in names if "_shuffled" not in name]


def _share(metrics: dict[str, Any], key: str) -> tuple[float, float, float]:
    return metrics[key], metrics[f"{key}_low"], metrics[f"{key}_high"]


def _notes(metrics: dict[str, Any]) -> Iterator[str]:
    """Lines about what is no share."""
    yield from (metrics[key] for key in ("note", "rollout_note") if key in metrics)
    for name in _rollouts(metrics):
        drift, worst = metrics[f"{name}.background_drift"], metrics[f"{name}.background_drift_worst"]
        speed = f"Speed error in the last frames {metrics[f'{name}.speed_error']:.3f}"
        if "real_pairs.speed_error" in metrics:
            speed += f"; two real clips of one caption differ by {metrics['real_pairs.speed_error']:.3f}"
        yield f"{speed}. The background's colour moved by {drift:.2f} of 255 levels, in the worst clip by {worst:.2f}."


def _kind(name: str, samples: Sequence[Sample], limit: int) -> GivenKind:
    def by_index(role: Role) -> dict[int, Sample]:
        return {each.index: each for each in samples if (each.kind, each.role) == (name, role)}

    given, drawn, real = by_index("given"), by_index("model"), by_index("real")
    prompts = [
        GivenPrompt(
            drawn[index].caption, playing(given[index], "Given"), playing(drawn[index], "Sample"), playing(real[index])
        )
        for index in sorted(given.keys() & drawn.keys() & real.keys())[:limit]
    ]
    return GivenKind(name, KINDS[name], ABOUT[name], prompts)


def long_sheet(sample: Sample) -> Sheet:
    """A long clip as a still."""
    frames = sample.frames()
    every = max(1, len(frames) // STRIP_FRAMES)
    title = f"{len(frames)} frames, one in {every}" if every > 1 else f"{len(frames)} frames"
    about = f"“{sample.caption}”, seed {sample.seed}"
    return Sheet(title, about, image_uri(long_strip(frames)), [sample.caption])


def long_strip(frames: np.ndarray) -> np.ndarray:
    """uint8 (H', W', 3): STRIP_FRAMES frames of a long clip (F, H, W, 3), in rows, evenly from the first."""
    shown = frames[:: max(1, len(frames) // STRIP_FRAMES)][:STRIP_FRAMES]
    rows = [shown[start : start + STRIP_COLUMNS] for start in range(0, len(shown), STRIP_COLUMNS)]
    return contact_sheet(rows, columns=STRIP_COLUMNS)
