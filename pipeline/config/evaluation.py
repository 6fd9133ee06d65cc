"""Params of the stages that measure and show: the judge's networks, the evaluation and the report."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.section import BatchSize, Distinct, NonNegativeNumber, PositiveNumber, Section, Seed, Width

Clips = Annotated[int, Field(ge=1, le=1_000_000)]
Shown = Annotated[int, Field(ge=1, le=1000)]  # clips on a page


class JudgeParams(Section):
    """Stage judge: the networks that read and compare clips, trained on real ones."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)]
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    lr: PositiveNumber
    width: Width
    feature_dim: Width
    seed: Seed


class EvaluateParams(Section):
    """Stage evaluate: how many samples are drawn and scored, the sweeps over sampling params, and what is kept."""

    prompts: Clips
    batch_size: BatchSize
    feature_clips: Annotated[int, Field(ge=2, le=1_000_000)]  # one clip has no spread
    curve_prompts: Clips
    guidance_scales: Distinct[Annotated[NonNegativeNumber, Field(le=1000.0)]]
    steps: Distinct[Annotated[int, Field(ge=1, le=100_000)]]
    unsaid_clips: Annotated[int, Field(ge=0, le=1_000_000)]
    showcase_prompts: Shown
    showcase_seeds: Shown
    seed: Seed


class FramesParams(Section):
    """Stage frames: how much is drawn from given frames and scored, where the U-Net was trained for them."""

    clips: Annotated[int, Field(ge=2, le=1_000_000)]  # one cannot be held against another
    rollouts: Annotated[int, Field(ge=2, le=1_000_000)]
    rollout_frames: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: BatchSize
    shown: Shown
    seed: Seed


class ReportParams(Section):
    """Stage report: how much of what evaluate kept is shown."""

    prompts: Shown
    seeds: Shown
