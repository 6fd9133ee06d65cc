"""The sampling params that a command draws with unless told: the folder's own, the repository's or the model's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.models import SamplingParams
from pipeline.config.params import load_params
from pipeline.model_io.model_card import ModelCard
from pipeline.runtime.code import ROOT
from pipeline.sampling.defaults import SAMPLING_FILE, folder_sampling


@dataclass(frozen=True)
class SamplingChoice:
    """Sampling params and where they come from. `params` is None for a GAN, which draws in one pass."""

    params: SamplingParams | None
    source: str | None  # sampling.json | params.yaml | defaults


def standing_sampling(folder: Path, card: ModelCard) -> SamplingChoice:
    """The folder's sampling.json, else the repository's params.yaml, else the values of the model's noise schedule.

    Raises ValueError, one line, on a wrong file.
    """
    params, source = folder_sampling(folder, card), "defaults"
    if params is None:
        return SamplingChoice(None, None)
    if (Path(folder) / SAMPLING_FILE).is_file():
        source = SAMPLING_FILE
    elif (ROOT / "params.yaml").is_file():
        params, source = load_params(ROOT / "params.yaml").sampling, "params.yaml"
    return SamplingChoice(params, source)
