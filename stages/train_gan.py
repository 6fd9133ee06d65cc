"""Stage train_gan: train the GAN baseline on the chosen set."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.gan.training import draw_samples, open_gan_trainer
from pipeline.runtime.stage import run_stage
from pipeline.training.checkpoints import open_checkpoints
from pipeline.training.distributed import open_dist
from pipeline.training.loop import train
from pipeline.training.outputs import write_outputs
from pipeline.training.preview import open_preview


def main(
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards"),
    model: Path = Path("models/gan"),
    plots: Path = Path("plots/train_gan"),
    metrics: Path = Path("metrics/train_gan.json"),
) -> None:
    params = load_params(params_path)
    clips, sections = shards / params.dataset, {"train_gan": params.train_gan}
    parts = [params.dataset, *sections.values()]
    with open_dist() as dist, open_checkpoints("train_gan", parts, [clips], dist) as checkpoints:
        trainer = open_gan_trainer(clips, params.train_gan, dist.device)
        preview = open_preview(clips, params.train_gan, draw_samples, checkpoints.folder.parent)
        run = train(trainer, dist, checkpoints, preview)
        if dist.is_main_process:
            write_outputs(run, params.dataset, sections, model=model, plots=plots, metrics=metrics)
            checkpoints.clear()


if __name__ == "__main__":
    run_stage(main)
