"""The training loop of the diffusion network: from a feed of clips to weights, one process or many, resumable.

Everything random in a step follows from (seed, step, position in the global batch), so a run that was killed and one
that was not end in the same bytes (on a CPU, for one thread count). What a step costs beside the network is kept off
the device's path: clips are prepared a thread ahead, losses are fetched in groups on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline.config.training import TrainParams
from pipeline.diffusion.noise import MODEL_STREAM, DropShares, derive_seed
from pipeline.diffusion.process import Diffusion
from pipeline.diffusion.validation import Validation
from pipeline.text.captions import CaptionTable
from pipeline.training.batches import Prepared, preparer, to_device
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.determinism import repeatable
from pipeline.training.distributed import DistContext, is_lost_peer
from pipeline.training.feed import ClipFeed, prefetch
from pipeline.training.optimizers import lr_share
from pipeline.training.precision import autocast, choose_dtype, tune_backends
from pipeline.training.preview import Preview
from pipeline.training.run import Run, TrainResult
from pipeline.training.stopping import StopRequest, explain_out_of_memory, how_to_go_on
from pipeline.training.thread_parallel import ThreadDataParallel, num_workers

log = logging.getLogger("t2v")

STEPS_PER_FETCH = 10  # on a GPU: losses, and requests to stop, are looked at this often


def train(
    network: nn.Module,  # on the CPU, freshly built
    feed: ClipFeed,
    texts: CaptionTable | None,  # None: a network without captions
    *,
    diffusion: Diffusion,
    params: TrainParams,
    shares: DropShares,
    dist: DistContext,
    checkpoints: Checkpoints,
    validation: Validation | None = None,
    preview: Preview | None = None,
    live_folder: Path | None = None,  # for loss.csv and val.csv while it runs
) -> TrainResult:
    """Train to `params.steps`, from the newest checkpoint where there is one.

    Raises ValueError where the loss stops being finite, memory runs out or another process is lost, and
    KeyboardInterrupt after Ctrl-C or SIGTERM, the state saved.
    """
    workers = num_workers(network, dist, params)
    positions = dist.positions(params.batch_size, params.accumulate * workers)
    tune_backends(dist.device)
    dtype = choose_dtype(params.precision, dist.device)
    run = Run(network.to(dist.device).train(), params, dtype)
    _resume(run, checkpoints, dist)
    parallel = ThreadDataParallel(dist.wrap(network), workers, compiled=params.compile)
    loss_of = partial(_loss, diffusion, partial(autocast, dist.device, dtype), dist.device, params.seed)
    look = partial(_look, run, diffusion, dist, partial(autocast, dist.device, dtype), validation, preview, live_folder)
    prepare = preparer(feed, texts, diffusion, shares, positions, dist.device)
    advice = _how_to_use_less_memory(params)
    fetch_every = 1 if dist.device.type == "cpu" else STEPS_PER_FETCH

    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        stack.enter_context(repeatable(dist.device))
        bar = stack.enter_context(_progress_bar(run.step, params.steps, dist))
        steps = run.timed(prefetch(prepare, range(run.step, params.steps)))
        for micro_batches in steps:
            with explain_out_of_memory(run.step, advice), _explain_lost_peer(run, checkpoints, dist):
                loss = parallel.add_gradients(partial(loss_of, run.step), micro_batches)
                grad_norm = run.optimizers.step(run.step)
                run.ema.update(run.step)
            run.history.add(run.step + 1, loss, params.lr * lr_share(run.step, params), grad_norm)
            run.step += 1
            bar.update()

            validates, samples = (_is_due(run.step, every, params) for every in (params.val_every, params.sample_every))
            saves = _is_due(run.step, params.checkpoint_every, params)
            if not (run.step % fetch_every == 0 or validates or samples or saves):
                continue
            with _explain_lost_peer(run, checkpoints, dist):
                _settle(run, params, checkpoints, dist)
                stops = dist.any(stop.asked)
            bar.set_postfix_str(
                f"loss {run.history.steps[-1].loss:.4f}, {_speed(bar, params):.0f} clips/s", refresh=False
            )
            if dist.is_main_process:
                with explain_out_of_memory(run.step, advice):
                    look(params, validates=validates, samples=samples)
                if saves or stops:
                    checkpoints.save(run.step, run.state_dict())
            if stops and run.step < params.steps:
                raise KeyboardInterrupt(how_to_go_on(run.step, params.steps, checkpoints.folder))
    return run.result(params, dist, dtype)


def _loss(
    diffusion: Diffusion,
    context: Callable[[], AbstractContextManager[object]],
    device: torch.device,
    seed: int,
    step: int,
    model: Callable[..., Tensor],
    prepared: Prepared,
) -> Tensor:
    """The mean loss of a micro-batch; the network's own dropout follows from (seed, step, position) too."""
    batch = to_device(prepared, device)
    torch.manual_seed(derive_seed(seed, step, MODEL_STREAM, batch.position))
    x_t = diffusion.add_noise(batch.x0, batch.eps, batch.t)
    with context():
        answer = model(x_t, batch.t, batch.text, **batch.drops)
    return diffusion.loss(answer.float(), batch.x0, batch.eps, x_t, batch.t).mean()


