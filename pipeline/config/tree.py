"""The whole params file as one record: a section for each stage, and those that stages share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

from pipeline.config.data import DownloadParams, EmbedParams, MovingMnistParams, ShapesParams, TranscodeParams
from pipeline.config.evaluation import EvaluateParams, FramesParams, JudgeParams, ReportParams
from pipeline.config.models import DiffusionParams, SamplingParams, UnetParams
from pipeline.config.section import Section
from pipeline.config.training import TrainGanParams, TrainParams

DatasetName = Literal["shapes", "moving_mnist", "videos"]
DATASETS: tuple[str, ...] = get_args(DatasetName)


def _require_set(name: Any) -> Any:
    if name not in DATASETS:
        raise ValueError(
            "it should be 'shapes', 'moving_mnist' or 'videos'; clips of your own, imported ones too, are trained on "
            "as videos with download.source=local and their folder as download.path"
        )
    return name


Dataset = Annotated[DatasetName, BeforeValidator(_require_set)]


class Params(Section):
    """The whole file: one section a stage, and the sections of what the stages share."""

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
    frames: FramesParams
    report: ReportParams
