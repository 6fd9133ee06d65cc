"""How a diffusion model's samples change with guidance and with steps, on a part of the seen prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.evaluation import EvaluateParams
from pipeline.config.models import SamplingParams
from pipeline.evaluation.prompts import PromptSet, Samples, sample_prompts
from pipeline.sampling.video_model import VideoModel
from pipeline.text.captions import CaptionTable

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
    *,
    default: SamplingParams,
    known: Samples,  # what was drawn by the default, which need not be drawn again
) -> dict[str, list[dict[str, Any]]]:
    """Tables `guidance` and `steps`: a row a value, with what `measure` says and the seconds a clip took."""
    asked = prompts.first(evaluate.curve_prompts)
    sweeps = (
        Sweep("guidance", "guidance_scale", evaluate.guidance_scales),
        Sweep("steps", "num_inference_steps", evaluate.steps),
    )
    tables: dict[str, list[dict[str, Any]]] = {}
    for sweep in sweeps:
        tables[sweep.name] = rows = []
        for value in sweep.values:
            changed = SamplingParams.read({**default.model_dump(), sweep.field: value})
            if changed == default:
                made = known.first(len(asked))
            else:
                made = sample_prompts(
                    model,
                    table,
                    asked,
                    batch_size=evaluate.batch_size,
                    sampling=changed,
                    desc=f"{sweep.field}={value:g}",
                )
            rows.append({"value": value, **measure(made.frames, asked), "seconds_per_clip": made.seconds_per_clip})
    return tables
