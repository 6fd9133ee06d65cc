"""Stage report: everything about the run in one page, and a reel of its samples."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
import time
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.report.files import FolderFiles
from pipeline.report.gather import gather_run
from pipeline.report.page import write_page
from pipeline.report.pictures import contact_sheets
from pipeline.report.reel import write_reel
from pipeline.runtime.metrics import write_metrics
from pipeline.runtime.stage import run_stage

log = logging.getLogger("t2v")


def main(
    *,
    params_path: Path = Path("params.yaml"),
    root: Path = Path(),  # holds metrics/, plots/, evaluations/, models/ and data/shards/
    reports: Path = Path("reports"),
    metrics: Path = Path("metrics/report.json"),
) -> None:
    started = time.monotonic()
    params = load_params(params_path)
    run = gather_run(FolderFiles(root), "this run")
    sheets = list(contact_sheets(root / "data/shards", run))
    page = reports / "index.html"
    write_page(page, [run], params.report, sheets)
    has_reel = write_reel(reports / "reel.mp4", run.models)
    counts = {"models": len(run.models), "samples": sum(len(model.samples) for model in run.models)}
    write_metrics(
        metrics, {**counts, "page_bytes": page.stat().st_size, "seconds": round(time.monotonic() - started, 1)}
    )
    log.info("%s: %d models, %d sets%s", page, len(run.models), len(sheets), "; reel.mp4" if has_reel else "")


if __name__ == "__main__":
    run_stage(main)
