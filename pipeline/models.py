"""Trained models on disk: a folder that describes itself, so that it can be copied away and used alone.

`model.json` is the card (what was trained, on what, how); `weights.safetensors` holds the EMA weights, with one
metadata key so that equal weights are equal bytes. `load_model` gives back something that samples, whatever its family.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.params import DiffusionParams, SamplingParams, UnetParams
from pipeline.tensors import to_frames

if TYPE_CHECKING:
    from pipeline.text import Encoder, TextBatch

Family = Literal["unet", "gan"]
CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
FORMAT = 1
LATER_PARAMS = {"unet": {"unfold_frames": None}}  # what cards of earlier models lack, with the value that they meant


@dataclass(frozen=True)
class ModelCard:
    """What a model is. `text` holds the EncoderInfo fields, None where the model reads words or no text at all."""

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
    git_revision: str | None
    clips_seen: int
    vocabulary: tuple[str, ...] = ()  # the words of its train captions
    metrics: dict[str, Any] = field(default_factory=dict)  # its last train metrics

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, F, H, W) of one sample."""
        return self.channels, self.frames, self.resolution, self.resolution

    def section(self, name: str) -> dict[str, Any]:
        """A params section that the model was made with. Raises ValueError where the card lacks it."""
        if name not in self.params:
            raise ValueError(f"{CARD_FILE}: params holds no section {name}; it has {', '.join(sorted(self.params))}")
        return self.params[name]


def vocabulary_of(captions: Sequence[str]) -> tuple[str, ...]:
    """The distinct words of captions, sorted."""
    return tuple(sorted({word for caption in captions for word in words_of(caption)}))


def words_of(caption: str) -> list[str]:
    """Lower-case words of a caption, punctuation off; hyphens stay inside a word."""
    stripped = (word.strip(".,;:!?\"'()[]") for word in caption.lower().split())
    return [word for word in stripped if word]


def save_model(
    folder: Path,
    card: ModelCard,
    state_dict: Mapping[str, Tensor],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a model folder; `extra` are more facts for the card, as text. Equal input gives equal bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    description = {"format": FORMAT, **dataclasses.asdict(card), "extra": dict(extra or {})}
    text = json.dumps(description, indent=1, sort_keys=True, allow_nan=False) + "\n"
    partial = folder / (WEIGHTS_FILE + ".partial")
    save_file(tensors, partial, metadata={"card": json.dumps(description, sort_keys=True, allow_nan=False)})
    partial.replace(folder / WEIGHTS_FILE)
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder. Raises ValueError, one line, where the folder is no model."""
    path = Path(folder) / CARD_FILE
    if not path.is_file():
        raise ValueError(f"{folder}: not a model folder ({CARD_FILE} missing); run dvc repro, or name another folder")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in dataclasses.fields(ModelCard)}
        values = {key: value for key, value in tree.items() if key in known}
        card = ModelCard(**{**values, "vocabulary": tuple(values.get("vocabulary", ()))})
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a model card: {error}; the file was changed or cut short") from None
    if tree.get("format") != FORMAT or card.family not in get_args(Family):
        raise ValueError(f"{path}: format {tree.get('format')!r}, family {card.family!r}; this version reads {FORMAT}")
    return card


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> VideoModel:
    """A model that samples, on `device`. Raises ValueError, one line, on a folder that is not a whole model."""
    folder = Path(folder)
    card = read_card(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ValueError(f"{path}: missing; the model folder is incomplete, copy it again or train (dvc repro)")
    network = build_network(card)
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: weights do not fit the card: {reason}; train again") from None
    return VideoModel(card, network.eval().requires_grad_(False).to(device), torch.device(device))


def build_network(card: ModelCard) -> nn.Module:
    """The untrained network that a card describes."""
    if card.family == "gan":
        from pipeline.gan.generator import build_gan

        return build_gan(card)
    from pipeline.unet.unet3d import build_unet

    return build_unet(
        _checked(UnetParams, card, "unet"),
        frames=card.frames,
        resolution=card.resolution,
        channels=card.channels,
        text_width=card.text["width"] if card.text else None,
    )


def _checked(kind: Any, card: ModelCard, section: str) -> Any:
    try:
        return kind.model_validate({**LATER_PARAMS.get(section, {}), **card.section(section)})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([section, *(str(part) for part in first["loc"])])
        if first["type"] in ("missing", "extra_forbidden"):
            reason = "missing" if first["type"] == "missing" else "unknown here"
            raise ValueError(f"{CARD_FILE}: {key}: {reason}; another version made this model: train again") from None
        raise ValueError(f"{CARD_FILE}: {key}: {first['msg']} (value {first['input']!r})") from None


class VideoModel:
    """A loaded model. `sample` is the same call for both families; each sample has its own seed."""

    def __init__(self, card: ModelCard, network: nn.Module, device: torch.device) -> None:
        self.card = card
        self.network = network
        self.device = device

    @cached_property
    def encoder(self) -> Encoder | None:
        """The text encoder that the model was trained with, loaded when first used; None where it needs none."""
        if self.card.text is None:
            return None
        from pipeline.text import EncoderInfo, load_encoder

        return load_encoder(EncoderInfo(**self.card.text))

    @property
    def sampling(self) -> SamplingParams:
        """The sampling params that the model was trained with; change them by `model_copy(update=…)`."""
        return _checked(SamplingParams, self.card, "sampling")

    def encode(self, captions: Sequence[str]) -> TextBatch | None:
        """Text vectors of captions, or None where the model's family reads the words itself."""
        return self.encoder.encode(list(captions)) if self.encoder is not None else None

    def sample(
        self,
        text: TextBatch | Sequence[str],
        seeds: Sequence[int],
        *,
        captions: Sequence[str] | None = None,
        sampling: SamplingParams | None = None,
        negative: TextBatch | None = None,
        callback: Callable[..., None] | None = None,
    ) -> np.ndarray:
        """uint8 (B, F, H, W, C), one clip per seed.

        `text` is captions or their vectors; a GAN that reads words needs `captions` beside vectors. `sampling`,
        `negative` (what to steer away from) and `callback` act on diffusion models.
        """
        if isinstance(text, Sequence):
            captions, text_batch = list(text), self.encode(list(text))
        else:
            text_batch = text
        assert text_batch is None or len(text_batch) == len(seeds), (len(text_batch or ()), len(seeds))
        with torch.inference_mode():
            if self.card.family == "gan":
                video = self.network.sample(text_batch, captions, list(seeds))  # type: ignore[operator]
            else:
                video = self._diffuse(text_batch, seeds, sampling or self.sampling, negative, callback)
        return to_frames(video)

    def _diffuse(
        self,
        text: TextBatch | None,
        seeds: Sequence[int],
        sampling: SamplingParams,
        negative: TextBatch | None,
        callback: Callable[..., None] | None,
    ) -> Tensor:
        from pipeline.diffusion import Diffusion
        from pipeline.samplers import sample_video

        return sample_video(
            self.network,
            Diffusion(_checked(DiffusionParams, self.card, "diffusion")),
            text.to(self.device) if text is not None else None,
            sampling,
            seeds=list(seeds),
            shape=self.card.shape,
            device=self.device,
            negative=negative.to(self.device) if negative is not None else None,
            callback=callback,
        )
