"""One run beside another: `python -m pipeline.compare main my-experiment`.

Each is a commit, branch, tag or experiment name, or `workspace` for the files as they are. Metrics come out of Git,
samples out of the DVC cache; nothing is checked out and nothing is run.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.config.evaluation import ReportParams
from pipeline.report.files import Files, FolderFiles, RevisionFiles
from pipeline.report.gather import Run, gather_run
from pipeline.report.page import write_page
from pipeline.report.reel import write_reel
from pipeline.report.stale import stale_reasons

WORKSPACE = "workspace"


def main(argv: Sequence[str] | None = None) -> None:
    """Write comparisons/A-B/index.html. Raises ValueError, one line, on a name that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.compare", description="Two runs, side by side.")
    parser.add_argument("before", metavar="A", help="commit, branch, tag, experiment, or workspace")
    parser.add_argument("after", metavar="B", help="the same")
    parser.add_argument("--out", type=Path, help="folder (default: comparisons/A-B)")
    args = parser.parse_args(argv)
    out = args.out or Path("comparisons") / f"{args.before}-{args.after}".replace("/", "_")
    comparison = compare(Path(), args.before, args.after, out)
    print(out / "index.html")
    for model in (model for run in comparison.runs for model in run.models):
        if model.label in comparison.stale:
            reasons = "; ".join(comparison.stale[model.label])
            print(f"note: {model.label}: clips and scores are of what was there before: {reasons}", file=sys.stderr)
        if not model.samples:
            print(f"note: no samples of {model.label} in the cache; dvc pull fetches them", file=sys.stderr)


@dataclass(frozen=True)
class Comparison:
    """Two runs, and by a model's label why its results are not of its revision."""

    runs: list[Run]
    stale: dict[str, list[str]]


def compare(root: Path, before: str, after: str, out: Path) -> Comparison:
    """Gather both and write page and reel into `out`."""
    if before == after:
        raise ValueError(f"A and B are both {before!r}; name two runs, for example A=main B=workspace")
    runs: list[Run] = []
    stale: dict[str, list[str]] = {}
    for name in (before, after):
        files = open_files(root, name)
        run = gather_run(files, name, prefix=f"{name} · ")
        runs.append(run)
        found = {model.label: stale_reasons(files, f"evaluate@{model.name}") for model in run.models}
        stale |= {label: reasons for label, reasons in found.items() if reasons}
    write_page(out / "index.html", runs, report_params(runs[1]), stale=stale)
    write_reel(out / "reel.mp4", [model for run in runs for model in run.models])
    return Comparison(runs, stale)


def report_params(run: Run) -> ReportParams:
    """The amounts to show; the rest of an old revision's params need not fit today's code."""
    try:
        return ReportParams.read(run.params.get("report"))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{run.name}: params.yaml: report: {first['msg'].lower()}; compare newer runs") from None


def open_files(root: Path, name: str) -> Files:
    return FolderFiles(root) if name == WORKSPACE else RevisionFiles(name, root)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
