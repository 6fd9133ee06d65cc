"""Stage shapes: draw the shapes set."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from pipeline.params import load_params
from pipeline.process import drop_other_scratch, fingerprint, run_stage, scratch_folder, write_json
from pipeline.synthetic.build import build_set, split_counts
from pipeline.synthetic.shapes import shapes_set

log = logging.getLogger("t2v")


def main(
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards/shapes"),
    metrics: Path = Path("metrics/shapes.json"),
) -> None:
    started = time.monotonic()
    params = load_params(params_path).shapes
    generated = shapes_set(params)
    counts = split_counts(params)
    scratch = scratch_folder("shapes", fingerprint(params))
    drop_other_scratch(scratch)
    build_set(generated, counts, params.clips_per_shard, scratch, shards)
    write_json(
        metrics,
        {
            "clips": counts,
            "combinations": {"seen": len(generated.parting.seen), "held_out": len(generated.parting.held_out)},
            "seconds": round(time.monotonic() - started, 1),
            "seed": params.seed,
        },
    )
    log.info("drew %d clips of shapes into %s", sum(counts.values()), shards)


if __name__ == "__main__":
    run_stage(main)
