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
from pathlib import Path

from pydantic import ValidationError

from pipeline.config.params import ReportParams
from pipeline.report.gather import Files, FolderFiles, RevisionFiles, Run, gather_run
from pipeline.report.page import write_page
from pipeline.report.reel import write_reel

WORKSPACE = "workspace"


def main(argv: Sequence[str] | None = None) -> None:
    """Write comparisons/A-B/index.html. Raises ValueError, one line, on a name that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.compare", description="Two runs, side by side.")
    parser.add_argument("before", metavar="A", help="commit, branch, tag, experiment, or workspace")
    parser.add_argument("after", metavar="B", help="the same")
    parser.add_argument("--out", type=Path, help="folder (default: comparisons/A-B)")
    args = parser.parse_args(argv)
    out = args.out or Path("comparisons") / f"{args.before}-{args.after}".replace("/", "_")
    runs = compare(Path(), args.before, args.after, out)
    print(out / "index.html")
    for run in runs:
        missing = [model.label for model in run.models if not model.samples]
        if missing:
            print(f"note: no samples of {', '.join(missing)} in the cache; dvc pull fetches them", file=sys.stderr)


def compare(root: Path, before: str, after: str, out: Path) -> list[Run]:
    """Gather both and write page and reel into `out`."""
    if before == after:
        raise ValueError(f"A and B are both {before!r}; name two runs, for example A=main B=workspace")
    runs = [gather_run(open_files(root, name), name, None, prefix=f"{name} · ") for name in (before, after)]
    write_page(out / "index.html", runs, report_params(runs[1]))
    write_reel(out / "reel.mp4", [model for run in runs for model in run.models])
    return runs


def report_params(run: Run) -> ReportParams:
    """How much to show; the rest of an old revision's params need not fit today's code."""
    try:
        return ReportParams.model_validate(run.params.get("report"))
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
