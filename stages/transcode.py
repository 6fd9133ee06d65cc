"""Videos to square GIF clips with all their captions: data/raw to data/shards/videos."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
from dataclasses import asdict
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.runtime.executors import open_workers
from pipeline.runtime.metrics import write_metrics
from pipeline.runtime.scratch import fingerprint, open_scratch
from pipeline.runtime.stage import run_stage
from pipeline.sources.archive import open_videos
from pipeline.sources.captions import read_captions
from pipeline.sources.manifest import read_manifest
from pipeline.transcode.assemble import Transcoding

log = logging.getLogger("t2v")


def main(
    *,
    params_path: Path = Path("params.yaml"),
    raw: Path = Path("data/raw"),
    out: Path = Path("data/shards/videos"),
    metrics: Path = Path("metrics/transcode.json"),
) -> None:
    params = load_params(params_path).transcode
    manifest = read_manifest(raw)  # it holds the digests of the files beside it
    manifest.require_same(raw)
    videos, captions = manifest.path(raw, manifest.videos), read_captions(manifest.path(raw, manifest.captions))
    archive = open_videos(videos)
    with (
        open_scratch("transcode", fingerprint("transcode", params, inputs=[raw / "manifest.json"])) as scratch,
        open_workers(threads=True, files=[archive.path]) as workers,
    ):
        transcoding = Transcoding(archive, captions, params, scratch=scratch, left_out=manifest.left_out)
        report = transcoding.run(out, workers)
    write_metrics(metrics, asdict(report))
    log.info(
        "%s: %d clips with %d captions in %d shards (%s), %.1f s",
        out, report.clips_out, report.captions, report.shards, report.counts, report.seconds,
    )  # fmt: skip


if __name__ == "__main__":
    run_stage(main)
