"""Training of the GAN: a step of the discriminators, a step of the generator, and how both are set up.

All randomness of a step follows from (seed, step). One process: the baseline is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.training import TrainGanParams
from pipeline.gan.batches import Batch, make_batch
from pipeline.gan.discriminators import Discriminator, VideoFeatures, Views
from pipeline.gan.generator import VideoGenerator, render
from pipeline.gan.hard_negatives import HardNegatives
from pipeline.gan.losses import contrastive_loss, discriminator_loss, generator_loss, r1_penalty
from pipeline.model_io.seeds import DRAW_STREAM, derive_seed
from pipeline.model_io.tensors import to_model
from pipeline.text.vocabulary import vocabulary_of
from pipeline.training.ema import Ema
from pipeline.training.feed import ClipFeed, open_feed
from pipeline.training.history import History
from pipeline.training.trainer import Trainer, Values


@dataclass(frozen=True)
class TextFeatures:
    """Features of a batch's captions and of their hard negatives."""

    own: Tensor  # (B, TEXT_DIM)
    negatives: Tensor  # (B, R, TEXT_DIM)
    negatives_mask: Tensor  # bool (B, R), as in the batch
    same: Tensor  # bool (B, B): which captions are equal


class GanTrainer(Trainer[Batch]):
    """Generator, discriminators and their two optimizers in training."""

    name = "train_gan"
    family = "gan"
    columns = ("loss_d", "loss_g", "contrast_d", "contrast_g", "r1")
    params: TrainGanParams

    def __init__(
        self,
        generator: VideoGenerator,  # on the CPU, freshly built
        discriminator: Discriminator,
        feed: ClipFeed,
        params: TrainGanParams,
        device: torch.device,
    ) -> None:
        self.generator = generator.to(device).train()
        self.discriminator = discriminator.to(device).train()
        self.feed, self.params, self.device = feed, params, device
        captions = chain.from_iterable(feed.clips.index.captions)
        self.hard_negatives = HardNegatives(captions if params.hard_negatives else ())
        betas = (params.betas[0], params.betas[1])
        self.optimizer_g = torch.optim.Adam(generator.own_parameters(), params.lr, betas)
        weights_d = [*discriminator.parameters(), *generator.reader.parameters()]
        self.optimizer_d = torch.optim.Adam(weights_d, params.lr_discriminator, betas)
        self.ema = Ema(generator, decay=params.ema_decay)
        self.memory_advice = (
            f"lower train_gan.batch_size={params.batch_size}, resolution={params.resolution}, "
            f"frames={params.frames} or base_dim={params.base_dim}"
        )
        self.divergence_advice = (
            f"lower train_gan.lr={params.lr} and lr_discriminator={params.lr_discriminator}, or raise "
            f"train_gan.r1_weight={params.r1_weight}"
        )

    def prepare(self, step: int) -> Batch:
        clips, count = self.feed.batch(step), self.params.hard_negatives
        rngs = [np.random.default_rng(seed) for seed in clips.seeds]
        negatives = [
            self.hard_negatives.draw(caption, count, rng) for caption, rng in zip(clips.captions, rngs, strict=True)
        ]
        video = to_model(clips.frames)
        return make_batch(video, clips.captions, negatives, count, self.generator.vocabulary.indices)

    def step(self, step: int, batch: Batch) -> Values:
        """Generate clips, train the discriminators on them and on the real ones, then the generator by these."""
        batch = batch.to(self.device)
        rng = torch.Generator().manual_seed(derive_seed(self.params.seed, step, DRAW_STREAM))
        fake = self.generate(batch, rng)
        real = self.real_views(batch, rng)
        shift = int(torch.randint(1, len(batch.video), (1,), generator=rng))
        penalised = self.params.r1_weight > 0 and step % self.params.r1_every == 0
        losses = self.discriminator_step(real, fake.detach(), self.encode_text(batch), shift, penalised)
        losses |= self.generator_step(fake, batch)
        self.ema.update(step)
        return losses

    def generate(self, batch: Batch, rng: torch.Generator) -> Views:
        """New clips for the batch's captions: frames drawn at random in full, and all frames small."""
        b, _, f = batch.video.shape[:3]
        noise = self.generator.noise([rng] * b).to(self.device)  # (B, noise_dim + motion_dim)
        layers = self.generator.layers(noise, batch.text)
        index = random_frames(f, self.params.discriminator_frames, b, rng).to(self.device)  # (B, k)
        small = render(layers, 2 * self.discriminator.clip_resolution)  # (B, C, F, 2h, 2w)
        return Views(render(layers.at(index)), self.discriminator.shrink(small))

    def real_views(self, batch: Batch, rng: torch.Generator) -> Views:
        """The batch's clips in the same way."""
        b, _, f = batch.video.shape[:3]
        index = random_frames(f, self.params.discriminator_frames, b, rng).to(self.device)  # (B, k)
        return Views(take_frames(batch.video, index), self.discriminator.shrink(batch.video))

    def encode_text(self, batch: Batch) -> TextFeatures:
        own = self.generator.reader(batch.text)  # (B, TEXT_DIM)
        negatives = self.generator.reader(batch.negatives.flatten(0, 1))  # (B R, TEXT_DIM)
        negatives = negatives.reshape(*batch.negatives_mask.shape, own.shape[1])
        return TextFeatures(own, negatives, batch.negatives_mask, batch.same())

    def discriminator_step(
        self,
        real: Views,
        fake: Views,  # detached from the generator
        text: TextFeatures,
        shift: int,  # how many places away is the clip whose caption is a mismatch
        penalised: bool,  # whether R1 is due
    ) -> Values:
        """Update discriminators and text encoder: real and fitting from generated or mismatched."""
        discriminator, params = self.discriminator, self.params
        if penalised:
            real = real.requires_grad_()
        video_real, video_fake = discriminator.features(real), discriminator.features(fake)
        logits_real = discriminator.logits(video_real, text.own)  # (B, k) and (B,)
        logits_fake = discriminator.logits(video_fake, text.own)
        logits_mismatched = self.mismatched_logits(video_real, text, shift)
        adversarial = torch.stack(
            [
                discriminator_loss(params.loss, of_real.flatten(), of_fake.flatten(), of_mismatched)
                for of_real, of_fake, of_mismatched in zip(logits_real, logits_fake, logits_mismatched, strict=True)
            ]
        ).sum()
        contrast = self.contrast(video_real, text)
        loss = adversarial + params.contrast_weight * contrast
        losses: Values = {"loss_d": adversarial, "contrast_d": contrast}
        if penalised:
            penalty = r1_penalty(logits_real[0].sum() + logits_real[1].sum(), [real.frames, real.clip])
            loss = loss + params.r1_weight * params.r1_every * penalty
            losses["r1"] = penalty
        _update(self.optimizer_d, loss)
        return losses

    def mismatched_logits(
        self, video: VideoFeatures, text: TextFeatures, shift: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Logits of real clips under a neighbour's caption, where it is another one, and under their hard negatives."""
        if not self.params.mismatch:
            return None, None
        clips = torch.arange(len(text.same), device=text.same.device)
        other = ~text.same[clips, clips.roll(shift)]  # (B,)
        with_negatives = text.negatives_mask.nonzero()[:, 0]  # (N,), a clip for each of its negatives
        wrong = torch.cat([text.own.roll(shift, dims=0)[other], text.negatives[text.negatives_mask]])
        frames, clip = self.discriminator.logits(video.select(torch.cat([clips[other], with_negatives])), wrong)
        return frames.flatten(), clip

    def contrast(self, video: VideoFeatures, text: TextFeatures) -> Tensor:
        clips, captions = self.discriminator.embeddings(video, text.own)
        _, negatives = self.discriminator.embeddings(video, text.negatives)
        return contrastive_loss(clips, captions, text.same, negatives, text.negatives_mask)

    def generator_step(self, fake: Views, batch: Batch) -> Values:
        """Update the generator by the discriminators and the text encoder as they are."""
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            text = self.encode_text(batch)
        video = self.discriminator.features(fake)
        logits = self.discriminator.logits(video, text.own)  # (B, k) and (B,)
        adversarial = torch.stack([generator_loss(self.params.loss, each) for each in logits]).sum()
        contrast = self.contrast(video, text)
        _update(self.optimizer_g, adversarial + self.params.contrast_weight * contrast)
        self.discriminator.requires_grad_(True)
        return {"loss_g": adversarial, "contrast_g": contrast}

    def metrics(self, history: History) -> dict[str, Any]:
        """The last steps' mean losses, and how many words the captions have."""
        return {name: history.final(name) for name in self.columns} | {"words": len(self.generator.vocabulary.words)}

    def parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "optimizer_g": self.optimizer_g,
            "optimizer_d": self.optimizer_d,
            "ema": self.ema,
        }


def open_gan_trainer(shards: Path, params: TrainGanParams, device: torch.device) -> GanTrainer:
    """Both networks as `params.seed` starts them, with the words of the set's train captions, and their feed."""
    feed = open_feed(shards, params)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        generator = VideoGenerator(params, vocabulary_of(feed.clips.index.distinct_captions()))
        discriminator = Discriminator(params)
    return GanTrainer(generator, discriminator, feed, params, device)


@torch.no_grad()
def draw_samples(generator: VideoGenerator, prompts: Sequence[str]) -> Tensor:
    """(B, C, F, H, W), seed k for prompt k."""
    return generator.sample(prompts, range(len(prompts)))


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
