"""One step of the GAN: the discriminators learn on real and generated clips, then the generator learns from them.

All randomness of a step comes from the `torch.Generator` that is passed in, so a step repeats from its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.config.training import TrainGanParams
from pipeline.gan.discriminators import Discriminator, VideoFeatures
from pipeline.gan.generator import Layers, VideoGenerator, render
from pipeline.gan.losses import contrastive_loss, discriminator_loss, generator_loss, r1_penalty


@dataclass(frozen=True)
class Batch:
    """Real clips and their captions, the text as the networks read it."""

    video: Tensor  # (B, C, F, H, W) in [-1, 1]
    text: Tensor  # (B, …)
    captions: Sequence[str]
    negatives: Tensor  # (B, R, …): hard negatives of the captions; R may be 0
    negatives_mask: Tensor  # bool (B, R): where there is such a caption

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.video.to(device),
            self.text.to(device),
            self.captions,
            self.negatives.to(device),
            self.negatives_mask.to(device),
        )

    def same(self) -> Tensor:
        """bool (B, B): which captions are equal."""
        index = {caption: number for number, caption in enumerate(dict.fromkeys(self.captions))}
        numbers = torch.tensor([index[caption] for caption in self.captions], device=self.video.device)
        return numbers[:, None] == numbers[None]


def make_batch(
    video: Tensor,
    captions: Sequence[str],
    negatives: Sequence[Sequence[str]],  # of each caption: `count`, or none
    count: int,
    to_indices: Callable[[Sequence[str]], Tensor],  # captions to what the networks read
) -> Batch:
    """A batch, its captions and their hard negatives indexed together."""
    filled = [negative for own, found in zip(captions, negatives, strict=True) for negative in found or [own] * count]
    text, b = to_indices([*captions, *filled]), len(captions)
    mask = torch.tensor([[bool(found)] * count for found in negatives], dtype=torch.bool)
    return Batch(video, text[:b], captions, text[b:].reshape(b, count, *text.shape[1:]), mask)


@dataclass(frozen=True)
class TextFeatures:
    """Features of a batch's captions and of their hard negatives."""

    own: Tensor  # (B, TEXT_DIM)
    negatives: Tensor  # (B, R, TEXT_DIM)
    negatives_mask: Tensor  # bool (B, R), as in the batch
    same: Tensor  # bool (B, B): which captions are equal


