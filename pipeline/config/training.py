"""Params of training: the diffusion U-Net's and the GAN's, whose networks stand in the same section."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.models import GAN_STEM, check_doubled
from pipeline.config.section import (
    BatchSize,
    Betas,
    Count,
    Frames,
    GridRows,
    NonNegativeNumber,
    Number,
    Pixels,
    Positive,
    PositiveNumber,
    Section,
    Seed,
    Share,
    ShareBelowOne,
    Text,
    Width,
    no_repeats,
)

Channels = Literal[1, 3, 4]
GivenFrames = Annotated[tuple[Frames, ...], AfterValidator(no_repeats)]
GivenShare = Annotated[Number, Field(gt=0.0, le=0.5)]  # text alone stays what most clips are drawn from
Memory = Annotated[Number, Field(gt=0.0, le=100_000.0)]  # GB


class LoopParams(Section):
    """The clips that both families are trained on, and the intervals of their loop."""

    frames: Frames
    resolution: Pixels
    channels: Channels
    steps: Positive
    batch_size: BatchSize
    ema_decay: ShareBelowOne
    ram_budget_gb: Memory
    checkpoint_every: Positive
    sample_every: Positive
    num_sample_rows: GridRows
    seed: Seed


class TrainParams(LoopParams):
    """Stage train: clips, optimizer, averaging and looks at the run."""

    accumulate: BatchSize
    optimizer: Literal["adamw", "muon"]
    lr: PositiveNumber
    lr_muon: PositiveNumber
    weight_decay: NonNegativeNumber
    betas: Betas
    warmup_steps: Count
    decay: Literal["cosine", "constant"]
    final_lr_share: Share
    clip_grad_norm: NonNegativeNumber
    ema_start: Count
    ema_every: Positive
    precision: Literal["auto", "fp32", "bf16"]
    compile: bool
    text_dropout: Share
    flip: bool
    prob_focus_present: Share
    given_frames: GivenFrames
    given_share: GivenShare
    given_noise: NonNegativeNumber
    val_every: Positive
    init_from: Text | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.batch_size % self.accumulate:
            self.refuse("accumulate", f"batch_size {self.batch_size} does not divide by it; make it a divisor")
        if self.warmup_steps > self.steps:
            self.refuse("warmup_steps", f"the run has {self.steps} steps and would end while it warms up; lower it")
        if self.ema_start >= self.steps and self.ema_start:
            self.refuse("ema_start", f"the run has {self.steps} steps and would never average; lower it")
        if self.ema_every > self.steps:
            self.refuse("ema_every", f"the run has {self.steps} steps and would never average; lower it")
        if max(self.given_frames, default=0) >= self.frames:
            self.refuse("given_frames", f"a clip has {self.frames} frames, and one at least is to be drawn; lower it")
        rates = {"lr": self.lr} | ({"lr_muon": self.lr_muon} if self.optimizer == "muon" else {})
        for key, rate in rates.items():
            if self.weight_decay * rate >= 1.0:
                self.refuse(
                    "weight_decay", f"times {key} {rate} it is 1 or more: a step would wipe the weights out; lower it"
                )
        return self


class TrainGanParams(LoopParams):
    """Stage train_gan: clips, both networks and their training. Kept in the model's card."""

    batch_size: Annotated[int, Field(ge=2, le=65_536)]  # captions are shifted among the clips
    lr: PositiveNumber
    lr_discriminator: PositiveNumber
    betas: Betas
    loss: Literal["hinge", "bce"]
    r1_weight: NonNegativeNumber
    r1_every: Positive
    contrast_weight: NonNegativeNumber
    mismatch: bool
    hard_negatives: Annotated[int, Field(ge=0, le=256)]
    word_dim: Width
    word_window: Annotated[int, Field(ge=1, le=63)]
    noise_dim: Width
    motion_dim: Width
    code_dim: Annotated[int, Field(ge=2, le=16_384)]
    base_dim: Width
    sprites: Annotated[int, Field(ge=1, le=64)]
    background_sees_text: bool
    discriminator_dim: Width
    discriminator_frames: Frames
    clip_resolution: Pixels

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_doubled(self.resolution)
        if (
            self.clip_resolution < GAN_STEM
            or self.clip_resolution > self.resolution
            or self.resolution % self.clip_resolution
        ):
            self.refuse(
                "clip_resolution",
                f"clips of {self.resolution} px are averaged down to it; take {GAN_STEM}, {2 * GAN_STEM} … up to that",
            )
        if self.discriminator_frames > self.frames:
            self.refuse("discriminator_frames", f"a clip has {self.frames} frames; take at most that")
        if self.word_window % 2 == 0:
            self.refuse("word_window", "it is even, and a word stands in the middle of its neighbours; take an odd one")
        return self
