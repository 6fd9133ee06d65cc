"""Stage moving_mnist: draw the moving-digits set."""

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
from pipeline.synthetic.digits import load_digit_bank
from pipeline.synthetic.moving_digits import digits_set


def main(
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards/moving_mnist"),
    metrics: Path = Path("metrics/moving_mnist.json"),
) -> None:
    started = time.monotonic()
    params = load_params(params_path).moving_mnist
    bank = load_digit_bank(params)
    facts = publish_set(digits_set(params, bank), params, fingerprint("moving_mnist", params, bank.digest()), shards)
    pictures = {"train": len(bank.train.labels), "other": len(bank.other.labels)}
    write_metrics(metrics, {**facts, "pictures": pictures, "seconds": round(time.monotonic() - started, 1)})


if __name__ == "__main__":
    run_stage(main)