class GanStep:
    """Generator, discriminators and their two optimizers."""

    def __init__(self, generator: VideoGenerator, discriminator: Discriminator, params: TrainGanParams) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.params = params
        betas = (params.betas[0], params.betas[1])
        self.optimizer_g = torch.optim.Adam(generator.own_parameters(), params.lr, betas)
        weights_d = [*discriminator.parameters(), *generator.reader.parameters()]
        self.optimizer_d = torch.optim.Adam(weights_d, params.lr_discriminator, betas)

    def step(self, batch: Batch, number: int, rng: torch.Generator) -> dict[str, float]:
        """Train both networks on one batch; the losses by name."""
        b, _, f = batch.video.shape[:3]
        device = batch.video.device
        layers = self.generator.layers(self.generator.noise([rng] * b).to(device), batch.text)
        fake = self._views(layers, random_frames(f, self.params.discriminator_frames, b, rng).to(device))

        # The discriminators
        index = random_frames(f, self.params.discriminator_frames, b, rng).to(device)
        real = (take_frames(batch.video, index), self.discriminator.shrink(batch.video))
        shift = int(torch.randint(1, b, (1,), generator=rng))
        penalised = self.params.r1_weight > 0 and number % self.params.r1_every == 0
        losses = self.discriminator_step(
            real, (fake[0].detach(), fake[1].detach()), self.encode_text(batch), shift, penalised
        )

        # The generator
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            text = self.encode_text(batch)
        losses |= self.generator_step(fake, text)
        self.discriminator.requires_grad_(True)
        return losses

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "optimizer_g": self.optimizer_g,
            "optimizer_d": self.optimizer_d,
        }

    def _views(self, layers: Layers, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of the discriminators: the frames at `index` (B, C, k, H, W), all frames small (B, C, F, h, w)."""
        small = render(layers, 2 * self.discriminator.clip_resolution)
        return render(layers.at(index)), self.discriminator.shrink(small)

    def encode_text(self, batch: Batch) -> TextFeatures:
        own, negatives = self.generator.reader(batch.text), self.generator.reader(batch.negatives.flatten(0, 1))
        negatives = negatives.reshape(*batch.negatives_mask.shape, own.shape[1])
        return TextFeatures(own, negatives, batch.negatives_mask, batch.same())

    def discriminator_step(
        self,
        real: tuple[Tensor, Tensor],
        fake: tuple[Tensor, Tensor],
        text: TextFeatures,
        shift: int,
        penalised: bool,
    ) -> dict[str, float]:
        discriminator, params = self.discriminator, self.params
        if penalised:
            real = (real[0].requires_grad_(), real[1].clone().requires_grad_())
        features_real, features_fake = discriminator.features(*real), discriminator.features(*fake)
        logits_real = discriminator.logits(features_real, text.own)
        logits_fake = discriminator.logits(features_fake, text.own)
        mismatched = self._mismatched_logits(features_real, text, shift)
        adversarial = torch.stack(
            [
                discriminator_loss(params.loss, good.flatten(), bad.flatten(), other)
                for good, bad, other in zip(logits_real, logits_fake, mismatched, strict=True)
            ]
        ).sum()
        contrast = self._contrast(features_real, text)
        loss = adversarial + params.contrast_weight * contrast
        losses = {"loss_d": float(adversarial.detach()), "contrast_d": float(contrast.detach())}
        if penalised:
            penalty = r1_penalty(logits_real[0].sum() + logits_real[1].sum(), list(real))
            loss = loss + params.r1_weight * params.r1_every * penalty
            losses["r1"] = float(penalty.detach())
        _update(self.optimizer_d, loss)
        return losses

    def _mismatched_logits(
        self, video: VideoFeatures, text: TextFeatures, shift: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Logits of real clips under a neighbour's caption, where it is another one, and under their hard negatives."""
        if not self.params.mismatch:
            return None, None
        clips = torch.arange(len(text.same), device=text.same.device)
        other = ~text.same[clips, clips.roll(shift)]
        with_negatives = text.negatives_mask.nonzero()[:, 0]
        wrong = torch.cat([text.own.roll(shift, dims=0)[other], text.negatives[text.negatives_mask]])
        frames, clip = self.discriminator.logits(video.select(torch.cat([clips[other], with_negatives])), wrong)
        return frames.flatten(), clip

    def _contrast(self, video: VideoFeatures, text: TextFeatures) -> Tensor:
        clips, captions = self.discriminator.embeddings(video, text.own)
        _, negatives = self.discriminator.embeddings(video, text.negatives)
        return contrastive_loss(clips, captions, text.same, negatives, text.negatives_mask)

    def generator_step(self, fake: tuple[Tensor, Tensor], text: TextFeatures) -> dict[str, float]:
        features = self.discriminator.features(*fake)
        logits = self.discriminator.logits(features, text.own)
        adversarial = torch.stack([generator_loss(self.params.loss, each) for each in logits]).sum()
        contrast = self._contrast(features, text)
        _update(self.optimizer_g, adversarial + self.params.contrast_weight * contrast)
        return {"loss_g": float(adversarial.detach()), "contrast_g": float(contrast.detach())}


def random_frames(frames: int, k: int, b: int, rng: torch.Generator) -> Tensor:
    """int64 (b, k): frames drawn for each clip, none twice."""
    return torch.stack([torch.randperm(frames, generator=rng)[: min(k, frames)] for _ in range(b)])


def take_frames(video: Tensor, index: Tensor) -> Tensor:
    """(B, C, F, H, W) at the frames (B, k): (B, C, k, H, W)."""
    rows = torch.arange(len(video), device=video.device)[:, None]
    return video.transpose(1, 2)[rows, index].transpose(1, 2)


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
