"""The training loop: from a trainer's steps to its averaged weights, one process or many, resumable.

Everything random in a step follows from (seed, step, position in the batch), so a run that was killed and one that was
not end in the same bytes (on a CPU, for one thread count). What a step costs beside the network is kept off the
device's path: batches are prepared a thread ahead, losses are fetched in groups on a GPU.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from tqdm import tqdm

from pipeline.config.params import LoopParams
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.distributed import DistContext, is_lost_peer
from pipeline.training.feed import prefetch
from pipeline.training.history import History
from pipeline.training.precision import autocast, repeatable
from pipeline.training.preview import Preview
from pipeline.training.stopping import StopRequest, explain_out_of_memory, find_divergence, how_to_go_on
from pipeline.training.trainer import BatchT, Trainer

log = logging.getLogger("t2v")
T = TypeVar("T")

STEPS_PER_FETCH = 10  # on a GPU: losses, and requests to stop, are looked at this often


class Run:
    """A trainer on its way: all that changes while it trains, and all that a checkpoint holds."""

    def __init__(self, trainer: Trainer[Any]) -> None:
        self.trainer = trainer
        self.history = History(trainer.columns, trainer.validation_columns)
        self.step = 0  # steps done
        self.seconds, self.wait_seconds = 0.0, 0.0  # over all attempts; those spent waiting for batches

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, on the CPU."""
        return {name: tensor.detach().cpu() for name, tensor in self.trainer.ema.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "trainer": self.trainer.state_dict(),
            "history": self.history.state_dict(),
            "seconds": self.seconds,
            "wait_seconds": self.wait_seconds,
        }

    def load(self, step: int, state: dict[str, Any]) -> None:
        self.trainer.load_state_dict(state["trainer"])
        self.history.load_state_dict(state["history"])
        self.step, self.seconds, self.wait_seconds = step, state["seconds"], state["wait_seconds"]

    def timed(self, batches: Generator[T, None, None]) -> Generator[T, None, None]:
        """Pass batches on; add the time up: all of it, and what the loop spent waiting for them."""
        try:
            while True:
                asked = time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                got = time.perf_counter()
                self.wait_seconds += got - asked
                self.seconds += got - asked
                yield batch
                self.seconds += time.perf_counter() - got
        finally:
            batches.close()


def train(
    trainer: Trainer[BatchT],
    params: LoopParams,
    *,
    dist: DistContext,
    checkpoints: Checkpoints,
    preview: Preview | None = None,
    live_folder: Path | None = None,  # for loss.csv and val.csv while it runs
) -> Run:
    """Train to `params.steps`, from the newest checkpoint where there is one.

    Raises ValueError where the loss diverges, memory runs out or another process is lost, and KeyboardInterrupt after
    Ctrl-C or SIGTERM, the state saved.
    """
    run = Run(trainer)
    _resume(run, checkpoints, dist)
    fetch_every = 1 if dist.device.type == "cpu" else STEPS_PER_FETCH

    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        stack.enter_context(repeatable(dist.device))
        bar = stack.enter_context(_progress_bar(run, params, dist))
        for batch in run.timed(prefetch(trainer.prepare, range(run.step, params.steps))):
            with explain_out_of_memory(run.step, trainer.memory_advice), _explain_lost_peer(run, checkpoints, dist):
                values = trainer.step(run.step, batch)
            run.step += 1
            run.history.add(run.step, values)
            bar.update()

            validates = trainer.val_every is not None and _is_due(run.step, trainer.val_every, params)
            samples = _is_due(run.step, params.sample_every, params)
            saves = _is_due(run.step, params.checkpoint_every, params)
            if not (run.step % fetch_every == 0 or validates or samples or saves):
                continue
            with _explain_lost_peer(run, checkpoints, dist):
                _fetch_losses(run, params, checkpoints, dist)
                stops = dist.any(stop.asked)
            bar.set_postfix_str(_losses(run, 4), refresh=False)
            if dist.is_main_process:
                with explain_out_of_memory(run.step, trainer.memory_advice):
                    if validates:
                        _validate(run, params)
                    if samples and preview is not None:
                        _sample(run, preview, dist)
                if live_folder is not None and (validates or samples):
                    run.history.write(live_folder)
                if saves or stops:
                    checkpoints.save(run.step, run.state_dict())
            if stops and run.step < params.steps:
                raise KeyboardInterrupt(how_to_go_on(run.step, params.steps, checkpoints.folder))
    return run


def _resume(run: Run, checkpoints: Checkpoints, dist: DistContext) -> None:
    """Load the newest whole checkpoint, the one that the main process chose, or start."""
    path = dist.broadcast(checkpoints.newest() if dist.is_main_process else None)
    if path is None:
        run.trainer.start()
        return
    run.load(*checkpoints.load(path))
    if dist.is_main_process:
        log.info("resuming after step %d from %s", run.step, path)


def _fetch_losses(run: Run, params: LoopParams, checkpoints: Checkpoints, dist: DistContext) -> None:
    """Wait for the losses; where they diverge, the run ends before it is saved or shown."""
    rows = run.history.fetch(dist)
    diverged = find_divergence(run.history, rows, ended=run.step == params.steps)
    if diverged is not None:
        kept = checkpoints.paths()
        raise ValueError(
            f"{diverged} ({run.trainer.name}.seed={params.seed}): training diverged; {run.trainer.divergence_advice}"
            + (f"; kept: {kept[-1]}" if kept else "")
        )


def _validate(run: Run, params: LoopParams) -> None:
    run.history.validations += run.trainer.validate(run.step)
    losses = run.history.last_validation("loss")
    if losses:
        mean = sum(losses) / len(losses)
        log.info("step %d/%d: %s, validation %.4f", run.step, params.steps, _losses(run, 4), mean)


def _sample(run: Run, preview: Preview, dist: DistContext) -> None:
    with autocast(dist.device, run.trainer.dtype):
        log.info("step %d: samples in %s", run.step, preview.write(run.trainer.ema.network, run.step))


@contextmanager
def _explain_lost_peer(run: Run, checkpoints: Checkpoints, dist: DistContext) -> Iterator[None]:
    """Where another process is gone: save what the last whole step left, and say so."""
    try:
        yield
    except RuntimeError as error:
        if dist.world_size == 1 or not is_lost_peer(error):
            raise
        whole = run.history.last()["step"]
        if dist.is_main_process and whole == run.step and not run.history.pending:
            checkpoints.save(run.step, run.state_dict())
        raise ValueError(
            f"another of the {dist.world_size} processes died at step {run.step}; run the same command again to go on "
            f"from {checkpoints.folder}"
        ) from None


def _is_due(step: int, every: int, params: LoopParams) -> bool:
    return step % every == 0 or step == params.steps


def _progress_bar(run: Run, params: LoopParams, dist: DistContext) -> tqdm:
    return tqdm(
        total=params.steps,
        initial=run.step,
        desc=run.trainer.name,
        unit="step",
        dynamic_ncols=True,
        disable=None if dist.is_main_process else True,
    )


def _losses(run: Run, digits: int) -> str:
    """The last step's losses: `loss 0.1234`."""
    last = run.history.last()
    return ", ".join(f"{name} {value:.{digits}f}" for name, value in last.items() if name.startswith("loss"))
