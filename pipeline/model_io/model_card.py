"""Trained models on disk: a folder that describes itself, so that it can be copied away and used alone.

`model.json` is the card (what was trained, on what, how); `weights.safetensors` holds the EMA weights, with one
metadata key so that equal weights are equal bytes. Nothing here knows a network: sampling/video_model.py builds one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from pipeline.config.earlier import in_todays_keys, todays_set
from pipeline.config.section import Section
from pipeline.runtime.files import write_bytes, write_json

Family = Literal["unet", "gan"]
CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
FORMAT = 1
SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class ModelCard:
    """Description of a model. `text` holds the EncoderInfo fields, None where the model reads the words itself."""

    family: Family
    dataset: str
    frames: int
    resolution: int  # px
    channels: int
    fps: float
    text: dict[str, Any] | None
    params: dict[str, Any]  # the params sections it was built and trained with, by section name
    steps: int
    seed: int
    clips_seen: int
    vocabulary: tuple[str, ...] = ()  # the words of its train captions
    metrics: dict[str, Any] = field(default_factory=dict)  # its last train metrics

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, F, H, W) of one sample."""
        return self.channels, self.frames, self.resolution, self.resolution

    @property
    def given_frames(self) -> tuple[int, ...]:
        """Numbers of first frames that it was trained to go on from, rising; empty: it draws from text alone."""
        return tuple(sorted(self.params.get("train", {}).get("given_frames", ())))

    def section(self, name: str) -> dict[str, Any]:
        """A params section that the model was made with. Raises ValueError where the card lacks it."""
        if name not in self.params:
            raise ValueError(f"{CARD_FILE}: params holds no section {name}; it has {', '.join(sorted(self.params))}")
        return self.params[name]


def save_model(
    folder: Path,
    card: ModelCard,
    state_dict: Mapping[str, Tensor],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a model folder; `extra` are more facts for the card, as text. Equal input gives equal bytes."""
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    description = {"format": FORMAT, **dataclasses.asdict(card), "extra": dict(extra or {})}
    metadata = {"card": json.dumps(description, sort_keys=True, allow_nan=False)}
    write_bytes(folder / WEIGHTS_FILE, save(tensors, metadata))
    write_json(folder / CARD_FILE, description)


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder. Raises ValueError, one line, where the folder is no model."""
    path = Path(folder) / CARD_FILE
    if not path.is_file():
        raise ValueError(f"{folder}: not a model folder ({CARD_FILE} missing); run dvc repro, or name another folder")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in dataclasses.fields(ModelCard)}
        values = {key: value for key, value in tree.items() if key in known}
        values |= {"params": in_todays_keys(values["params"]), "dataset": todays_set(values["dataset"])}
        card = ModelCard(**{**values, "vocabulary": tuple(values.get("vocabulary", ()))})
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a model card: {error}; the file was changed or cut short") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if tree.get("format") != FORMAT or card.family not in get_args(Family):
        raise ValueError(f"{path}: format {tree.get('format')!r}, family {card.family!r}; this version reads {FORMAT}")
    if card.family == "unet" and card.text is None:
        raise ValueError(
            f"{path}: text is null, but a U-Net reads an encoder's vectors; the file was changed, or cut short"
        )
    return card


def read_section(kind: type[SectionT], card: ModelCard, section: str) -> SectionT:
    """A params section of a card as its typed record. Raises ValueError, one line, where another version wrote it."""
    try:
        return kind.read(card.section(section))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([section, *(str(part) for part in first["loc"])])
        if first["type"] in ("missing", "extra_forbidden"):
            reason = "missing" if first["type"] == "missing" else "unknown here"
            raise ValueError(f"{CARD_FILE}: {key}: {reason}; another version made this model: train again") from None
        raise ValueError(f"{CARD_FILE}: {key}: {first['msg']} (value {first['input']!r})") from None
