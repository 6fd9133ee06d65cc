"""A model's samples of prompts: one clip per prompt by its own seed, and kept until the evaluation has ended well.

Sampling is nearly all of an evaluation's time. What is drawn is therefore kept in a scratch folder, under a name that
follows from everything that decides it, so that an evaluation that failed or was stopped later does not draw it again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.config.models import SamplingParams
from pipeline.evaluation.prompts import PromptSet
from pipeline.model_io.clip_decoding import ClipShape, fit_clip
from pipeline.runtime.files import whole_file
from pipeline.runtime.parallel import run_on_cores
from pipeline.runtime.progress import Progress
from pipeline.sampling.video_model import VideoModel
from pipeline.text.captions import CaptionTable, TextBatch

log = logging.getLogger("t2v")

KEPT = ".npz"
LEAST_BATCH = 4  # clips a core; in smaller batches matrix products round otherwise


@dataclass(frozen=True)
class Samples:
    """Clips uint8 (N, F, H, W, C), and what they cost."""

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


@dataclass(frozen=True)
class PromptSampler:
    """A model with all that its samples depend on beside prompts and seeds."""

    model: VideoModel
    texts: CaptionTable | None  # None: the model reads the words of a caption itself
    sampling: SamplingParams | None  # None: the model has no such choices
    batch_size: int
    kept: Path | None = None  # folder of what is drawn; None: nothing is kept

    def sample(
        self,
        prompts: PromptSet,
        *,
        take: int = 0,
        sampling: SamplingParams | None = None,  # None: the sampler's own
        desc: str = "",
    ) -> Samples:
        """One clip per prompt. On a GPU too small for the batch, smaller ones are taken: seeds are the clips' own."""
        sampling, text, seeds = sampling or self.sampling, self.text(prompts.captions), prompts.seeds(take)
        given = self.given(prompts, sampling)
        path = None
        if self.kept is not None:
            path = self.kept / f"{prompts.kind}-{_digest(prompts.captions, seeds, sampling, text, given)}{KEPT}"
            if path.is_file():
                log.info("%s: %d clips as drawn before, from %s", prompts.kind, len(prompts), path)
                return _read(path)
        samples = self._draw(prompts, seeds, sampling, text, given, desc or f"sample {prompts.kind}")
        if path is not None:
            _write(path, samples)
        return samples

    def given(self, prompts: PromptSet, sampling: SamplingParams | None) -> np.ndarray | None:
        """The real clips' first frames, uint8 (N, K, H, W, C), that the samples go on from; None where they do not."""
        if sampling is None or not sampling.given_frames:
            return None
        card = self.model.card
        shape = ClipShape(card.frames, card.resolution, card.channels)
        return np.stack([fit_clip(clip, shape)[: sampling.given_frames] for clip in prompts.real])

    def forget(self) -> None:
        """Drop what is kept: the evaluation's outputs stand."""
        for path in self.kept.glob(f"*{KEPT}") if self.kept is not None else ():
            path.unlink()

    def text(self, captions: Sequence[str]) -> TextBatch | None:
        """Vectors of captions, out of the table where it has them all; None where the model reads the words itself."""
        if self.model.card.text is None:
            return None
        if self.texts is not None and all(caption in self.texts.index for caption in captions):
            return self.texts.batch(captions)
        distinct = list(dict.fromkeys(captions))
        encoded = self.model.encode(distinct)
        assert encoded is not None
        return encoded.select(torch.tensor([distinct.index(caption) for caption in captions]))

    def _draw(
        self,
        prompts: PromptSet,
        seeds: list[int],
        sampling: SamplingParams | None,
        text: TextBatch | None,
        given: np.ndarray | None,
        desc: str,
    ) -> Samples:
        counter, on_cores = _PassCounter(self.model.network), self.model.device.type == "cpu"
        batch_size = self.batch_size
        if on_cores:  # none idle while another has a whole batch left
            batch_size = min(batch_size, max(LEAST_BATCH, -(-len(prompts) // torch.get_num_threads())))
        started = time.perf_counter()
        with Progress(total=len(prompts), desc=desc) as bar, counter:

            def sample(start: int) -> list[np.ndarray]:
                some = slice(start, start + batch_size)
                part = None if text is None else text.select(torch.arange(len(prompts))[some])
                frames = None if given is None else given[some]
                clips = _sample_fitting(self.model, prompts.captions[some], seeds[some], part, sampling, frames)
                bar.update(len(clips))
                return clips

            jobs = [partial(sample, start) for start in range(0, len(prompts), batch_size)]
            batches = run_on_cores(jobs) if on_cores else [job() for job in jobs]
        return Samples(np.stack(list(chain.from_iterable(batches))), time.perf_counter() - started, counter.passes)


def _sample_fitting(
    model: VideoModel,
    captions: list[str],
    seeds: list[int],
    text: TextBatch | None,
    sampling: SamplingParams | None,
    given: np.ndarray | None,
) -> list[np.ndarray]:
    try:
        return list(model.sample(captions, seeds, text=text, sampling=sampling, given=given))
    except torch.OutOfMemoryError:
        if len(captions) == 1:
            raise ValueError("one clip does not fit the device's memory; sample on the CPU or a larger GPU") from None
    half = len(captions) // 2
    log.info("%d clips at once do not fit the device's memory: trying %d", len(captions), half)
    clips = []
    for some in (slice(half), slice(half, len(captions))):
        part = None if text is None else text.select(torch.arange(len(captions))[some])
        frames = None if given is None else given[some]
        clips += _sample_fitting(model, captions[some], seeds[some], part, sampling, frames)
    return clips


def _digest(
    captions: Sequence[str],
    seeds: Sequence[int],
    sampling: SamplingParams | None,
    text: TextBatch | None,
    given: np.ndarray | None,
) -> str:
    """A name for everything that a model is asked."""
    asked = [list(captions), list(seeds), None if sampling is None else sampling.model_dump(mode="json")]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for vectors in () if text is None else (text.pooled, text.tokens, text.mask):
        digest.update(vectors.numpy().tobytes())
    if given is not None:
        digest.update(given.tobytes())
    return digest.hexdigest()[:16]


def _write(path: Path, samples: Samples) -> None:
    with whole_file(path) as partial_path, partial_path.open("wb") as file:
        np.savez(file, frames=samples.frames, seconds=samples.seconds, passes=samples.passes)


def _read(path: Path) -> Samples:
    with np.load(path) as stored:
        return Samples(stored["frames"], float(stored["seconds"]), int(stored["passes"]))


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
