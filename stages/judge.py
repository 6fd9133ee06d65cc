"""Train and measure the judge of the set that the models train on: data/shards/<dataset> to models/judge."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
import time
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.judge.build import build_judge
from pipeline.judge.judge import save_judge
from pipeline.runtime.device import find_device
from pipeline.runtime.metrics import write_metrics
from pipeline.runtime.stage import run_stage

log = logging.getLogger("t2v")


def main(
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards"),
    out: Path = Path("models/judge"),
    metrics: Path = Path("metrics/judge.json"),
) -> None:
    params = load_params(params_path)
    started = time.monotonic()
    build = build_judge(shards / params.dataset, params.judge, find_device())
    save_judge(out, build.judge, build.ladder)
    seconds = round(time.monotonic() - started, 1)
    counts = {"train_clips": build.train_clips, "val_clips": build.val_clips, "seconds": seconds}
    card = build.judge.card
    write_metrics(metrics, {"dataset": card.dataset, "seed": params.judge.seed, **counts, **card.metrics})
    log.info("%s: judge of %s in %.1f s: %s", out, card.dataset, seconds, card.metrics)


if __name__ == "__main__":
    run_stage(main)
