"""Stage shapes: draw the shapes set."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import time
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.runtime.metrics import write_metrics
from pipeline.runtime.scratch import fingerprint
from pipeline.runtime.stage import run_stage
from pipeline.synthetic.build import publish_set
from pipeline.synthetic.shapes import shapes_set


def main(
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards/shapes"),
    metrics: Path = Path("metrics/shapes.json"),
) -> None:
    started = time.monotonic()
    params = load_params(params_path).shapes
    facts = publish_set(shapes_set(params), params, fingerprint("shapes", params), shards)
    write_metrics(metrics, {**facts, "seconds": round(time.monotonic() - started, 1)})


if __name__ == "__main__":
    run_stage(main)
