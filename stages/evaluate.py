"""Stage evaluate: judge a trained model on the chosen set. `python -m stages.evaluate unet`."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
import sys
from functools import partial
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.data.samples import write_samples
from pipeline.evaluation.evaluate import evaluate_model, rounded
from pipeline.evaluation.plots import write_plots
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.judge.judge import load_judge
from pipeline.runtime.device import find_device
from pipeline.runtime.files import whole_folder
from pipeline.runtime.metrics import write_metrics
from pipeline.runtime.scratch import fingerprint, open_scratch
from pipeline.runtime.stage import run_stage
from pipeline.sampling.video_model import load_model
from pipeline.text.captions import CaptionTable

log = logging.getLogger("t2v")

SAMPLING_CODE = "pipeline/evaluation/prompt_sampler.py"  # a change of anything behind it alone draws kept samples anew


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
    with open_scratch(f"evaluate-{model}", fingerprint(SAMPLING_CODE, inputs=[models / model])) as scratch:
        sampler = PromptSampler(
            video_model,
            CaptionTable.read(embeddings / f"{params.dataset}.parquet") if reads_vectors else None,
            params.sampling if video_model.card.family == "unet" else None,
            params.evaluate.batch_size,
            kept=scratch,
        )
        judge = load_judge(models / "judge", device)
        result = evaluate_model(sampler, judge, shards / params.dataset, params.evaluate)
        with whole_folder(evaluations / model) as folder:
            write_samples(folder / "samples.parquet", result.samples)
        with whole_folder(plots / model) as folder:
            write_plots(folder, result)
        write_metrics(metrics / f"{model}.json", rounded(result.metrics))
        sampler.forget()
    log.info("judged %d clips of models/%s, kept %d", result.metrics["clips"], model, len(result.samples))


if __name__ == "__main__":
    if sys.argv[1:] not in (["unet"], ["gan"]):
        sys.exit(f"error: {' '.join(sys.argv[1:])!r} is no model: python -m stages.evaluate unet | gan")
    run_stage(partial(main, sys.argv[1]))
