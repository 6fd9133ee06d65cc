"""Stage frames: the U-Net given a first frame, a frame that contradicts its caption, and clips many windows long.

A model that was not trained for given frames has nothing to measure: the stage says so and ends.
"""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.data.samples import write_samples
from pipeline.evaluation.evaluate import rounded
from pipeline.evaluation.given.measure import measure_given_frames
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.judge.judge import load_judge
from pipeline.model_io.model_card import read_card
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
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards"),
    embeddings: Path = Path("data/embeddings"),
    models: Path = Path("models"),
    evaluations: Path = Path("evaluations/frames"),
    metrics: Path = Path("metrics/frames.json"),
) -> None:
    params = load_params(params_path)
    if not read_card(models / "unet").given_frames:
        log.info("models/unet draws from text alone (train.given_frames is []): nothing to measure")
        with whole_folder(evaluations) as folder:
            write_samples(folder / "samples.parquet", [])
        write_metrics(metrics, {"trained": False})
        return
    device = find_device()
    with open_scratch("frames", fingerprint(SAMPLING_CODE, inputs=[models / "unet"])) as scratch:
        sampler = PromptSampler(
            load_model(models / "unet", device),
            CaptionTable.read(embeddings / f"{params.dataset}.parquet"),
            params.sampling,
            params.frames.batch_size,
            kept=scratch,
        )
        judge = load_judge(models / "judge", device)
        result = measure_given_frames(sampler, judge, shards / params.dataset, params.frames)
        with whole_folder(evaluations) as folder:
            write_samples(folder / "samples.parquet", result.samples)
        write_metrics(metrics, {"trained": True, **rounded(result.metrics)})
        sampler.forget()
    log.info("given frames: %d measures, %d clips kept", len(result.metrics), len(result.samples))


if __name__ == "__main__":
    run_stage(main)
