"""What a report shows, gathered from a run's files: of the working tree, or of any revision that DVC can read.

A run is params, stage metrics, and for each model its metrics, curves and samples. A missing file leaves its part out;
the page says so.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
import yaml

from pipeline.config.params import DATASETS
from pipeline.data.shards import Row

MODEL_NAMES = {"unet": "U-Net", "gan": "GAN"}  # as shown, in the order of the columns
STAGES = ("download", "transcode", "shapes", "moving_mnist", "embed", "judge", "train", "train_gan")
TRAIN_STAGE = {"unet": "train", "gan": "train_gan"}


class Files(Protocol):
    """A tree of files, by path from the repository's root."""

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None where there is no such file."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none where it is missing."""


@dataclass(frozen=True)
class FolderFiles:
    """The working tree, or any folder laid out like it."""

    root: Path

    def read(self, path: str) -> bytes | None:
        file = self.root / path
        return file.read_bytes() if file.is_file() else None

    def names(self, folder: str) -> list[str]:
        place = self.root / folder
        return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []


class RevisionFiles:
    """A commit, branch, tag or experiment: files out of Git and the DVC cache."""

    def __init__(self, revision: str, root: Path = Path()) -> None:
        from dvc.api import DVCFileSystem
        from dvc.scm import RevError, resolve_rev

        repo = DVCFileSystem(str(root.resolve())).repo
        try:
            commit = resolve_rev(repo.scm, revision)
        except RevError:
            raise ValueError(f"{revision!r} is no commit, branch, tag or experiment here; see dvc exp show") from None
        self.fs = DVCFileSystem(str(root.resolve()), rev=commit, subrepos=True)
        self.folder = root.resolve().relative_to(repo.scm.root_dir)  # of a larger Git repository

    def read(self, path: str) -> bytes | None:
        try:
            return self.fs.cat_file((self.folder / path).as_posix())
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(Path(name).name for name in self.fs.ls((self.folder / folder).as_posix(), detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []


@dataclass(frozen=True)
class ModelResult:
    """One model of one run: a column of the report."""

    label: str
    name: str  # unet | gan
    metrics: dict[str, Any]
    samples: tuple[Row, ...]
    tables: dict[str, list[dict[str, str]]]  # plots/evaluate/<model>/*.csv by name
    history: dict[str, list[dict[str, str]]]  # plots/<train stage>/*.csv by name


@dataclass(frozen=True)
class Run:
    """Everything of one revision."""

    name: str
    params: dict[str, Any]
    default_params: dict[str, Any] | None  # as committed; None where Git cannot say
    stages: dict[str, dict[str, Any]]  # metrics by stage, embed's as embed/<set>
    models: tuple[ModelResult, ...]
    ladder: Any
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)  # set.json by set

    @property
    def dataset(self) -> str:
        return str(self.params.get("dataset", ""))


def gather_run(files: Files, name: str, default_params: dict[str, Any] | None, *, prefix: str = "") -> Run:
    """Read a run. Raises ValueError where it has no params or no evaluated model."""
    text = files.read("params.yaml")
    if text is None:
        raise ValueError(f"{name}: no params.yaml in it; name a revision of this pipeline")
    models = tuple(result for model in MODEL_NAMES if (result := _model(files, model, prefix)) is not None)
    if not models:
        raise ValueError(f"{name}: no metrics/evaluate/*.json in it; run dvc repro (or dvc pull) there first")
    sets = {each: described for each in DATASETS if (described := _json(files, f"data/shards/{each}/set.json"))}
    return Run(
        name=name,
        params=yaml.safe_load(text),
        default_params=default_params,
        stages=dict(_stage_metrics(files)),
        models=models,
        ladder=_json(files, "models/judge/ladder.json"),
        sets=sets,
    )


def _model(files: Files, model: str, prefix: str) -> ModelResult | None:
    metrics = _json(files, f"metrics/evaluate/{model}.json")
    if not metrics:
        return None
    return ModelResult(
        label=prefix + MODEL_NAMES[model],
        name=model,
        metrics=metrics,
        samples=_samples(files.read(f"evaluations/{model}/samples.parquet")),
        tables=_tables(files, f"plots/evaluate/{model}"),
        history=_tables(files, f"plots/{TRAIN_STAGE[model]}"),
    )


def _samples(data: bytes | None) -> tuple[Row, ...]:
    if data is None:
        return ()
    return tuple(
        Row(**{**record, "captions": tuple(record["captions"]), "attributes": json.loads(record["attributes"])})
        for record in pq.read_table(io.BytesIO(data)).to_pylist()
    )


def _stage_metrics(files: Files) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in STAGES:
        if stage == "embed":
            for name in files.names("metrics/embed"):
                yield f"embed/{Path(name).stem}", _json(files, f"metrics/embed/{name}")
        elif metrics := _json(files, f"metrics/{stage}.json"):
            yield stage, metrics


def _tables(files: Files, folder: str) -> dict[str, list[dict[str, str]]]:
    tables = {}
    for name in files.names(folder):
        data = files.read(f"{folder}/{name}") if name.endswith(".csv") else None
        if data is not None:
            tables[Path(name).stem] = list(csv.DictReader(io.StringIO(data.decode("utf-8"))))
    return tables


def _json(files: Files, path: str) -> Any:
    data = files.read(path)
    return json.loads(data) if data is not None else {}


def committed_params(root: Path) -> dict[str, Any] | None:
    """params.yaml of the last commit, or None where there is no Git or no commit of it."""
    try:
        done = subprocess.run(
            ["git", "show", "HEAD:./params.yaml"], cwd=root, capture_output=True, check=False, text=True, timeout=30
        )
    except FileNotFoundError:
        return None
    return yaml.safe_load(done.stdout) if done.returncode == 0 else None


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
