"""How a diffusion model's samples change with guidance and with steps, on a part of the seen prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.prompts import PromptSet, Samples, sample_prompts
from pipeline.models import VideoModel
from pipeline.params import EvaluateParams, SamplingParams
from pipeline.text import CaptionTable

Measure = Callable[[np.ndarray, PromptSet], dict[str, float]]


@dataclass(frozen=True)
class Sweep:
    """One param of sampling, the values to try, and the field it is in."""

    name: str
    field: str
    values: Sequence[float | int]


def sampling_curves(
    model: VideoModel,
    table: CaptionTable | None,
    prompts: PromptSet,
    measure: Measure,  # of clips uint8 (N, F, H, W, C) and their prompts
    evaluate: EvaluateParams,
    known: Samples,  # the samples of the default params, which need not be drawn again
) -> dict[str, list[dict[str, Any]]]:
    """Tables `guidance` and `steps`: a row a value, with what `measure` says and the seconds a clip took."""
    asked = prompts.first(evaluate.curve_prompts)
    sweeps = (
        Sweep("guidance", "guidance_scale", evaluate.guidance_scales),
        Sweep("steps", "num_inference_steps", evaluate.steps),
    )
    return {sweep.name: _curve(model, table, asked, measure, evaluate, known, sweep) for sweep in sweeps}


def _curve(
    model: VideoModel,
    table: CaptionTable | None,
    asked: PromptSet,
    measure: Measure,
    evaluate: EvaluateParams,
    known: Samples,
    sweep: Sweep,
) -> list[dict[str, Any]]:
    rows = []
    default = model.sampling
    for value in sweep.values:
        changed = SamplingParams.model_validate({**default.model_dump(), sweep.field: value})
        if changed == default:
            frames, seconds = known.frames[: len(asked)], known.seconds_per_clip
        else:
            made = sample_prompts(
                model,
                table,
                asked,
                batch_size=evaluate.batch_size,
                sampling=changed,
                desc=f"{sweep.field}={value:g}",
            )
            frames, seconds = made.frames, made.seconds_per_clip
        rows.append({"value": value, **measure(frames, asked), "seconds_per_clip": seconds})
    return rows
