"""Weights to start from: another model's averages, as `train.init_from` names its folder.

What a caption's vector is standardised by is not taken over: those are statistics of the captions that a run trains on.
A tensor of another shape (more frames, another resolution, other vectors) stays as the seed drew it, and is named.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pipeline.config.models import UnetParams
from pipeline.model_io.model_card import CARD_FILE, WEIGHTS_FILE, ModelCard, read_card, read_section
from pipeline.runtime.files import own_path

log = logging.getLogger("t2v")

PRETRAINED = Path("models/pretrained")  # in git, so that DVC finds them in any copy
OWN_OUTPUT = Path("models/unet")  # of stage train, and removed before it runs
STATISTICS = ("pooled_mean", "pooled_std", "token_mean", "token_std")
NAMED = 6


@dataclass(frozen=True)
class Initial:
    """A model whose weights start a run."""

    folder: Path
    card: ModelCard

    @property
    def files(self) -> list[Path]:
        """Files that the run depends on."""
        return [self.folder / CARD_FILE, self.folder / WEIGHTS_FILE]

    def origin(self, name: str) -> dict[str, str]:
        """Facts for the new model's card."""
        digest = hashlib.sha256((self.folder / WEIGHTS_FILE).read_bytes()).hexdigest()
        return {"init_from": name, "init_from_sha256": digest}


def find_initial(name: str | None, unet: UnetParams) -> Initial | None:
    """The model that `train.init_from` names, a folder or one of models/pretrained; None where it names none.

    Raises ValueError, one line, where there is none, where it is no U-Net or one of other `unet` params.
    """
    if name is None:
        return None
    folder = next(
        (place for place in (own_path(name), own_path(str(PRETRAINED / name))) if (place / CARD_FILE).is_file()), None
    )
    if folder is None:
        here = ", ".join(sorted(path.parent.name for path in PRETRAINED.glob(f"*/{CARD_FILE}"))) or "none"
        raise ValueError(
            f"train.init_from={name}: no model folder, and none of that name in {PRETRAINED} (here: {here})"
        )
    if folder.resolve() == OWN_OUTPUT.resolve():
        raise ValueError(
            f"train.init_from={name}: the stage writes that folder itself; copy it to another and name that"
        )
    card = read_card(folder)
    if card.family != "unet":
        raise ValueError(f"train.init_from={name}: a GAN; a U-Net starts from a U-Net")
    if not (folder / WEIGHTS_FILE).is_file():
        raise ValueError(f"train.init_from={name}: {WEIGHTS_FILE} is missing in {folder}; copy the folder again")
    theirs = read_section(UnetParams, card, "unet").model_dump(mode="json")
    other = {key: (theirs[key], value) for key, value in unet.model_dump(mode="json").items() if theirs[key] != value}
    if other:
        told = ", ".join(f"unet.{key} {before} there, {now} here" for key, (before, now) in other.items())
        raise ValueError(f"train.init_from={name}: another network ({told}); take its params, or start from none")
    return Initial(folder, card)


def take_weights(network: nn.Module, initial: Initial) -> list[str]:
    """Copy a model's weights into a fresh network; names of those that did not fit, which one log line tells."""
    try:
        theirs = load_file(initial.folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{initial.folder / WEIGHTS_FILE}: {' '.join(str(error).split())}; copy it again") from None
    left: list[str] = []
    taken = 0
    with torch.no_grad():
        for name, weight in network.state_dict().items():
            if name.rpartition(".")[2] in STATISTICS:
                continue
            if name in theirs and theirs[name].shape == weight.shape:
                weight.copy_(theirs[name])
                taken += 1
            else:
                left.append(name)
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    fresh = f"; of another shape, so drawn anew: {', '.join(left[:NAMED])}{more}" if left else ""
    log.info("%d weights start from %s%s", taken, initial.folder, fresh)
    return left


def read_otherwise(initial: Initial, text: dict[str, Any], objective: str) -> str:
    """A line about what the weights meant otherwise: their captions' encoder, or their answer; empty where nothing."""
    said = []
    if initial.card.text is not None and initial.card.text != text:
        said.append(f"its captions were read by {initial.card.text['name']}, these by {text['name']}")
    before = initial.card.params.get("diffusion", {}).get("objective", objective)
    if before != objective:
        said.append(f"it answered {before}, this run's network {objective}")
    return f"{initial.folder}: {'; '.join(said)}: it has that to learn anew" if said else ""
