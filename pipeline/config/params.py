"""params.yaml as typed, frozen sections: the one door for configuration errors.

`load_params` reads the file, checks every key, type and range, and raises one `ParamsError` line that names the file,
section, key, value and what is allowed. Nothing here has a default: params.yaml is complete.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.config.earlier import what_became_of

Dataset = Literal["shapes", "moving_mnist", "msrvtt"]
DATASETS: tuple[str, ...] = get_args(Dataset)
BANNED_KEYS = ("size", "nfiles")  # DVC drops params of these names from its cache key (dvc#10296)

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Channels = Literal[1, 3, 4]


class ParamsError(ValueError):
    """A params file that a user can mend; the message is one line."""


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def listed(item: Any) -> Any:
    """A YAML list of at least one item, kept as a tuple."""
    return Annotated[tuple[item, ...], BeforeValidator(_tuple), Field(min_length=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DownloadParams(Section):
    source: Literal["sample", "kaggle", "local"]
    path: str | None
    captions_path: str | None
    videos_slug: str
    captions_slug: str
    videos_sha256: str | None
    captions_sha256: str | None
    sample_clips: Annotated[int, Field(ge=4)]
    seed: Seed

    @model_validator(mode="after")
    def _local_has_a_path(self) -> DownloadParams:
        if self.source == "local" and not self.path:
            raise ValueError("path is null, but source=local needs the archive or folder of your videos")
        return self


class TranscodeParams(Section):
    resolution: Annotated[int, Field(ge=8, le=1024)]
    frames: Annotated[int, Field(ge=1, le=1024)]
    span: Literal["whole", "first"]
    duration_s: PositiveFloat
    fps: Annotated[float, Field(gt=0.0, le=50.0)]
    fit: Literal["crop", "pad", "stretch"]
    background: str
    split: Literal["official", "1k-A"]
    group: str | None
    hold_out: Annotated[tuple[str, ...], BeforeValidator(_tuple)]
    hold_out_share: Annotated[float, Field(gt=0.0, le=0.5)]
    hold_out_seed: Seed
    clips_per_shard: Annotated[int, Field(ge=1, le=10000)]
    time_limit_s: PositiveFloat
    memory_limit_gb: PositiveFloat
    max_rejected_share: Share

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        if not re.fullmatch("white|gray|black|#[0-9a-f]{6}", value):
            raise ValueError("allowed: white, gray, black, or '#rrggbb' in quotes and lower case")
        return value

    @model_validator(mode="after")
    def _group_is_a_column_or_a_regex(self) -> TranscodeParams:
        if self.group is not None and "(" in self.group:
            try:
                groups = re.compile(self.group).groups
            except re.error as error:
                raise ValueError(f"group={self.group!r} is no regex ({error}); write a column, or a regex") from None
            if not groups:
                raise ValueError(f"group={self.group!r} has no (group) that names the kin; put one around it")
        return self


Shape = Literal["circle", "square", "triangle", "star"]
Colour = Literal["red", "green", "blue", "yellow", "orange", "purple", "cyan", "pink", "brown", "black", "gray"]
Direction = Literal["left", "right", "up", "down", "up-left", "up-right", "down-left", "down-right"]
Bounce = Literal["bounce-horizontal", "bounce-vertical"]
ShapeMotion = (
    Direction
    | Bounce
    | Literal[
        "zigzag-horizontal",
        "zigzag-vertical",
        "rotate-clockwise",
        "rotate-counterclockwise",
        "grow",
        "shrink",
        "still",
        "change-colour",
    ]
)


class SyntheticParams(Section):
    """What the two generated sets share."""

    train_clips: Positive
    val_clips: Positive
    held_out_clips: Count
    reworded_clips: Count
    resolution: Annotated[int, Field(ge=16, le=1024)]
    frames: Annotated[int, Field(ge=2, le=256)]
    fps: Annotated[float, Field(gt=0.0, le=50.0)]
    held_out_share: Annotated[float, Field(ge=0.0, le=0.5)]
    held_out_templates: Count
    captions_per_clip: Positive
    clips_per_shard: Annotated[int, Field(ge=1, le=10000)]
    seed: Seed


class ShapesParams(SyntheticParams):
    shapes: listed(Shape)  # type: ignore[valid-type]
    colours: listed(Colour)  # type: ignore[valid-type]
    sizes: listed(Literal["small", "medium", "large"])  # type: ignore[valid-type]
    motions: listed(ShapeMotion)  # type: ignore[valid-type]
    speeds: listed(Literal["slow", "normal", "fast"])  # type: ignore[valid-type]
    backgrounds: listed(Literal["white", "solid", "dots", "grid", "stripes"])  # type: ignore[valid-type]
    objects: listed(Annotated[int, Field(ge=1, le=3)])  # type: ignore[valid-type]


class MovingMnistParams(SyntheticParams):
    source: Literal["digits", "idx", "kaggle"]
    path: str | None
    slug: str
    digits: listed(Annotated[int, Field(ge=0, le=9)])  # type: ignore[valid-type]
    objects: listed(Annotated[int, Field(ge=1, le=2)])  # type: ignore[valid-type]
    motions: listed(Direction | Bounce)  # type: ignore[valid-type]
    digit_px: Annotated[int, Field(ge=8)] | None

    @model_validator(mode="after")
    def _idx_has_a_path(self) -> MovingMnistParams:
        if self.source == "idx" and not self.path:
            raise ValueError("path is null, but source=idx needs the folder of the MNIST IDX files")
        return self


class EmbedParams(Section):
    encoder: str
    revision: str | None
    pooling: Literal["mean", "cls"]
    max_tokens: Annotated[int, Field(ge=3, le=512)]
    dtype: Literal["float16", "float32"]
    batch_size: Positive


class JudgeParams(Section):
    steps: Positive
    batch_size: Annotated[int, Field(ge=2)]
    lr: PositiveFloat
    width: Positive
    feature_dim: Positive
    seed: Seed


class UnetParams(Section):
    dim: Positive
    dim_mults: listed(Positive)  # type: ignore[valid-type]
    init_dim: Positive | None
    out_dim: Positive | None
    init_kernel_size: Positive
    patch: Positive
    fold_frames: listed(Positive)  # type: ignore[valid-type]
    unfold_frames: listed(Positive) | None  # type: ignore[valid-type]
    blocks_per_level: Positive
    norm: Literal["rms", "layer"]
    final_block: bool
    head_dim: Positive | None
    block_type: Literal["resnet", "convnext"]
    attn_heads: Positive
    attn_dim_head: Positive
    spatial_attention: listed(Literal["none", "linear", "full"])  # type: ignore[valid-type]
    temporal_attention: listed(bool)  # type: ignore[valid-type]
    joint_attention: listed(bool)  # type: ignore[valid-type]
    cross_attention: listed(bool)  # type: ignore[valid-type]
    mid_attention: Literal["none", "factored", "joint"]
    temporal_conv: bool
    positions: bool
    text_queries: Count
    cond_dim: Positive | None

    @model_validator(mode="after")
    def _one_entry_a_level(self) -> UnetParams:
        levels = len(self.dim_mults)
        for key in ("fold_frames", "spatial_attention", "temporal_attention", "joint_attention", "cross_attention"):
            given = len(getattr(self, key))
            if given != levels:
                raise ValueError(f"{key} has {given} entries, but dim_mults has {levels} levels: give one per level")
        if self.unfold_frames is not None:
            self._check_unfolding(self.unfold_frames)
        if self.init_kernel_size % 2 == 0:
            raise ValueError(f"init_kernel_size={self.init_kernel_size} is even; it must be odd")
        return self

    def _check_unfolding(self, unfolds: tuple[int, ...]) -> None:
        folds = self.fold_frames
        if len(unfolds) != len(folds):
            raise ValueError(
                f"unfold_frames has {len(unfolds)} entries, but there are {len(folds)} levels; null: as folded"
            )
        if math.prod(unfolds) != math.prod(folds):
            raise ValueError(
                f"unfold_frames {list(unfolds)} gives back {math.prod(unfolds)} frames, but fold_frames "
                f"{list(folds)} folds {math.prod(folds)}: give as many, or null"
            )
        for level in range(len(folds)):
            folded, given = math.prod(folds[: level + 1]), math.prod(unfolds[: level + 1])
            if folded % given:
                raise ValueError(
                    f"unfold_frames {list(unfolds)}: at level {level} a cell holds {given} frames on the way up, "
                    f"which does not divide the {folded} on the way down: give less at the first levels, or null"
                )


class DiffusionParams(Section):
    objective: Literal["x0", "eps", "v"]
    schedule: Literal["flow", "cosine"]
    num_train_timesteps: Annotated[int, Field(ge=2)]
    loss: Literal["l2", "l1"]
    loss_weight: Literal["none", "velocity"]
    loss_weight_max: PositiveFloat
    t_mean: float
    t_std: PositiveFloat
    p_uncond: Annotated[float, Field(ge=0.0, lt=1.0)]
    dynamic_thresholding: bool
    threshold_percentile: Annotated[float, Field(gt=0.0, le=1.0)]


class LoopParams(Section):
    """The clips that both families are trained on, and the intervals of their loop."""

    frames: Positive
    resolution: Positive
    channels: Channels
    steps: Positive
    batch_size: Positive
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)]
    ram_budget_gb: PositiveFloat
    checkpoint_every: Positive
    sample_every: Positive
    num_sample_rows: Positive
    seed: Seed


class TrainParams(LoopParams):
    accumulate: Positive
    optimizer: Literal["adamw", "muon"]
    lr: PositiveFloat
    lr_muon: PositiveFloat
    weight_decay: NonNegativeFloat
    betas: Annotated[tuple[Share, Share], BeforeValidator(_tuple)]
    warmup_steps: Count
    decay: Literal["cosine", "constant"]
    final_lr_share: Share
    clip_grad_norm: NonNegativeFloat
    ema_start: Count
    ema_every: Positive
    precision: Literal["auto", "fp32", "bf16"]
    compile: bool
    text_dropout: Share
    flip: bool
    prob_focus_present: Share
    val_every: Positive

    @model_validator(mode="after")
    def _batch_splits(self) -> TrainParams:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size={self.batch_size} does not divide by accumulate={self.accumulate}: make it a multiple"
            )
        return self


class SamplingParams(Section):
    sampler: Literal["ddpm", "ddim", "euler", "heun", "dpmpp_2m"]
    num_inference_steps: Positive
    shift: PositiveFloat
    guidance_scale: NonNegativeFloat
    guidance_interval: Annotated[tuple[Share, Share], BeforeValidator(_tuple)]
    eta: Share


class TrainGanParams(LoopParams):
    batch_size: Annotated[int, Field(ge=2)]
    lr: PositiveFloat
    lr_discriminator: PositiveFloat
    betas: Annotated[tuple[Share, Share], BeforeValidator(_tuple)]
    loss: Literal["hinge", "bce"]
    r1_weight: NonNegativeFloat
    r1_every: Positive
    contrast_weight: NonNegativeFloat
    mismatch: bool
    hard_negatives: Count
    word_dim: Positive
    word_window: Positive
    noise_dim: Positive
    motion_dim: Positive
    code_dim: Annotated[int, Field(ge=2)]
    base_dim: Positive
    sprites: Positive
    background_sees_text: bool
    discriminator_dim: Positive
    discriminator_frames: Positive
    clip_resolution: Annotated[int, Field(ge=8)]


class EvaluateParams(Section):
    prompts: Positive
    batch_size: Positive
    feature_clips: Positive
    curve_prompts: Positive
    guidance_scales: listed(NonNegativeFloat)  # type: ignore[valid-type]
    steps: listed(Positive)  # type: ignore[valid-type]
    unsaid_clips: Count
    showcase_prompts: Positive
    showcase_seeds: Positive
    seed: Seed


class ReportParams(Section):
    prompts: Positive
    seeds: Positive


class Params(Section):
    dataset: Dataset
    download: DownloadParams
    transcode: TranscodeParams
    shapes: ShapesParams
    moving_mnist: MovingMnistParams
    embed: EmbedParams
    judge: JudgeParams
    unet: UnetParams
    diffusion: DiffusionParams
    train: TrainParams
    sampling: SamplingParams
    train_gan: TrainGanParams
    evaluate: EvaluateParams
    report: ReportParams


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check a params file. Raises `ParamsError`, one line, on the first thing a user has to mend."""
    path = Path(path)
    if not path.is_file():
        raise ParamsError(f"{path}: no such params file; run from the repository's root")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    return parse_params(tree, where=str(path))


