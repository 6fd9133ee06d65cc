"""Stage train: train the diffusion U-Net on the chosen set. Under torchrun, or with several GPUs, many processes do."""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

import logging
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.diffusion.noise import DropShares
from pipeline.diffusion.process import Diffusion
from pipeline.runtime.scratch import claim_folder, fingerprint, forget_old_runs, scratch_folder
from pipeline.runtime.stage import run_stage
from pipeline.text.captions import CaptionTable
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.distributed import open_dist, relaunch_by_torchrun
from pipeline.training.loop import train
from pipeline.training.outputs import write_outputs
from pipeline.training.setup import open_feed, open_preview, open_validation, start_network

log = logging.getLogger("t2v")


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
    folder, table = shards / params.dataset, embeddings / f"{params.dataset}.parquet"
    sections = {"unet": params.unet, "diffusion": params.diffusion, "train": params.train}
    with open_dist() as dist:
        print_ = dist.broadcast(fingerprint("train", params.dataset, *sections.values(), inputs=[folder, table]))
        checkpoints = Checkpoints(scratch_folder("train", print_), print_)
        with claim_folder(checkpoints.folder, dist.is_main_process):
            if dist.is_main_process:
                forget_old_runs(checkpoints.folder)
            texts = CaptionTable.read(table)
            feed = open_feed(folder, params.train, texts)
            fps, live = feed.clips.index.playback_fps(params.train.frames), checkpoints.folder.parent
            shares = DropShares(params.diffusion.p_uncond, params.train.text_dropout, params.train.prob_focus_present)
            result = train(
                start_network(params.unet, params.train, texts, feed.clips.index),
                feed,
                texts,
                diffusion=Diffusion(params.diffusion),
                params=params.train,
                shares=shares,
                dist=dist,
                checkpoints=checkpoints,
                validation=open_validation(folder, params.train, texts),
                preview=open_preview(folder, params.train, params.sampling, texts, live / "samples", fps),
                live_folder=live,
            )
            if dist.is_main_process:
                info = texts.info
                write_outputs(
                    result, params.dataset, sections, feed, info, fps, model=model, plots=plots, metrics=metrics
                )
                checkpoints.clear()


if __name__ == "__main__":
    relaunch_by_torchrun("stages.train")
    run_stage(main)
