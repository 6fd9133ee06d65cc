"""Params of the networks, of the noise they are taught by and of sampling, and the sizes that the networks can take."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import (
    NonNegativeNumber,
    Number,
    PerLevel,
    PositiveNumber,
    RuleError,
    Section,
    Share,
    ShareBelowOne,
    Width,
)

GAN_STEM = 8  # px, height and width of the generator's first grid
Patch = Annotated[int, Field(ge=1, le=64)]
Fold = Annotated[int, Field(ge=1, le=1024)]


class UnetParams(Section):
    """The diffusion U-Net, level by level from the finest grid to the coarsest. Read by stage train, kept in its card.

    temporal_attention[0] also puts a layer behind the stem; positions also puts the frame index into the conditioning.
    """

    dim: Annotated[int, Field(ge=4, le=16_384)]  # sines and cosines of t share it, two of each at least
    dim_mults: PerLevel[Annotated[int, Field(ge=1, le=256)]]
    init_dim: Width | None
    out_dim: Width | None
    init_kernel_size: Annotated[int, Field(ge=1, le=63)]
    patch: Patch
    fold_frames: PerLevel[Fold]
    unfold_frames: PerLevel[Fold] | None
    blocks_per_level: Annotated[int, Field(ge=1, le=64)]
    norm: Literal["rms", "layer"]
    final_block: bool
    head_dim: Width | None
    block_type: Literal["resnet", "convnext"]
    attn_heads: Annotated[int, Field(ge=1, le=256)]
    attn_dim_head: Annotated[int, Field(ge=1, le=1024)]
    spatial_attention: PerLevel[Literal["none", "linear", "full"]]
    temporal_attention: PerLevel[bool]
    joint_attention: PerLevel[bool]
    cross_attention: PerLevel[bool]
    mid_attention: Literal["none", "factored", "joint"]
    temporal_conv: bool
    positions: bool
    text_queries: Annotated[int, Field(ge=0, le=256)]
    cond_dim: Width | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        levels = len(self.dim_mults)
        for key in ("fold_frames", "spatial_attention", "temporal_attention", "joint_attention", "cross_attention"):
            if len(getattr(self, key)) != levels:
                self.refuse(key, f"dim_mults has {levels} levels; give one entry per level")
        self._check_unfolding()
        if self.dim % 2:
            self.refuse("dim", "it is odd, and sines and cosines of t share it; take an even one")
        if self.init_kernel_size % 2 == 0:
            self.refuse("init_kernel_size", "it is even, and a kernel needs a centre; take an odd one")
        if self.attends_to_time() and self.attn_dim_head % 2:
            self.refuse(
                "attn_dim_head", "temporal attention turns pairs of channels (rotary positions); take an even one"
            )
        return self

    def attends_to_time(self) -> bool:
        """Whether any layer attends along the frames."""
        return any(self.temporal_attention) or self.mid_attention == "factored"

    def reads_tokens(self) -> bool:
        """Whether the caption's token vectors are read, beside its pooled one."""
        return self.text_queries > 0 or any(self.cross_attention)

    def check_size(self, frames: int, resolution: int, section: str = "train") -> None:
        """Raise RuleError, of `section`'s key, where patches, folds and levels do not divide a video of this size."""
        levels = len(self.dim_mults)
        step = self.patch * 2 ** (levels - 1)
        if resolution % step:
            raise RuleError(
                f"{section}.resolution",
                resolution,
                f"it does not divide by {step} = unet.patch {self.patch} x 2^{levels - 1} for the {levels} levels of "
                "unet.dim_mults; change one of the three",
            )
        fold = math.prod(self.fold_frames)
        if frames % fold:
            raise RuleError(
                f"{section}.frames",
                frames,
                f"it does not divide by {fold}, the product of unet.fold_frames {list(self.fold_frames)}; change one "
                "of them",
            )

    def _check_unfolding(self) -> None:
        folds, unfolds = self.fold_frames, self.unfold_frames or self.fold_frames
        if len(unfolds) != len(folds):
            self.refuse("unfold_frames", f"dim_mults has {len(folds)} levels; give one entry per level, or null")
        if math.prod(unfolds) != math.prod(folds):
            self.refuse(
                "unfold_frames",
                f"it gives back {math.prod(unfolds)} frames, but fold_frames {list(folds)} folds {math.prod(folds)}; "
                "give as many, or null",
            )
        for level in range(len(folds)):
            folded, given = math.prod(folds[: level + 1]), math.prod(unfolds[: level + 1])
            if folded % given:
                self.refuse(
                    "unfold_frames",
                    f"at level {level} a cell holds {given} frames on the way up, which does not divide the {folded} "
                    "on the way down; give less at the first levels, or null",
                )


class DiffusionParams(Section):
    """Noise and objective of the U-Net. Read by stage train, kept in its card."""

    objective: Literal["x0", "eps", "v"]
    schedule: Literal["flow", "cosine"]
    num_train_timesteps: Annotated[int, Field(ge=2, le=100_000)]
    loss: Literal["l2", "l1"]
    loss_weight: Literal["none", "velocity"]
    loss_weight_max: PositiveNumber
    t_mean: Annotated[Number, Field(ge=-10.0, le=10.0)]  # beyond, t is 0 or 1 in single precision
    t_std: Annotated[Number, Field(gt=0.0, le=10.0)]
    p_uncond: ShareBelowOne
    dynamic_thresholding: bool
    threshold_percentile: Annotated[Number, Field(gt=0.0, le=1.0)]


class SamplingParams(Section):
    """Sampling from the U-Net. Read by stage evaluate and by previews while training."""

    sampler: Literal["ddpm", "ddim", "euler", "heun", "dpmpp_2m", "lcm"]
    num_inference_steps: Annotated[int, Field(ge=1, le=100_000)]
    shift: Annotated[Number, Field(gt=0.0, le=1000.0)]
    t_start: Annotated[Number, Field(gt=0.0, le=1.0)]
    guidance_scale: Annotated[NonNegativeNumber, Field(le=1000.0)]
    guidance_interval: tuple[Share, Share]
    eta: Share
    given_frames: Annotated[int, Field(ge=0, le=1024)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.guidance_interval
        if low >= high:
            self.refuse("guidance_interval", "it holds no t: give the lower end first, such as [0.5, 1.0]")
        return self


def check_doubled(resolution: int) -> None:
    """Raise RuleError where the GAN's stem never reaches `resolution` px by doubling."""
    times = resolution // GAN_STEM
    if resolution % GAN_STEM or times < 2 or times & (times - 1):
        rule = f"it is not {GAN_STEM} doubled; take 16, 32, 64, 128 …"
        raise RuleError("train_gan.resolution", resolution, rule)
