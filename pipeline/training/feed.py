"""The clips of each step, a caption for each, mirrored or not: a pure function of (seed, step, position).

A position is a place in the *global* batch, so a resumed run, and one process or eight, see the same data. An epoch is
one seeded order of the clips; a batch may span two. `prefetch` prepares steps ahead in a thread.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pipeline.config.training import LoopParams
from pipeline.model_io.clip_dataset import Clips, open_clips
from pipeline.model_io.clip_decoding import ClipShape
from pipeline.model_io.seeds import EPOCH_STREAM, STEP_STREAM
from pipeline.runtime.row_file import Peers

log = logging.getLogger("t2v")
T = TypeVar("T")
SIDES = re.compile(r"\b(left|right)|clockwise", re.IGNORECASE)


@dataclass(frozen=True)
class ClipBatch:
    """Some positions of a step's global batch."""

    numbers: np.ndarray  # int64 (b,) clip numbers within the split
    frames: Tensor  # uint8 (b, F, H, W, C)
    captions: tuple[str, ...]
    seeds: np.ndarray  # int64 (b,), one for all else that is random in a position


class ClipFeed:
    """The batches of a split. Raises ValueError where `flip` would make captions lie."""

    def __init__(self, clips: Clips, *, batch_size: int, seed: int, flip: bool = False) -> None:
        self.clips, self.batch_size, self.seed, self.flip = clips, batch_size, seed, flip
        self._orders: dict[int, np.ndarray] = {}
        if flip:
            refuse_flip(clips.index.captions)

    def batch(self, step: int, start: int = 0, stop: int | None = None) -> ClipBatch:
        """Positions start to stop (default: all) of the batch of `step`."""
        numbers = self._numbers(step * self.batch_size, self.batch_size)[start:stop]
        self.clips.expect(self._numbers(step * self.batch_size + self.clips.window, self.batch_size))
        rng = np.random.default_rng([self.seed, step, STEP_STREAM])
        choice, mirror = rng.random(self.batch_size)[start:stop], rng.random(self.batch_size)[start:stop] < 0.5
        seeds = rng.integers(2**63, size=self.batch_size)[start:stop]
        frames = self.clips.frames(numbers)
        if self.flip:
            frames[mirror] = frames[mirror, :, :, ::-1]
        offered = [self.clips.index.captions[number] for number in numbers]
        captions = tuple(texts[int(u * len(texts))] for texts, u in zip(offered, choice, strict=True))
        return ClipBatch(numbers, torch.from_numpy(frames), captions, seeds)

    def _numbers(self, first: int, count: int) -> np.ndarray:
        """Clip numbers of samples first … first + count - 1 of the whole run."""
        samples = np.arange(first, first + count)
        epochs, places = samples // len(self.clips), samples % len(self.clips)
        return np.array([self._order(int(e))[p] for e, p in zip(epochs, places, strict=True)], np.int64)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {kept: order for kept, order in self._orders.items() if kept >= epoch - 2}
            self._orders[epoch] = self.clips.order(np.random.default_rng([self.seed, epoch, EPOCH_STREAM]))
        return self._orders[epoch]


def clip_shape(params: LoopParams) -> ClipShape:
    return ClipShape(params.frames, params.resolution, params.channels)


def open_feed(
    folder: Path,
    params: LoopParams,
    *,
    known: Container[str] | None = None,  # captions that have vectors; None: all
    flip: bool = False,
    peers: Peers | None = None,  # processes of this machine that train on the same clips
) -> ClipFeed:
    """The train split's feed; clips without a known caption are left out, and counted in the log."""
    clips = open_clips(
        folder, "train", clip_shape(params), ram_budget_gb=params.ram_budget_gb, known=known, peers=peers
    )
    log.info(
        "%s: %d train clips %s%s",
        folder,
        len(clips),
        "decoded once" if clips.window == 0 else f"streamed through {2 * clips.window} of them",
        f", {clips.index.dropped} left out for want of a known caption" if clips.index.dropped else "",
    )
    return ClipFeed(clips, batch_size=params.batch_size, seed=params.seed, flip=flip)


def refuse_flip(captions: Iterable[tuple[str, ...]]) -> None:
    """Raise ValueError where a caption says a side."""
    for texts in captions:
        for text in texts:
            if SIDES.search(text):
                raise ValueError(
                    f"train.flip: a mirrored clip would contradict the caption {text!r}; set flip to false"
                )


def prefetch(make: Callable[[int], T], steps: Iterable[int], depth: int = 2) -> Generator[T, None, None]:
    """make(step) for each step, in order, up to `depth` ahead in one thread of its own."""
    # One torch thread in there: a second OpenMP team would fight with the training's own.
    with ThreadPoolExecutor(1, thread_name_prefix="feed", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
