"""Guidance and steps: how a diffusion model's samples change with each, on a part of the seen prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.evaluation import EvaluateParams
from pipeline.config.models import SamplingParams
from pipeline.evaluation.prompt_sampler import PromptSampler, Samples
from pipeline.evaluation.prompts import PromptSet

Measure = Callable[[np.ndarray, PromptSet], dict[str, float]]


@dataclass(frozen=True)
class Sweep:
    """One param of sampling, the values to try, and the field it is in."""

    name: str
    field: str
    values: Sequence[float | int]


@dataclass(frozen=True)
class Curve:
    """A row per value of a sweep, with what was measured, and the seconds that a clip took beside it."""

    rows: list[dict[str, Any]]
    seconds_per_clip: dict[str, float]  # by value


def sampling_curves(
    sampler: PromptSampler,  # of a diffusion model
    prompts: PromptSet,
    measure: Measure,  # of clips uint8 (N, F, H, W, C) and their prompts
    params: EvaluateParams,
    *,
    known: Samples,  # of these prompts by the sampler's own params, which need not be drawn again
) -> dict[str, Curve]:
    """Curves `guidance` and `steps`."""
    default = sampler.sampling
    assert default is not None
    asked = prompts.first(params.curve_prompts)
    sweeps = (
        Sweep("guidance", "guidance_scale", params.guidance_scales),
        Sweep("steps", "num_inference_steps", params.steps),
    )
    curves: dict[str, Curve] = {}
    for sweep in sweeps:
        curves[sweep.name] = curve = Curve([], {})
        for value in sweep.values:
            changed = SamplingParams.read({**default.model_dump(), sweep.field: value})
            if changed == default:
                samples = known.first(len(asked))
            else:
                samples = sampler.sample(asked, sampling=changed, desc=f"{sweep.field}={value:g}")
            curve.rows.append({"value": value, **measure(samples.frames, asked)})
            curve.seconds_per_clip[f"{value:g}"] = samples.seconds_per_clip
    return curves
