"""Stage train_gan: train the GAN baseline on the chosen set."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.runtime.device import find_device
from pipeline.runtime.scratch import claim_folder, fingerprint, forget_old_runs, scratch_folder
from pipeline.runtime.stage import run_stage
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.gan_loop import train_gan
from pipeline.training.gan_setup import open_gan_feed, open_gan_preview, start_gan, write_gan_outputs

log = logging.getLogger("t2v")


def main(
    *,
    params_path: Path = Path("params.yaml"),
    shards: Path = Path("data/shards"),
    model: Path = Path("models/gan"),
    plots: Path = Path("plots/train_gan"),
    metrics: Path = Path("metrics/train_gan.json"),
) -> None:
    params = load_params(params_path)
    folder, gan = shards / params.dataset, params.train_gan
    print_ = fingerprint("train_gan", params.dataset, gan, inputs=[folder])
    checkpoints = Checkpoints(scratch_folder("train_gan", print_), print_)
    live = checkpoints.folder.parent
    with claim_folder(checkpoints.folder):
        forget_old_runs(checkpoints.folder)
        feed = open_gan_feed(folder, gan)
        result = train_gan(
            *start_gan(gan, feed.clips.index),
            feed,
            params=gan,
            device=find_device(),
            checkpoints=checkpoints,
            preview=open_gan_preview(folder, gan, live / "samples"),
            live_folder=live,
        )
        write_gan_outputs(result, params.dataset, gan, feed, model=model, plots=plots, metrics=metrics)
        checkpoints.clear()


if __name__ == "__main__":
    run_stage(main)
