"""The contents of a report, gathered from a run's files.

A run is params, stage metrics, and for each model its metrics, curves and samples. A missing file leaves its part out;
the page says so.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.config.earlier import names_of_set, todays_set
from pipeline.config.tree import DATASETS
from pipeline.data.samples import Sample, read_samples
from pipeline.report.files import Files

MODEL_NAMES = {"unet": "U-Net", "gan": "GAN"}  # as shown, in the order of the columns
STAGES = ("download", "transcode", "shapes", "moving_mnist", "embed", "judge", "train", "train_gan")
TRAIN_STAGE = {"unet": "train", "gan": "train_gan"}
SET_TITLES = {"shapes": "Moving shapes", "moving_mnist": "Moving digits"}
VIDEOS_TITLES = {  # by download.source
    "sample": "Sample clips, drawn here in MSR-VTT's layout",
    "emoji": "Animated emoji",
    "kaggle": "MSR-VTT",
    "local": "Own clips",
}


@dataclass(frozen=True)
class ModelResult:
    """One model of one run: a column of the report."""

    label: str
    name: str  # unet | gan
    metrics: dict[str, Any]
    samples: tuple[Sample, ...]
    tables: dict[str, pd.DataFrame]  # plots/evaluate/<model>/*.csv by name
    history: dict[str, pd.DataFrame]  # plots/<train stage>/*.csv by name

    @property
    def prompts(self) -> int:
        """Number of evaluated prompts of the first kind."""
        return int(self.metrics.get("seen.clips", self.metrics.get("retrieval.clips", 0)))


@dataclass(frozen=True)
class GivenFrames:
    """Results of stage frames, of a model that was trained for given frames."""

    metrics: dict[str, Any]
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Run:
    """Everything of one revision."""

    name: str
    params: dict[str, Any]
    stages: dict[str, dict[str, Any]]  # metrics by stage, embed's as embed/<set>
    models: tuple[ModelResult, ...]
    ladder: Any
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)  # set.json by set
    given: GivenFrames | None = None  # None: the model draws from text alone

    @property
    def dataset(self) -> str:
        """The set that models were trained and evaluated on."""
        return todays_set(str(self.params.get("dataset", "")))

    @property
    def repeats(self) -> dict[str, int]:
        """Validation clips of the dataset that repeat a clip of another split: `exact`, `near`; empty: not counted."""
        return self.sets.get(self.dataset, {}).get("repeats", {}).get("validate", {})

    @property
    def validation_clips(self) -> int:
        """Clips of the dataset's validation split."""
        counts = self.sets.get(self.dataset, {}).get("counts", {})
        return int(counts.get("validate", counts.get("val", 0)))

    def set_title(self, name: str) -> str:
        """A set's name as people say it."""
        if name == "videos":
            return VIDEOS_TITLES[self.params.get("download", {}).get("source", "kaggle")]
        return SET_TITLES.get(name, name.replace("_", " ").capitalize())

    def param(self, section: str, key: str) -> Any:
        """A param, or None where this run's params have no such key."""
        return self.params.get(section, {}).get(key)


def gather_run(files: Files, name: str, *, prefix: str = "") -> Run:
    """Read a run. Raises ValueError where it has no params or no evaluated model."""
    text = files.read("params.yaml")
    if text is None:
        raise ValueError(f"{name}: no params.yaml in it; name a revision of this pipeline")
    models = tuple(result for model in MODEL_NAMES if (result := _model(files, model, prefix)) is not None)
    if not models:
        raise ValueError(f"{name}: no metrics/evaluate/*.json in it; run dvc repro (or dvc pull) there first")
    sets = {each: described for each in DATASETS if (described := _described_set(files, each))}
    return Run(
        name=name,
        params=yaml.safe_load(text),
        stages=dict(_stage_metrics(files)),
        models=models,
        ladder=_json(files, "models/judge/ladder.json"),
        sets=sets,
        given=_given(files),
    )


def _given(files: Files) -> GivenFrames | None:
    metrics = _json(files, "metrics/frames.json")
    if not metrics.get("trained"):
        return None
    data = files.read("evaluations/frames/samples.parquet")
    return GivenFrames(metrics, tuple(read_samples(io.BytesIO(data))) if data is not None else ())


def _model(files: Files, model: str, prefix: str) -> ModelResult | None:
    metrics = _json(files, f"metrics/evaluate/{model}.json")
    if not metrics:
        return None
    data = files.read(f"evaluations/{model}/samples.parquet")
    return ModelResult(
        label=prefix + MODEL_NAMES[model],
        name=model,
        metrics=metrics,
        samples=tuple(read_samples(io.BytesIO(data))) if data is not None else (),
        tables=read_tables(files, f"plots/evaluate/{model}"),
        history=read_tables(files, f"plots/{TRAIN_STAGE[model]}"),
    )


def _described_set(files: Files, name: str) -> dict[str, Any]:
    """The contents of set.json, under whatever name the run's version gave the set."""
    return next(filter(None, (_json(files, f"data/shards/{each}/set.json") for each in names_of_set(name))), {})


def _stage_metrics(files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in STAGES:
        if stage == "embed":
            for name in files.names("metrics/embed"):
                yield f"embed/{Path(name).stem}", _json(files, f"metrics/embed/{name}")
        elif metrics := _json(files, f"metrics/{stage}.json"):
            yield stage, metrics


def read_tables(files: Files, folder: str) -> dict[str, pd.DataFrame]:
    """Tables by name; words like "none" stay words, an empty cell was not measured."""
    tables = {}
    for name in files.names(folder):
        data = files.read(f"{folder}/{name}") if name.endswith(".csv") else None
        if data is not None:
            tables[Path(name).stem] = pd.read_csv(io.BytesIO(data), keep_default_na=False, na_values=[""])
    return tables


def _json(files: Files, path: str) -> Any:
    data = files.read(path)
    return json.loads(data) if data is not None else {}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def changed_params(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, value before, value after) of every param that differs; a missing one is None."""
    old, new = flatten(before), flatten(after)
    return [(key, old.get(key), new.get(key)) for key in sorted(old | new) if old.get(key) != new.get(key)]
