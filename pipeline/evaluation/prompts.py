"""What a model is asked: prompts of each kind with the real clips they describe, and the samples it answers with."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pipeline.config.models import SamplingParams
from pipeline.data.shards import Row, read_rows
from pipeline.model_io.clip_dataset import ClipShape, fit_clip, keep_known
from pipeline.model_io.model_card import ModelCard
from pipeline.runtime.parallel import run_on_cores
from pipeline.sampling.video_model import VideoModel
from pipeline.text.captions import CaptionTable

log = logging.getLogger("t2v")
Answer = TypeVar("Answer")

SPLIT_OF_KIND = {
    "shapes": {"seen": "val", "held_out": "held_out", "reworded": "reworded"},
    "moving_mnist": {"seen": "val", "held_out": "held_out", "reworded": "reworded"},
    "msrvtt": {"seen": "validate", "trained": "train"},
}


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one kind; row i of `real` is the clip that prompt i was written for, in the model's shape."""

    kind: str
    captions: list[str]
    attributes: list[dict[str, Any]]
    keys: list[str]
    real: np.ndarray  # uint8 (N, F, H, W, 3)
    first_seed: int

    def __len__(self) -> int:
        return len(self.captions)

    def seeds(self, take: int = 0) -> list[int]:
        """One per prompt; another take has other seeds."""
        return [self.first_seed + index + take * 100_000 for index in range(len(self))]

    def first(self, count: int) -> PromptSet:
        return PromptSet(
            self.kind,
            self.captions[:count],
            self.attributes[:count],
            self.keys[:count],
            self.real[:count],
            self.first_seed,
        )


def load_prompts(
    shards: Path,
    card: ModelCard,
    *,
    count: int,
    seed: int,
    known: Container[str] | None = None,  # captions that have vectors
) -> list[PromptSet]:
    """The first `count` clips of each kind's split that have a known caption; a kind without such is left out."""
    sets = []
    for kind, split in SPLIT_OF_KIND[card.dataset].items():
        rows = list(islice(keep_known(read_rows(shards, split), known), count))
        if len(rows) < count:
            log.info("%s: %d of the %d prompts asked for: the split %s holds no more", kind, len(rows), count, split)
        if rows:
            sets.append(_prompt_set(kind, rows, card, seed))
    if not sets:
        raise ValueError(
            f"{shards}: no clip to judge {card.dataset} by: no validation split has clips with a caption that could be "
            "embedded; make more clips, or raise embed.max_tokens"
        )
    return sets


def _prompt_set(kind: str, rows: Sequence[Row], card: ModelCard, seed: int) -> PromptSet:
    captions = [row.captions[index % len(row.captions)] for index, row in enumerate(rows)]
    return PromptSet(
        kind,
        captions,
        [row.attributes for row in rows],
        [row.key for row in rows],
        real_clips(rows, card),
        seed,
    )


def real_clips(rows: Sequence[Row], card: ModelCard) -> np.ndarray:
    """uint8 (N, F, H, W, 3): real clips as the model would make them, with its frames and resolution."""
    shape = ClipShape(card.frames, card.resolution, 3)
    return np.stack([fit_clip(row.frames(), shape) for row in rows])


@dataclass(frozen=True)
class Samples:
    """A model's answers: uint8 (N, F, H, W, C), and what they cost."""

    frames: np.ndarray
    seconds: float
    passes: int  # of the network, over single clips

    def first(self, count: int) -> Samples:
        """A part, at the same cost a clip."""
        share = min(count, len(self.frames)) / len(self.frames)
        return Samples(self.frames[:count], self.seconds * share, round(self.passes * share))

    @property
    def seconds_per_clip(self) -> float:
        return self.seconds / len(self.frames)


def sample_prompts(
    model: VideoModel,
    table: CaptionTable | None,
    prompts: PromptSet,
    *,
    batch_size: int,
    sampling: SamplingParams | None = None,
    take: int = 0,
    desc: str = "",
) -> Samples:
    """One clip per prompt. On a GPU too small for the batch, smaller ones are taken: seeds are the clips' own."""
    seeds = prompts.seeds(take)
    counter = _PassCounter(model.network)
    started = time.perf_counter()
    with tqdm(total=len(prompts), desc=desc or f"sample {prompts.kind}", disable=None) as bar, counter:

        def sample(start: int) -> list[np.ndarray]:
            some = slice(start, start + batch_size)
            clips = _sample_fitting(model, table, prompts.captions[some], seeds[some], sampling)
            bar.update(len(clips))
            return clips

        jobs = [partial(sample, start) for start in range(0, len(prompts), batch_size)]
        on_cores = model.device.type == "cpu" and len(jobs) > 1
        batches = run_on_cores(jobs) if on_cores else [job() for job in jobs]
    return Samples(np.stack(list(chain.from_iterable(batches))), time.perf_counter() - started, counter.passes)


def _sample_fitting(
    model: VideoModel,
    table: CaptionTable | None,
    captions: list[str],
    seeds: list[int],
    sampling: SamplingParams | None,
) -> list[np.ndarray]:
    try:
        text = table.batch(captions) if table is not None and model.card.text is not None else None
        return list(model.sample(captions, seeds, text=text, sampling=sampling))
    except torch.OutOfMemoryError:
        if len(captions) == 1:
            raise ValueError("one clip does not fit the device's memory; sample on the CPU or a larger GPU") from None
    half = len(captions) // 2
    log.info("%d clips at once do not fit the device's memory: trying %d", len(captions), half)
    first = _sample_fitting(model, table, captions[:half], seeds[:half], sampling)
    return first + _sample_fitting(model, table, captions[half:], seeds[half:], sampling)


class _PassCounter:
    """Counts clips that went through a network while it is open."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.passes, self.lock = network, 0, threading.Lock()

    def __enter__(self) -> None:
        self.hook = self.network.register_forward_hook(self._count)

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _count(self, _module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        with self.lock:
            self.passes += len(inputs[0])
