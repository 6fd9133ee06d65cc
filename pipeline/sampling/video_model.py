"""A trained model that samples, whatever its family: `load_model` builds the network that a model folder describes."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.config.models import DiffusionParams, SamplingParams, UnetParams
from pipeline.model_io.model_card import WEIGHTS_FILE, ModelCard, read_card, read_section
from pipeline.model_io.tensors import to_frames, to_model
from pipeline.sampling.defaults import folder_sampling

if TYPE_CHECKING:
    from pipeline.diffusion.process import Diffusion
    from pipeline.sampling.samplers import Callback
    from pipeline.text.captions import Encoder, TextBatch

SEED_MAX = 2**32 - 1


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

    assert card.text is not None, "read_card sees to it"
    return build_unet(
        read_section(UnetParams, card, "unet"),
        frames=card.frames,
        resolution=card.resolution,
        channels=card.channels,
        text_width=card.text["width"],
        takes_frames=bool(card.given_frames),
    )


class VideoModel:
    """A loaded model. `sample` is the same call for both families; each sample has its own seed."""

    def __init__(
        self,
        card: ModelCard,
        network: Any,  # VideoNetwork or generator, in eval mode, on `device`
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
        given: np.ndarray | None = None,  # uint8 (B, K, H, W, C): the clips' first K frames, as they stand in them
        callback: Callback | None = None,
    ) -> np.ndarray:
        """uint8 (B, F, H, W, C), one clip per caption and seed.

        Raises ValueError where their numbers differ, or the model was not trained for as many given frames.
        """
        _check_counts(captions=captions, seeds=seeds, vectors=text, negatives=negative, given=given)
        _check_seeds(seeds)
        if given is not None:
            check_given(self.card, given)
        with torch.inference_mode():
            if self.card.family == "gan":
                video = self.network.sample(list(captions), list(seeds))  # type: ignore[operator]
            else:
                against = None if negative is None else self.encode(negative)
                video = self._diffuse(
                    self.encode(captions) if text is None else text, seeds, sampling, against, given, callback
                )
        return _to_frames(video)

    def interpolate(
        self,
        captions: Sequence[str],
        seeds: Sequence[int],  # one per caption; the same one along a row of weights makes it smooth
        first: np.ndarray,  # uint8 (F, H, W, C), of the model's shape
        second: np.ndarray,
        *,
        weights: Sequence[float],  # one per caption: 0 is first, 1 is second
        strength: float,  # in (0, 1): the t up to which both are noised, so how much is drawn anew
        sampling: SamplingParams | None = None,
    ) -> np.ndarray:
        """uint8 (B, F, H, W, C): clips between two, each drawn anew under its caption. Raises ValueError for a GAN."""
        from pipeline.sampling.interpolation import interpolate_clips

        if self.card.family == "gan":
            raise ValueError("a GAN draws from noise alone: give a diffusion model to interpolate clips")
        _check_counts(captions=captions, seeds=seeds, weights=weights)
        _check_seeds(seeds)
        ends = [to_model(clip).to(self.device)[None].expand(len(seeds), -1, -1, -1, -1) for clip in (first, second)]
        with torch.inference_mode():
            video = interpolate_clips(
                self.network,
                self._diffusion(),
                self.encode(captions),
                ends[0],
                ends[1],
                sampling or self._own_sampling(),
                weights=weights,
                t=strength,
                seeds=list(seeds),
            )
        return _to_frames(video)

    def caption_distance(self, captions: Sequence[str]) -> list[float] | None:
        """Distance of each caption from the train captions: the root mean square of its pooled vector, standardised by
        theirs (1 on average over them). None where the model reads no vectors of captions."""
        text = self.encode(captions)
        if text is None:
            return None
        conditioning: Any = self.network.conditioning
        pooled = (text.pooled.to(self.device) - conditioning.pooled_mean) / conditioning.pooled_std
        return pooled.square().mean(1).sqrt().tolist()

    def read_captions(self, text: TextBatch) -> Tensor:
        """(B, D): what the network takes from captions. Their distances tell how much a word does to a clip."""
        conditioning: Any = self.network.conditioning
        with torch.inference_mode():
            return conditioning.of_text(text.to(self.device)).cpu()

    def _diffuse(
        self,
        text: TextBatch | None,
        seeds: Sequence[int],
        sampling: SamplingParams | None,
        negative: TextBatch | None,
        given: np.ndarray | None,
        callback: Callback | None,
    ) -> Tensor:
        from pipeline.sampling.samplers import sample_video

        return sample_video(
            self.network,
            self._diffusion(),
            text.to(self.device) if text is not None else None,
            sampling or self._own_sampling(),
            seeds=list(seeds),
            shape=self.card.shape,
            device=self.device,
            negative=negative.to(self.device) if negative is not None else None,
            given=to_model(given) if given is not None else None,
            callback=callback,
        )

    def _diffusion(self) -> Diffusion:
        from pipeline.diffusion.process import Diffusion

        return Diffusion(read_section(DiffusionParams, self.card, "diffusion"))

    def _own_sampling(self) -> SamplingParams:
        assert self.sampling is not None, "a diffusion model needs sampling params: load_model gives it its own"
        return self.sampling


def check_takes_frames(card: ModelCard) -> None:
    """Raise ValueError where a model was not trained for given frames."""
    if card.family == "gan":
        raise ValueError("a GAN draws from noise alone: given frames need a diffusion model that was trained for them")
    if not card.given_frames:
        raise ValueError(
            "this model was not trained for given frames: train one with train.given_frames [1, 2, 4, 8] (the preset "
            "frames does)"
        )


def check_given(card: ModelCard, given: np.ndarray) -> None:
    """Raise ValueError where a model cannot go on from `given` frames, uint8 (B, K, H, W, C)."""
    check_takes_frames(card)
    if given.shape[1] not in card.given_frames:
        trained = ", ".join(map(str, card.given_frames))
        raise ValueError(f"{given.shape[1]} given frames: this model was trained for {trained} of its {card.frames}")
    shape = (card.resolution, card.resolution, card.channels)
    if given.dtype != np.uint8 or given.shape[2:] != shape:
        ours = ", ".join(map(str, shape))
        raise ValueError(f"given frames are {given.dtype} {given.shape}; this model's are uint8 (B, K, {ours})")


def _check_counts(**given: Sized | None) -> None:
    """Raise ValueError where what belongs to the clips is not as many of each."""
    counts = {name: len(values) for name, values in given.items() if values is not None}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{', '.join(f'{n} {name}' for name, n in counts.items())}: give one of each for a clip")


def _check_seeds(seeds: Sequence[int]) -> None:
    """Raise ValueError for a seed beyond 32 bits: torch's generator on the CPU would drop the rest without a word."""
    for seed in seeds:
        if not 0 <= seed <= SEED_MAX:
            raise ValueError(f"seed {seed} is not in 0 to {SEED_MAX}: the noise generator tells 32 bits apart")


def _to_frames(video: Tensor) -> np.ndarray:
    """uint8 frames of samples. Raises ValueError where they are not numbers."""
    if not torch.isfinite(video).all():
        raise ValueError("the model drew what is no number (NaN): guidance is too large, or its training diverged")
    return to_frames(video)
