"""Training of the diffusion network: its step, and how it is set up from a set, a caption table and params."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config.models import DiffusionParams, UnetParams
from pipeline.config.training import TrainParams
from pipeline.diffusion.batches import HostBatch, make_host_batch
from pipeline.diffusion.initial import Initial, find_initial, read_otherwise, take_weights
from pipeline.diffusion.noise import Draws, DropShares, GivenShares, draw_step
from pipeline.diffusion.process import Diffusion
from pipeline.diffusion.unet.unet3d import UNet3D, build_unet
from pipeline.diffusion.validation import Validation, open_validation
from pipeline.text.captions import CaptionTable
from pipeline.training.distributed import DistContext
from pipeline.training.ema import Ema
from pipeline.training.feed import ClipFeed, open_feed
from pipeline.training.history import History, Row, six_digits
from pipeline.training.optimizers import Optimizers
from pipeline.training.precision import autocast, choose_dtype, tune_backends
from pipeline.training.thread_parallel import ThreadDataParallel, num_workers
from pipeline.training.trainer import Trainer, Values

log = logging.getLogger("t2v")

STD_MIN = 1e-3  # of a caption dimension that hardly varies
EDGE_LAYERS = ("stem.", "stem_given.", "head.")  # of the U-Net


class DiffusionTrainer(Trainer[list[HostBatch]]):
    """A denoising network in training."""

    name = "train"
    family = "unet"
    columns = ("loss", "lr", "grad_norm")
    validation_columns = ("t", "loss", "x0_mse")
    params: TrainParams

    def __init__(
        self,
        network: UNet3D,  # on the CPU, freshly built
        feed: ClipFeed,
        texts: CaptionTable,
        *,
        diffusion: DiffusionParams,
        params: TrainParams,
        shares: DropShares,
        dist: DistContext,
        validation: Validation | None = None,
        initial: Initial | None = None,  # whose weights the network has
    ) -> None:
        workers = num_workers(dist, params)
        tune_backends(dist.device)
        self.network = network.to(dist.device).train()
        self.feed, self.texts, self.shares, self.validation = feed, texts, shares, validation
        self.diffusion, self.params, self.device = Diffusion(diffusion), params, dist.device
        self.given = given_shares(params)
        self.positions = dist.positions(params.batch_size, params.accumulate * workers)
        self.dtype = choose_dtype(params.precision, dist.device)
        self.optimizers = Optimizers(network, params, self.dtype, edge_layers=EDGE_LAYERS)
        self.ema = Ema(network, decay=params.ema_decay, start=params.ema_start, every=params.ema_every)
        self.parallel = ThreadDataParallel(dist.wrap(network), workers, compiled=params.compile)
        self.text = texts.info
        if initial is not None and params.init_from is not None:
            self.origin = initial.origin(params.init_from)
        self.val_every = None if validation is None else params.val_every
        self.memory_advice = (
            f"raise train.accumulate={params.accumulate} (a micro-batch is now "
            f"{params.batch_size // params.accumulate} clips over all processes), or lower train.batch_size, "
            "train.resolution, train.frames or unet.dim"
        )
        self.divergence_advice = f"lower train.lr={params.lr}, raise train.warmup_steps or set train.precision to fp32"

    def start(self) -> None:
        """Take the statistics of the train captions' vectors into the network."""
        captions = self.feed.clips.index.distinct_captions()
        self.network.set_text_statistics(*text_statistics(self.texts, captions))

    def prepare(self, step: int) -> list[HostBatch]:
        """The step's micro-batches of this process, one after the other for each worker."""
        seed, batch_size = self.params.seed, self.params.batch_size
        draws = draw_step(self.diffusion, self.shares, self.given, seed=seed, step=step, batch_size=batch_size)
        return [self._prepare(step, positions, draws.at(positions)) for positions in self.positions]

    def _prepare(self, step: int, positions: slice, draws: Draws) -> HostBatch:
        clips = self.feed.batch(step, positions.start, positions.stop)
        return make_host_batch(clips, self.texts.batch(clips.captions), draws, self.device)

    def step(self, step: int, micro_batches: Sequence[HostBatch]) -> Values:
        """Noise the clips, have them denoised, and follow the gradient of the error."""

        def loss_of(model: Callable[..., Tensor], prepared: HostBatch) -> Tensor:
            batch = prepared.to(self.device)
            x_t = self.diffusion.add_noise(batch.x0, batch.eps, batch.t)  # (b, C, F, H, W)
            with autocast(self.device, self.dtype):
                model_output = model(x_t, batch.t, batch.text, **batch.drops, **batch.given)  # (b, C, F, H, W)
            return self.diffusion.loss(model_output.float(), batch.x0, batch.eps, x_t, batch.t, batch.asked).mean()

        loss = self.parallel.backward(loss_of, micro_batches)  # mean over the global batch
        grad_norm = self.optimizers.step(step)
        self.ema.update(step)
        return {"loss": loss, "lr": self.optimizers.lr, "grad_norm": grad_norm}

    def validate(self, step: int) -> list[Row]:
        assert self.validation is not None
        rows = self.validation.measure(
            self.ema.network, self.diffusion, self.device, lambda: autocast(self.device, self.dtype), step
        )
        return [astuple(row) for row in rows]

    def metrics(self, history: History) -> dict[str, Any]:
        """The last steps' mean loss, and the last validation by noise level."""
        metrics: dict[str, Any] = {"loss": history.final("loss")}
        levels, losses, errors = (history.last_validation(name) for name in self.validation_columns)
        if levels:
            metrics["val_loss"] = six_digits(sum(losses) / len(losses))
            metrics["val_x0_mse"] = six_digits(sum(errors) / len(errors))
            metrics["val_loss_by_t"] = {f"{t:g}": six_digits(loss) for t, loss in zip(levels, losses, strict=True)}
        return metrics

    def parts(self) -> dict[str, Any]:
        return {"network": self.network, "ema": self.ema, "optimizers": self.optimizers}


