"""Stage moving_mnist: draw the moving-digits set."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from pipeline.params import load_params
from pipeline.process import drop_other_scratch, fingerprint, run_stage, scratch_folder, write_json
from pipeline.synthetic.build import build_set, split_counts
from pipeline.synthetic.digits import load_digit_bank
from pipeline.synthetic.moving_digits import digits_set

log = logging.getLogger("t2v")


def main(
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards/moving_mnist"),
    metrics: Path = Path("metrics/moving_mnist.json"),
) -> None:
    started = time.monotonic()
    params = load_params(params_path).moving_mnist
    bank = load_digit_bank(params)
    generated = digits_set(params, bank)
    counts = split_counts(params)
    scratch = scratch_folder("moving_mnist", fingerprint(params, bank.digest()))
    drop_other_scratch(scratch)
    build_set(generated, counts, params.clips_per_shard, scratch, shards)
    write_json(
        metrics,
        {
            "clips": counts,
            "combinations": {"seen": len(generated.parting.seen), "held_out": len(generated.parting.held_out)},
            "pictures": {"train": len(bank.train.labels), "other": len(bank.other.labels)},
            "seconds": round(time.monotonic() - started, 1),
            "seed": params.seed,
        },
    )
    log.info("drew %d clips of moving digits into %s", sum(counts.values()), shards)


if __name__ == "__main__":
    run_stage(main)