def parse_params(tree: Any, where: str = "params") -> Params:
    """Check an already loaded tree; `where` names its file in the error."""
    if not isinstance(tree, dict):
        raise ParamsError(f"{where}: expected sections, got {type(tree).__name__}")
    _refuse_banned_keys(tree, where)
    _refuse_earlier_keys(tree, where)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(_one_line(error, where)) from None


def _refuse_banned_keys(tree: dict[str, Any], where: str, prefix: str = "") -> None:
    for key, value in tree.items():
        if key in BANNED_KEYS:
            raise ParamsError(f"{where}: {prefix}{key}: DVC ignores params of this name (dvc#10296); rename the key")
        if isinstance(value, dict):
            _refuse_banned_keys(value, where, f"{prefix}{key}.")


def _refuse_earlier_keys(tree: dict[str, Any], where: str) -> None:
    for section, values in tree.items():
        for key in values if isinstance(values, dict) else ():
            if told := what_became_of(f"{section}.{key}"):
                raise ParamsError(f"{where}: {section}.{key}: {told}")


def _one_line(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    # A union (a list of literals) reports one error per member: the location's own type tags are dropped.
    location = ".".join(str(part) for part in first["loc"] if not re.search(r"[\[\]( ]", str(part)))
    key, value = location or "(whole file)", first["input"]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key (value {value!r}); allowed: {_siblings(first['loc'])}{more}"
    if first["type"] == "missing":
        return f"{where}: {key}: missing; params.yaml holds every key, copy it from the committed file{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {key}: {message}{more}"
    hint = " (write 1.0e-4: YAML reads 1e-4 as a string)" if _looks_like_a_float(value) else ""
    return f"{where}: {key}: {value!r} is not allowed: {message[0].lower()}{message[1:]}{hint}{more}"


def _looks_like_a_float(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value) is not None


def _siblings(loc: tuple[int | str, ...]) -> str:
    fields = Params.model_fields
    if len(loc) > 1:
        section = fields[str(loc[0])].annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        fields = section.model_fields
    return ", ".join(fields)
