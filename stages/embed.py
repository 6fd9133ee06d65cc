"""Embed each distinct caption of a set once: data/shards/<set> to data/embeddings/<set>.parquet."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
import sys
from dataclasses import asdict
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.tree import DATASETS
from pipeline.data.shards import read_captions
from pipeline.runtime.metrics import write_metrics
from pipeline.runtime.scratch import fingerprint, open_scratch
from pipeline.runtime.stage import run_stage
from pipeline.text.captions import load_encoder
from pipeline.text.embedding import collect_captions, embed_captions, write_rejected

log = logging.getLogger("t2v")


def main(
    dataset: str | None = None,  # the matrix item; None: the program's argument
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards"),
    embeddings: Path = Path("data/embeddings"),
    metrics: Path = Path("metrics/embed"),
) -> None:
    dataset = dataset or (sys.argv[1] if len(sys.argv) > 1 else "")
    if dataset not in DATASETS:
        raise ValueError(f"python -m stages.embed SET: {dataset!r} is not a set; allowed: {', '.join(DATASETS)}")
    params = load_params(params_path).embed
    encoder = load_encoder(
        params.encoder, revision=params.revision, pooling=params.pooling, max_tokens=params.max_tokens
    )
    chosen = collect_captions(read_captions(shards / dataset), encoder)
    out = embeddings / f"{dataset}.parquet"
    with open_scratch(
        f"embed-{dataset}", fingerprint("embed", params, asdict(encoder.info), chosen.captions)
    ) as scratch:
        report = embed_captions(
            chosen, encoder, out=out, scratch=scratch, dtype=params.dtype, batch_size=params.batch_size
        )
    write_rejected(embeddings / f"{dataset}.rejected.csv", chosen.rejected)
    write_metrics(metrics / f"{dataset}.json", asdict(report) | {"encoder": asdict(encoder.info)})
    log.info(
        "%s: %d vectors of %d captions, %.1f MB, rejected %s in %.1f s",
        out, report.embedded, report.captions, out.stat().st_size / 1e6, report.rejected or "none", report.seconds,
    )  # fmt: skip


if __name__ == "__main__":
    run_stage(main)
