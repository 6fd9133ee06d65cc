"""A trained model that samples, whatever its family: `load_model` builds the network that a model folder describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.config.params import DiffusionParams, SamplingParams, UnetParams
from pipeline.model_io.model_card import WEIGHTS_FILE, ModelCard, read_card, read_section
from pipeline.model_io.tensors import to_frames

if TYPE_CHECKING:
    from pipeline.text.captions import Encoder, TextBatch


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
    from pipeline.diffusion.unet.unet3d import build_unet

    return build_unet(
        read_section(UnetParams, card, "unet"),
        frames=card.frames,
        resolution=card.resolution,
        channels=card.channels,
        text_width=card.text["width"] if card.text else None,
    )


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
        from pipeline.text.captions import EncoderInfo, load_encoder

        return load_encoder(EncoderInfo(**self.card.text))

    @property
    def sampling(self) -> SamplingParams:
        """The sampling params that the model was trained with; change them by `model_copy(update=…)`."""
        return read_section(SamplingParams, self.card, "sampling")

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
                if captions is None:
                    raise ValueError("this model reads words: give captions, not their vectors")
                video = self.network.sample(captions, list(seeds))  # type: ignore[operator]
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
        from pipeline.diffusion.process import Diffusion
        from pipeline.sampling.samplers import sample_video

        return sample_video(
            self.network,
            Diffusion(read_section(DiffusionParams, self.card, "diffusion")),
            text.to(self.device) if text is not None else None,
            sampling,
            seeds=list(seeds),
            shape=self.card.shape,
            device=self.device,
            negative=negative.to(self.device) if negative is not None else None,
            callback=callback,
        )
