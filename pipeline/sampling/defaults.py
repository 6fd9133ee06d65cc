"""Sampling params of a model folder: its own file, else the values that belong to its noise schedule.

How to sample is no property of the weights, and `sampling` is not in the hash of the train stage: a card that recorded
it would be out of date after the first change, or each change would train anew. So a card holds none, and the folder is
still complete: its defaults follow from its `diffusion` section, which training did read. params.yaml and the presets
hold the same values (a test compares them). A model that wants others, such as a few-step student, brings a
`sampling.json` beside its card.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from pipeline.config.earlier import in_todays_keys
from pipeline.config.models import DiffusionParams, SamplingParams
from pipeline.model_io.model_card import ModelCard, read_section
from pipeline.runtime.files import write_json

SAMPLING_FILE = "sampling.json"
FLOW = SamplingParams(
    sampler="ddim",
    num_inference_steps=10,
    shift=8.0,
    t_start=1.0,
    guidance_scale=2.0,
    guidance_interval=(0.65, 1.0),
    eta=1.0,
    given_frames=0,
)
BETAS = SamplingParams(
    sampler="ddpm",
    num_inference_steps=1000,
    shift=1.0,
    t_start=1.0,
    guidance_scale=2.0,
    guidance_interval=(0.0, 1.0),
    eta=1.0,
    given_frames=0,
)


def default_sampling(diffusion: DiffusionParams) -> SamplingParams:
    """The values for a noise schedule: ten steps for flow, each step of the table for betas (ancestral DDPM)."""
    if diffusion.schedule == "flow":
        return FLOW
    return BETAS.model_copy(update={"num_inference_steps": diffusion.num_train_timesteps})


def folder_sampling(folder: Path, card: ModelCard) -> SamplingParams | None:
    """A model folder's sampling params; None for a GAN, which draws in one pass. Raises ValueError on a wrong file."""
    if card.family == "gan":
        return None
    path = Path(folder) / SAMPLING_FILE
    if not path.is_file():
        return default_sampling(read_section(DiffusionParams, card, "diffusion"))
    try:
        return SamplingParams.model_validate_json(_in_todays_keys(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise ValueError(f"{path}: {key}: {first['msg']} (value {first['input']!r}); mend it or delete it") from None


def _in_todays_keys(data: bytes) -> bytes:
    """A sampling file of any version; what is no JSON object is left for pydantic to tell."""
    try:
        tree = json.loads(data)
    except ValueError:
        return data
    return json.dumps(in_todays_keys({"sampling": tree})["sampling"]).encode() if isinstance(tree, dict) else data


def write_sampling(folder: Path, sampling: SamplingParams) -> Path:
    """Leave `sampling` in a model folder as its own values; returns the file."""
    path = Path(folder) / SAMPLING_FILE
    write_json(path, sampling.model_dump(mode="json"))
    return path
