"""The training loop of the GAN: from a feed of clips to the generator's averaged weights, resumable.

Everything random in a step follows from (seed, step), so a run that was killed and a run that was not end in the same
bytes (on a CPU, for one thread count). One process: the baseline is small.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.config.training import TrainGanParams
from pipeline.diffusion.noise import DRAW_STREAM, derive_seed
from pipeline.gan.discriminators import Discriminator
from pipeline.gan.generator import VideoGenerator
from pipeline.gan.hard_negatives import HardNegatives
from pipeline.gan.step import Batch, GanStep, make_batch
from pipeline.model_io.tensors import to_model
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.determinism import repeatable
from pipeline.training.ema import Ema
from pipeline.training.feed import ClipFeed, prefetch
from pipeline.training.gan_preview import GanPreview
from pipeline.training.history import write_csv
from pipeline.training.stopping import StopRequest, explain_out_of_memory, how_to_go_on

log = logging.getLogger("t2v")

COLUMNS = ("step", "loss_d", "loss_g", "contrast_d", "contrast_g", "r1")
CSV_ROWS = 1000


@dataclass(frozen=True)
class GanResult:
    """What training made. `weights` are the generator's averaged ones; the seconds depend on the machine."""

    weights: dict[str, Tensor]
    history: list[list[float]]  # one row of COLUMNS a step; r1 is that of the last step that measured it
    steps: int
    clips_seen: int
    seconds: float  # over all attempts

    def last_losses(self, steps: int = 100) -> dict[str, float]:
        """Means over the last `steps`, to six digits."""
        means = np.mean(self.history[-steps:], axis=0)
        return {name: float(f"{mean:.6g}") for name, mean in zip(COLUMNS[1:], means[1:], strict=True)}


class GanRun:
    """All that changes while training, and all that a checkpoint holds."""

    def __init__(self, generator: VideoGenerator, discriminator: Discriminator, params: TrainGanParams) -> None:
        self.gan = GanStep(generator, discriminator, params)
        self.ema = Ema(generator, decay=params.ema_decay)
        self.history: list[list[float]] = []
        self.step = 0  # steps done
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "gan": self.gan.state_dict(),
            "ema": self.ema.state_dict(),
            "history": torch.tensor(self.history, dtype=torch.float64).reshape(-1, len(COLUMNS)),
            "seconds": self.seconds,
        }

    def load(self, step: int, state: dict[str, Any]) -> None:
        self.gan.load_state_dict(state["gan"])
        self.ema.load_state_dict(state["ema"])
        self.history = state["history"].tolist()
        self.step, self.seconds = step, state["seconds"]


