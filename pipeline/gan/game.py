"""One step of the game: the judges learn on real and drawn clips, then the generator learns from the judges.

All randomness of a step comes from the `torch.Generator` that is passed in, so a step repeats from its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.config.params import TrainGanParams
from pipeline.gan.discriminators import Discriminator, Seen
from pipeline.gan.generator import Layers, VideoGenerator, render
from pipeline.gan.losses import contrastive_loss, discriminator_loss, generator_loss, r1_penalty


@dataclass(frozen=True)
class Batch:
    """Real clips and their captions, the text as the networks read it."""

    video: Tensor  # (B, C, F, H, W) in [-1, 1]
    text: Tensor  # (B, …)
    captions: Sequence[str]
    rivals: Tensor  # (B, R, …): captions that differ in one word; R may be 0
    known: Tensor  # bool (B, R): where there is such a caption

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.video.to(device),
            self.text.to(device),
            self.captions,
            self.rivals.to(device),
            self.known.to(device),
        )

    def same(self) -> Tensor:
        """bool (B, B): which captions are equal."""
        index = {caption: number for number, caption in enumerate(dict.fromkeys(self.captions))}
        numbers = torch.tensor([index[caption] for caption in self.captions], device=self.video.device)
        return numbers[:, None] == numbers[None]


def make_batch(
    video: Tensor,
    captions: Sequence[str],
    rivals: Sequence[Sequence[str]],  # of each caption: `count`, or none
    count: int,
    read: Callable[[Sequence[str]], Tensor],  # captions to what the networks read
) -> Batch:
    """A batch, its captions and their rivals read together."""
    offered = [rival for own, found in zip(captions, rivals, strict=True) for rival in found or [own] * count]
    text, b = read([*captions, *offered]), len(captions)
    known = torch.tensor([[bool(found)] * count for found in rivals], dtype=torch.bool)
    return Batch(video, text[:b], captions, text[b:].reshape(b, count, *text.shape[1:]), known)


@dataclass(frozen=True)
class Heard:
    """What the captions of a batch say."""

    own: Tensor  # (B, SAID)
    rivals: Tensor  # (B, R, SAID)
    known: Tensor  # bool (B, R), as in the batch
    same: Tensor  # bool (B, B): which captions are equal


class Game:
    """Generator, judges and their two optimizers."""

    def __init__(self, generator: VideoGenerator, discriminator: Discriminator, params: TrainGanParams) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.params = params
        betas = (params.betas[0], params.betas[1])
        taught = [*discriminator.parameters(), *generator.reader.parameters()]
        self.optimizer_g = torch.optim.Adam(generator.own_parameters(), params.lr, betas)
        self.optimizer_d = torch.optim.Adam(taught, params.lr_discriminator, betas)

    def step(self, batch: Batch, number: int, rng: torch.Generator) -> dict[str, float]:
        """Train both networks on one batch; the losses by name."""
        b, _, f = batch.video.shape[:3]
        device = batch.video.device
        layers = self.generator.layers(self.generator.noise([rng] * b).to(device), batch.text)
        fake = self._views(layers, _some(f, self.params.discriminator_frames, b, rng).to(device))

        # The judges
        chosen = _some(f, self.params.discriminator_frames, b, rng).to(device)
        real = (_take(batch.video, chosen), self.discriminator.shrink(batch.video))
        shift = int(torch.randint(1, b, (1,), generator=rng))
        penalised = self.params.r1_weight > 0 and number % self.params.r1_every == 0
        losses = self._judge(real, (fake[0].detach(), fake[1].detach()), self._hear(batch), shift, penalised)

        # The generator
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            heard = self._hear(batch)
        losses |= self._draw(fake, heard)
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

    def _views(self, layers: Layers, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """What the judges look at: the chosen frames (B, C, k, H, W), and all frames, small (B, C, F, h, w)."""
        small = render(layers, 2 * self.discriminator.clip_resolution)
        return render(layers.at(chosen)), self.discriminator.shrink(small)

    def _hear(self, batch: Batch) -> Heard:
        own, rivals = self.generator.reader(batch.text), self.generator.reader(batch.rivals.flatten(0, 1))
        return Heard(own, rivals.reshape(*batch.known.shape, own.shape[1]), batch.known, batch.same())

    def _judge(
        self,
        real: tuple[Tensor, Tensor],
        fake: tuple[Tensor, Tensor],
        heard: Heard,
        shift: int,
        penalised: bool,
    ) -> dict[str, float]:
        judge, params = self.discriminator, self.params
        if penalised:
            real = (real[0].requires_grad_(), real[1].clone().requires_grad_())
        seen_real, seen_fake = judge.look(*real), judge.look(*fake)
        logits_real, logits_fake = judge.logits(seen_real, heard.own), judge.logits(seen_fake, heard.own)
        others = self._mismatched(seen_real, heard, shift)
        adversarial = torch.stack(
            [
                discriminator_loss(params.loss, good.flatten(), bad.flatten(), other)
                for good, bad, other in zip(logits_real, logits_fake, others, strict=True)
            ]
        ).sum()
        contrast = self._contrast(seen_real, heard)
        loss = adversarial + params.contrast_weight * contrast
        losses = {"loss_d": float(adversarial.detach()), "contrast_d": float(contrast.detach())}
        if penalised:
            penalty = r1_penalty(logits_real[0].sum() + logits_real[1].sum(), list(real))
            loss = loss + params.r1_weight * params.r1_every * penalty
            losses["r1"] = float(penalty.detach())
        _take_step(self.optimizer_d, loss)
        return losses

    def _mismatched(self, seen: Seen, heard: Heard, shift: int) -> tuple[Tensor | None, Tensor | None]:
        """Logits of real clips under a neighbour's caption, where it is another one, and under their own's rivals."""
        if not self.params.mismatch:
            return None, None
        clips = torch.arange(len(heard.same), device=heard.same.device)
        other = ~heard.same[clips, clips.roll(shift)]
        rivalled = heard.known.nonzero()[:, 0]
        wrong = torch.cat([heard.own.roll(shift, dims=0)[other], heard.rivals[heard.known]])
        frames, clip = self.discriminator.logits(seen.take(torch.cat([clips[other], rivalled])), wrong)
        return frames.flatten(), clip

    def _contrast(self, seen: Seen, heard: Heard) -> Tensor:
        clips, captions = self.discriminator.embeddings(seen, heard.own)
        _, rivals = self.discriminator.embeddings(seen, heard.rivals)
        return contrastive_loss(clips, captions, heard.same, rivals, heard.known)

    def _draw(self, fake: tuple[Tensor, Tensor], heard: Heard) -> dict[str, float]:
        seen = self.discriminator.look(*fake)
        logits = self.discriminator.logits(seen, heard.own)
        adversarial = torch.stack([generator_loss(self.params.loss, each) for each in logits]).sum()
        contrast = self._contrast(seen, heard)
        _take_step(self.optimizer_g, adversarial + self.params.contrast_weight * contrast)
        return {"loss_g": float(adversarial.detach()), "contrast_g": float(contrast.detach())}


def _some(frames: int, k: int, b: int, rng: torch.Generator) -> Tensor:
    """int64 (b, k): frames drawn for each clip, none twice."""
    return torch.stack([torch.randperm(frames, generator=rng)[: min(k, frames)] for _ in range(b)])


def _take(video: Tensor, chosen: Tensor) -> Tensor:
    """(B, C, F, H, W) at the frames (B, k): (B, C, k, H, W)."""
    rows = torch.arange(len(video), device=video.device)[:, None]
    return video.transpose(1, 2)[rows, chosen].transpose(1, 2)


def _take_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
