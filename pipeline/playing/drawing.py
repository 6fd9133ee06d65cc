"""Orders of the page to clips, one after another on one thread, with the picture after each denoising step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from pipeline.config.models import SamplingParams
from pipeline.generation.draw import check_lengths, prompt_notes
from pipeline.model_io.tensors import to_frames
from pipeline.runtime.device import find_device
from pipeline.sampling.names import SAMPLER_NAMES
from pipeline.sampling.samplers import Callback
from pipeline.sampling.standing import standing_sampling
from pipeline.sampling.video_model import SEED_MAX, VideoModel, load_model

MOST_CLIPS = 8
MOST_STEPS = 200
MOST_GUIDANCE = 20.0
LONGEST_PROMPT = 300  # characters


@dataclass(frozen=True)
class Order:
    """A request: clip k has the seed `seed + k`. A GAN takes no heed of steps, guidance and sampler."""

    model: str  # a name of the page's list
    prompt: str
    seed: int
    clips: int
    steps: int
    guidance: float
    sampler: str


@dataclass(frozen=True)
class Shown:
    """Clips after a step, or the finished ones: then `step` is `steps`."""

    frames: np.ndarray  # uint8 (N, F, H, W, C)
    step: int
    steps: int
    is_done: bool


class Drawing:
    """The models of the page. One job runs at a time, whoever asked for it and whether or not they still wait."""

    def __init__(self, folders: Mapping[str, Path], device: str = "auto") -> None:
        self.folders, self._device = dict(folders), find_device(device)
        self._one_job = ThreadPoolExecutor(max_workers=1, thread_name_prefix="draw")
        self._load = lru_cache(maxsize=2)(lambda name: load_model(self.folders[name], self._device))

    def model(self, name: str) -> VideoModel:
        """A model of the list. Raises ValueError for any other name: a page must not name paths."""
        if name not in self.folders:
            raise ValueError(f"no model {name!r:.40} here; there are {', '.join(self.folders)}")
        loaded: VideoModel = self._load(name)
        return loaded

    def sampling(self, name: str) -> SamplingParams | None:
        """The model's sampling params where a request names none; None for a GAN."""
        return standing_sampling(self.folders[name], self.model(name).card).params

    def check(self, order: Order) -> None:
        """Raise ValueError, one line, for an order that cannot be drawn."""
        if not order.prompt.strip():
            raise ValueError('say what to draw, for example "a red circle moves up"')
        if len(order.prompt) > LONGEST_PROMPT:
            raise ValueError(f"a prompt has at most {LONGEST_PROMPT} characters, this one {len(order.prompt)}")
        limits = {
            "seed": (order.seed, 0, SEED_MAX - MOST_CLIPS + 1),
            "clips": (order.clips, 1, MOST_CLIPS),
            "steps": (order.steps, 1, MOST_STEPS),
            "guidance": (order.guidance, 0.0, MOST_GUIDANCE),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise ValueError(f"{name} {value} is not from {low} to {high}")
        if order.sampler not in SAMPLER_NAMES:
            raise ValueError(f"sampler {order.sampler!r:.40} is unknown; there are {', '.join(SAMPLER_NAMES)}")
        check_lengths(self.model(order.model), [order.prompt])

    def notes(self, order: Order) -> list[str]:
        """Lines about what the model will not understand."""
        return prompt_notes(self.model(order.model), [order.prompt])

    def draw(self, order: Order) -> Generator[Shown, None, None]:
        """The clips after each step, steps that nobody was in time for left out, then the finished ones."""
        ready: queue.SimpleQueue[Shown | None] = queue.SimpleQueue()
        left = threading.Event()

        def show(done: int, steps: int, x0_pred: Tensor) -> None:
            if left.is_set():
                raise CancelledError
            ready.put(Shown(to_frames(x0_pred), done, steps, is_done=False))

        job: Future[np.ndarray] = self._one_job.submit(self._sample, order, show)
        job.add_done_callback(lambda _: ready.put(None))
        last = None
        try:
            while (shown := _newest(ready)) is not None:
                last = shown
                yield shown
            steps = last.steps if last else 1
            yield Shown(job.result(), steps, steps, is_done=True)
        finally:
            left.set()
            job.cancel()

    def _sample(self, order: Order, show: Callback) -> np.ndarray:
        model, standing = self.model(order.model), self.sampling(order.model)
        sampling = None
        if standing is not None:
            asked = {"sampler": order.sampler, "num_inference_steps": order.steps, "guidance_scale": order.guidance}
            sampling = SamplingParams.read({**standing.model_dump(), **asked})
        seeds = range(order.seed, order.seed + order.clips)
        return model.sample([order.prompt] * order.clips, seeds, sampling=sampling, callback=show)


def _newest(ready: queue.SimpleQueue[Shown | None]) -> Shown | None:
    """The last of what waits, None once the job has ended; waits where nothing does."""
    shown = ready.get()
    while shown is not None and not ready.empty():
        shown = ready.get()
    return shown