def write_losses(path: Path, history: list[list[float]]) -> None:
    """The losses as CSV, means over windows where there are more than CSV_ROWS steps."""
    width = max(1, -(-len(history) // CSV_ROWS))
    windows = [history[start : start + width] for start in range(0, len(history), width)]
    write_csv(path, COLUMNS, ([int(rows[-1][0]), *np.mean(rows, axis=0)[1:].tolist()] for rows in windows))


def train_gan(
    generator: VideoGenerator,  # freshly built, on the CPU
    discriminator: Discriminator,
    feed: ClipFeed,
    *,
    params: TrainGanParams,
    device: torch.device,
    checkpoints: Checkpoints,
    preview: GanPreview | None = None,
    live_folder: Path | None = None,  # for loss.csv while it runs
) -> GanResult:
    """Train to `params.steps`, from the newest checkpoint where there is one.

    Raises ValueError where a loss stops being finite or memory runs out, and KeyboardInterrupt after Ctrl-C or SIGTERM,
    the state saved.
    """
    run = GanRun(generator.to(device).train(), discriminator.to(device).train(), params)
    _resume(run, checkpoints)
    prepare = _preparer(generator, feed, params)
    bar = tqdm(total=params.steps, initial=run.step, desc="train_gan", unit="step", dynamic_ncols=True, disable=None)
    with StopRequest() as stop, repeatable(device), bar:
        for batch in prefetch(prepare, range(run.step, params.steps)):
            started = time.perf_counter()
            rng = torch.Generator().manual_seed(derive_seed(params.seed, run.step, DRAW_STREAM))
            with explain_out_of_memory(run.step, _how_to_use_less_memory(params)):
                losses = run.gan.step(batch.to(device), run.step, rng)
            _note(run, losses, params, checkpoints)
            run.ema.update(run.step)
            run.step += 1
            run.seconds += time.perf_counter() - started
            bar.set_postfix_str(
                f"discriminators {losses['loss_d']:.3f}, generator {losses['loss_g']:.3f}", refresh=False
            )
            bar.update()

            if _is_due(run.step, params.sample_every, params):
                _look(run, preview, live_folder)
            if _is_due(run.step, params.checkpoint_every, params) or stop.asked:
                checkpoints.save(run.step, run.state_dict())
            if stop.asked and run.step < params.steps:
                raise KeyboardInterrupt(how_to_go_on(run.step, params.steps, checkpoints.folder))
    weights = {name: tensor.detach().cpu() for name, tensor in run.ema.network.state_dict().items()}
    return GanResult(weights, run.history, run.step, run.step * params.batch_size, run.seconds)


def _preparer(generator: VideoGenerator, feed: ClipFeed, params: TrainGanParams) -> Callable[[int], Batch]:
    """A function from step to its batch, for `prefetch`."""
    count, read = params.hard_negatives, generator.vocabulary.indices
    negatives = HardNegatives(chain.from_iterable(feed.clips.index.captions) if count else ())

    def prepare(step: int) -> Batch:
        clips = feed.batch(step)
        rngs = [np.random.default_rng(seed) for seed in clips.seeds]
        drawn = [negatives.draw(caption, count, rng) for caption, rng in zip(clips.captions, rngs, strict=True)]
        return make_batch(to_model(clips.frames), clips.captions, drawn, count, read)

    return prepare


def _note(run: GanRun, losses: dict[str, float], params: TrainGanParams, checkpoints: Checkpoints) -> None:
    """Add a history row; a loss that is not finite ends the run before it is saved."""
    last_r1 = run.history[-1][-1] if run.history else 0.0
    row = {"step": float(run.step + 1), "r1": last_r1, **losses}
    run.history.append([row[name] for name in COLUMNS])
    if all(math.isfinite(value) for value in losses.values()):
        return
    named = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    kept = checkpoints.paths()
    raise ValueError(
        f"{named} at step {run.step + 1} (train_gan.seed={params.seed}): training diverged; lower train_gan.lr="
        f"{params.lr} and lr_discriminator={params.lr_discriminator}, or raise train_gan.r1_weight={params.r1_weight}"
        + (f"; kept: {kept[-1]}" if kept else "")
    )


def _look(run: GanRun, preview: GanPreview | None, live_folder: Path | None) -> None:
    """Samples of the averaged weights, and the losses so far."""
    if preview is not None:
        log.info("step %d: samples in %s", run.step, preview.write(run.ema.network, run.step))  # type: ignore[arg-type]
    if live_folder is not None:
        write_losses(live_folder / "loss.csv", run.history)


def _resume(run: GanRun, checkpoints: Checkpoints) -> None:
    path = checkpoints.newest()
    if path is not None:
        run.load(*checkpoints.load(path))
        log.info("resuming after step %d from %s", run.step, path)


def _is_due(step: int, every: int, params: TrainGanParams) -> bool:
    return step % every == 0 or step == params.steps


def _how_to_use_less_memory(params: TrainGanParams) -> str:
    return (
        f"lower train_gan.batch_size={params.batch_size}, resolution={params.resolution}, frames={params.frames} "
        f"or base_dim={params.base_dim}"
    )
