"""Stage train: train the diffusion U-Net on the chosen set. Under torchrun, or with several GPUs, many processes do."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.diffusion.initial import find_initial
from pipeline.diffusion.training import open_diffusion_trainer
from pipeline.runtime.stage import run_stage
from pipeline.sampling.preview import draw_by
from pipeline.training.checkpoints import open_checkpoints
from pipeline.training.distributed import open_dist, relaunch_by_torchrun
from pipeline.training.loop import train
from pipeline.training.outputs import write_outputs
from pipeline.training.preview import open_preview


def main(
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards"),
    embeddings: Path = Path("data/embeddings"),
    model: Path = Path("models/unet"),
    plots: Path = Path("plots/train"),
    metrics: Path = Path("metrics/train.json"),
) -> None:
    params = load_params(params_path)
    clips, vectors = shards / params.dataset, embeddings / f"{params.dataset}.parquet"
    sections = {"unet": params.unet, "diffusion": params.diffusion, "train": params.train}
    parts = [params.dataset, *sections.values()]
    initial = find_initial(params.train.init_from, params.unet)
    inputs = [clips, vectors, *(initial.files if initial else [])]
    with open_dist() as dist, open_checkpoints("train", parts, inputs, dist) as checkpoints:
        trainer = open_diffusion_trainer(clips, vectors, params.unet, params.diffusion, params.train, dist)
        draw = draw_by(params.sampling, params.diffusion, params.train, trainer.texts, dist.device)
        preview = open_preview(clips, params.train, draw, checkpoints.folder.parent, known=trainer.texts.index)
        run = train(trainer, dist, checkpoints, preview)
        if dist.is_main_process:
            write_outputs(run, params.dataset, sections, model=model, plots=plots, metrics=metrics)
            checkpoints.clear()


if __name__ == "__main__":
    relaunch_by_torchrun("stages.train")
    run_stage(main)