def _settle(run: Run, params: TrainParams, checkpoints: Checkpoints, dist: DistContext) -> None:
    """Fetch the losses; a loss or gradient that is not finite ends the run before it is saved or shown."""
    bad = run.history.settle(dist)
    if bad is not None:
        kept = checkpoints.paths()
        raise ValueError(
            f"loss {bad.loss} and gradient norm {bad.grad_norm} at step {bad.step} (train.seed={params.seed}): "
            f"training diverged; lower train.lr={params.lr}, raise train.warmup_steps or set train.precision to fp32"
            + (f"; kept: {kept[-1]}" if kept else "")
        )


def _look(
    run: Run,
    diffusion: Diffusion,
    dist: DistContext,
    context: Callable[[], AbstractContextManager[object]],
    validation: Validation | None,
    preview: Preview | None,
    live_folder: Path | None,
    params: TrainParams,
    *,
    validates: bool,
    samples: bool,
) -> None:
    """Validate, sample and say where the run is, by the EMA weights."""
    if validates and validation is not None:
        rows = validation.measure(run.ema.network, diffusion, dist.device, context, run.step)
        run.history.validations += rows
        mean = sum(row.loss for row in rows) / len(rows)
        log.info("step %d/%d: loss %.4f, validation %.4f", run.step, params.steps, run.history.steps[-1].loss, mean)
    if samples and preview is not None:
        with context():
            log.info(
                "step %d: samples in %s", run.step, preview.write(run.ema.network, diffusion, dist.device, run.step)
            )
    if live_folder is not None and (validates or samples):
        run.history.write(live_folder)


def _resume(run: Run, checkpoints: Checkpoints, dist: DistContext) -> None:
    """Load the newest whole checkpoint, the one that the first process chose, where there is one."""
    path = dist.broadcast(checkpoints.newest() if dist.is_main_process else None)
    if path is not None:
        run.load(*checkpoints.load(path))
        if dist.is_main_process:
            log.info("resuming after step %d from %s", run.step, path)


@contextmanager
def _explain_lost_peer(run: Run, checkpoints: Checkpoints, dist: DistContext) -> Iterator[None]:
    """Where another process is gone: save what the last whole step left, and say so."""
    try:
        yield
    except RuntimeError as error:
        if dist.world_size == 1 or not is_lost_peer(error):
            raise
        whole = run.history.steps[-1].step if run.history.steps else 0
        if dist.is_main_process and whole == run.step and not run.history.pending:
            checkpoints.save(run.step, run.state_dict())
        raise ValueError(
            f"another of the {dist.world_size} processes died at step {run.step}; run the same command again to go on "
            f"from {checkpoints.folder}"
        ) from None


def _is_due(step: int, every: int, params: TrainParams) -> bool:
    return step % every == 0 or step == params.steps


def _progress_bar(step: int, steps: int, dist: DistContext) -> tqdm:
    return tqdm(
        total=steps,
        initial=step,
        desc="train",
        unit="step",
        dynamic_ncols=True,
        disable=None if dist.is_main_process else True,
    )


def _speed(bar: tqdm, params: TrainParams) -> float:
    elapsed = bar.format_dict["elapsed"]
    return (bar.n - bar.initial) * params.batch_size / elapsed if elapsed else 0.0


def _how_to_use_less_memory(params: TrainParams) -> str:
    return (
        f"raise train.accumulate={params.accumulate} (a micro-batch is now {params.batch_size // params.accumulate} "
        "clips over all processes), or lower train.batch_size, train.resolution, train.frames or unet.dim"
    )
