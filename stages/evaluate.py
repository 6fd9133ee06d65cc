"""Stage evaluate: judge a trained model on the chosen set. `python -m stages.evaluate unet`."""

from __future__ import annotations

from pipeline.runtime.metrics import write_metrics
from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
import sys
from functools import partial
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.data.shards import write_shard
from pipeline.evaluation.evaluate import evaluate_model
from pipeline.evaluation.plots import write_plots
from pipeline.judge.judge import load_judge
from pipeline.runtime.device import find_device
from pipeline.runtime.stage import run_stage
from pipeline.sampling.video_model import load_model
from pipeline.text.captions import CaptionTable

log = logging.getLogger("t2v")


def main(
    model: str,
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards"),
    embeddings: Path = Path("data/embeddings"),
    models: Path = Path("models"),
    evaluations: Path = Path("evaluations"),
    plots: Path = Path("plots/evaluate"),
    metrics: Path = Path("metrics/evaluate"),
) -> None:
    params = load_params(params_path)
    device = find_device()
    video_model = load_model(models / model, device)
    reads_vectors = video_model.card.text is not None  # a GAN reads the words themselves
    result = evaluate_model(
        video_model,
        load_judge(models / "judge", device),
        CaptionTable.read(embeddings / f"{params.dataset}.parquet") if reads_vectors else None,
        shards / params.dataset,
        params.evaluate,
        params.sampling if video_model.card.family == "unet" else None,
    )
    write_shard(evaluations / model / "samples.parquet", result.samples)
    write_plots(plots / model, result)
    write_metrics(metrics / f"{model}.json", result.rounded_metrics())
    log.info("judged %d clips of models/%s, kept %d", result.metrics["clips"], model, len(result.samples))


if __name__ == "__main__":
    if sys.argv[1:] not in (["unet"], ["gan"]):
        sys.exit(f"error: {' '.join(sys.argv[1:])!r} is no model: python -m stages.evaluate unet | gan")
    run_stage(partial(main, sys.argv[1]))
