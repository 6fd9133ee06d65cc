"""Stage `download`: captioned clips from the chosen source into data/raw, as one archive that is never unpacked."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
import time
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.runtime.files import whole_folder
from pipeline.runtime.metrics import write_metrics
from pipeline.runtime.stage import run_stage
from pipeline.sources import local, msrvtt, sample
from pipeline.sources.fluent_emoji import packages

log = logging.getLogger("t2v")
SOURCES = {"sample": sample.fetch, "emoji": packages.fetch, "kaggle": msrvtt.fetch, "local": local.fetch}


def main(
    *,
    params_path: Path = Path("params.yaml"),
    raw: Path = Path("data/raw"),
    metrics: Path = Path("metrics/download.json"),
) -> None:
    params = load_params(params_path).download
    started = time.monotonic()
    with whole_folder(raw) as partial:
        manifest = SOURCES[params.source](params, partial)
    counts = {
        "clips": manifest.clips,
        "captioned_clips": manifest.captioned_clips,
        "captions": manifest.captions_read,
        "rejected": manifest.rejected,
        "left_out": len(manifest.left_out),
        "bytes": sum(int(facts["bytes"]) for facts in manifest.files.values()),
    }
    write_metrics(metrics, {**counts, "seconds": round(time.monotonic() - started, 2), "seed": params.seed})
    log.info("%s from %s: %d clips, %d with captions", raw, manifest.source, manifest.clips, manifest.captioned_clips)


if __name__ == "__main__":
    run_stage(main)
