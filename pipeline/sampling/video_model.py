"""A trained model that samples, whatever its family: `load_model` builds the network that a model folder describes."""

from __future__ import annotations

from collections.abc import Sequence
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
from pipeline.sampling.defaults import folder_sampling

if TYPE_CHECKING:
    from pipeline.sampling.samplers import Callback
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
    network = network.eval().requires_grad_(False).to(device)
    return VideoModel(card, network, torch.device(device), folder_sampling(folder, card))


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

    def __init__(
        self,
        card: ModelCard,
        network: nn.Module,  # in eval mode, on `device`
        device: torch.device,
        sampling: SamplingParams | None = None,  # of `sample` where it is given none; a GAN needs none
    ) -> None:
        self.card = card
        self.network = network
        self.device = device
        self.sampling = sampling

    @cached_property
    def encoder(self) -> Encoder | None:
        """The text encoder that the model was trained with, loaded when first used; None where it needs none."""
        if self.card.text is None:
            return None
        from pipeline.text.captions import EncoderInfo, load_encoder

        return load_encoder(EncoderInfo(**self.card.text))

    def encode(self, captions: Sequence[str]) -> TextBatch | None:
        """Text vectors of captions, or None where the network reads the words itself, or no text at all."""
        return self.encoder.encode(list(captions)) if self.encoder is not None else None

    def sample(
        self,
        captions: Sequence[str],
        seeds: Sequence[int],  # one per caption
        *,
        text: TextBatch | None = None,  # the captions' vectors, where they are at hand: nothing is encoded then
        sampling: SamplingParams | None = None,  # None: the model's own; acts on diffusion models, like the rest
        negative: Sequence[str] | None = None,  # one per caption: what to steer away from
        callback: Callback | None = None,
    ) -> np.ndarray:
        """uint8 (B, F, H, W, C), one clip per caption and seed. Raises ValueError where their numbers differ."""
        counts = {"captions": len(captions), "seeds": len(seeds)}
        counts |= {} if text is None else {"vectors": len(text)}
        counts |= {} if negative is None else {"negative captions": len(negative)}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{', '.join(f'{n} {name}' for name, n in counts.items())}: give one of each for a clip")
        text = self.encode(captions) if text is None else text
        with torch.inference_mode():
            if self.card.family == "gan":
                video = self.network.sample(list(captions), list(seeds))  # type: ignore[operator]
            else:
                against = None if negative is None else self.encode(negative)
                video = self._diffuse(text, seeds, sampling or self.sampling, against, callback)
        return to_frames(video)

    def _diffuse(
        self,
        text: TextBatch | None,
        seeds: Sequence[int],
        sampling: SamplingParams | None,
        negative: TextBatch | None,
        callback: Callback | None,
    ) -> Tensor:
        assert sampling is not None, "a diffusion model needs sampling params: load_model gives it its own"
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