def open_diffusion_trainer(
    shards: Path,  # the set's folder
    embeddings: Path,  # its captions' vectors
    unet: UnetParams,
    diffusion: DiffusionParams,
    params: TrainParams,
    dist: DistContext,
) -> DiffusionTrainer:
    """A network as `params.seed` starts it, with its feed and its validation clips."""
    texts = CaptionTable.read(embeddings, dist)
    network, initial = start_network(unet, params, texts), find_initial(params.init_from, unet)
    if initial is not None:
        take_weights(network, initial)
        if line := read_otherwise(initial, asdict(texts.info), diffusion.objective):
            log.warning("%s", line)
    return DiffusionTrainer(
        network,
        open_feed(shards, params, known=texts.index, flip=params.flip, peers=dist),
        texts,
        diffusion=diffusion,
        params=params,
        shares=DropShares(diffusion.p_uncond, params.text_dropout, params.prob_focus_present),
        dist=dist,
        validation=open_validation(shards, params, texts),
        initial=initial,
    )


def start_network(unet: UnetParams, params: TrainParams, texts: CaptionTable) -> UNet3D:
    """The network as `params.seed` starts it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        return build_unet(
            unet,
            frames=params.frames,
            resolution=params.resolution,
            channels=params.channels,
            text_width=texts.info.width,
            takes_frames=bool(params.given_frames),
        )


def given_shares(params: TrainParams) -> GivenShares | None:
    """None where no clip is given any of its frames."""
    if not params.given_frames:
        return None
    return GivenShares(params.given_frames, params.given_share, params.given_noise)


def text_statistics(texts: CaptionTable, captions: list[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pooled mean and deviation, token mean and deviation, each (D,), over distinct captions and their real tokens."""
    pooled, tokens = _Moments(texts.info.width), _Moments(texts.info.width)
    for start in range(0, len(captions), 1024):
        batch = texts.batch(captions[start : start + 1024])
        pooled.add(batch.pooled)
        tokens.add(batch.tokens[batch.mask])
    return *pooled.result(), *tokens.result()


class _Moments:
    """Mean and deviation of rows, block by block, in float64."""

    def __init__(self, width: int) -> None:
        self.count, self.total = 0, torch.zeros(2, width, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        self.count += len(rows)
        self.total += torch.stack([rows.double().sum(0), rows.double().square().sum(0)])

    def result(self) -> tuple[Tensor, Tensor]:
        mean, square = self.total / self.count
        return mean.float(), (square - mean.square()).clamp(min=0.0).sqrt().float().clamp(min=STD_MIN)
