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
from typing import Any, TypeVar

from torch import Tensor

from pipeline.runtime.progress import Progress
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

    def __init__(self, trainer: Trainer[Any], dist: DistContext) -> None:
        self.trainer, self.params, self.dist = trainer, trainer.params, dist
        self.history = History(trainer.columns, trainer.validation_columns)
        self.step = 0  # steps done
        self.seconds, self.wait_seconds = 0.0, 0.0  # over all attempts; those spent waiting for batches

    def is_due(self, every: int | None) -> bool:
        """Whether something that happens every so many steps (None: never), and after the last, happens now."""
        return every is not None and (self.step % every == 0 or self.step == self.params.steps)

    def losses(self) -> str:
        """The last step's losses, such as `loss 0.1234`."""
        last = self.history.last()
        return ", ".join(f"{name} {value:.4f}" for name, value in last.items() if name.startswith("loss"))

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
    dist: DistContext,
    checkpoints: Checkpoints,
    preview: Preview | None = None,  # samples and losses to look at while it runs
) -> Run:
    """Train to the last step, from the newest checkpoint where there is one.

    Raises ValueError where the loss diverges, memory runs out or another process is lost, and KeyboardInterrupt after
    Ctrl-C or SIGTERM, the state saved.
    """
    run, params = Run(trainer, dist), trainer.params
    _resume(run, checkpoints)
    fetch_every = 1 if dist.device.type == "cpu" else STEPS_PER_FETCH

    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        stack.enter_context(repeatable(dist.device))
        bar = stack.enter_context(_progress_bar(run))
        for batch in run.timed(prefetch(trainer.prepare, range(run.step, params.steps))):
            with explain_out_of_memory(run.step, trainer.memory_advice), _explain_lost_peer(run, checkpoints):
                values = trainer.step(run.step, batch)
            run.step += 1
            run.history.add(run.step, values)
            bar.update()

            validates, samples, saves = (
                run.is_due(every) for every in (trainer.val_every, params.sample_every, params.checkpoint_every)
            )
            if not (run.step % fetch_every == 0 or validates or samples or saves):
                continue
            with _explain_lost_peer(run, checkpoints):
                _fetch_losses(run, checkpoints)
                stops = dist.any(stop.asked)
            bar.set_postfix_str(run.losses(), refresh=False)
            if dist.is_main_process:
                with explain_out_of_memory(run.step, trainer.memory_advice):
                    _look(run, preview, validates=validates, samples=samples)
                if saves or stops:
                    checkpoints.save(run.step, run.state_dict())
            if stops and run.step < params.steps:
                raise KeyboardInterrupt(how_to_go_on(run.step, params.steps, checkpoints.folder))
    return run


def _resume(run: Run, checkpoints: Checkpoints) -> None:
    """Load the newest whole checkpoint, the one that the main process chose, or start."""
    path = run.dist.broadcast(checkpoints.newest() if run.dist.is_main_process else None)
    if path is None:
        run.trainer.start()
        return
    run.load(*checkpoints.load(path))
    if run.dist.is_main_process:
        log.info("resuming after step %d from %s", run.step, path)


def _fetch_losses(run: Run, checkpoints: Checkpoints) -> None:
    """Wait for the losses; where they diverge, the run ends before it is saved or shown."""
    rows = run.history.fetch(run.dist)
    sign = find_divergence(run.history, rows, ended=run.step == run.params.steps)
    if sign is not None:
        kept = checkpoints.paths()
        raise ValueError(
            f"{sign} ({run.trainer.name}.seed={run.params.seed}): training diverged; {run.trainer.divergence_advice}"
            + (f"; kept: {kept[-1]}" if kept else "")
        )


def _look(run: Run, preview: Preview | None, *, validates: bool, samples: bool) -> None:
    """Validate, sample and write the losses so far, by the averaged weights."""
    if validates:
        run.history.validations += run.trainer.validate(run.step)
        losses = run.history.last_validation("loss")
        mean = sum(losses) / len(losses)
        log.info("step %d/%d: %s, validation %.4f", run.step, run.params.steps, run.losses(), mean)
    if preview is None:
        return
    if samples:
        with autocast(run.dist.device, run.trainer.dtype):
            log.info("step %d: samples in %s", run.step, preview.write(run.trainer.ema.network, run.step))
    if validates or samples:
        run.history.write(preview.folder)


@contextmanager
def _explain_lost_peer(run: Run, checkpoints: Checkpoints) -> Iterator[None]:
    """Raise ValueError where another process is gone, having saved what the last whole step left."""
    try:
        yield
    except RuntimeError as error:
        if run.dist.world_size == 1 or not is_lost_peer(error):
            raise
        whole = run.history.last()["step"]
        if run.dist.is_main_process and whole == run.step and not run.history.pending:
            checkpoints.save(run.step, run.state_dict())
        raise ValueError(
            f"another of the {run.dist.world_size} processes died at step {run.step}; run the same command again to go "
            f"on from {checkpoints.folder}"
        ) from None


def _progress_bar(run: Run) -> Progress:
    options = {"dynamic_ncols": True, "disable": not run.dist.is_main_process}
    return Progress(total=run.params.steps, initial=run.step, desc=run.trainer.name, unit="step", **options)
