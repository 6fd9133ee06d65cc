"""Presets, and params.yaml and dvc.yaml in the form in which DVC writes them: one change is one line."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml

from pipeline.config.params import ParamsError, load_params
from pipeline.preset import apply_preset, merge, preset_args, read_preset

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "tests/params.yaml"
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """A copy of the repository's params.yaml, with the tests' own values."""
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    values = yaml.safe_load(OWN.read_text(encoding="utf-8"))
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/own.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    apply_preset("own", path, tmp_path / "presets")
    return path


def changed_lines(before: str, after: str) -> list[str]:
    """Lines that went and lines that came, of a diff without context."""
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in list(diff)[2:] if not line.startswith("@@")]


def test_params_stand_as_dvc_writes_them(params: Path) -> None:
    for path in (ROOT / "params.yaml", params):
        before = path.read_text(encoding="utf-8")
        params.write_text(before, encoding="utf-8")
        apply_overrides(params, [])
        assert params.read_text(encoding="utf-8") == before, path


def test_an_experiment_changes_one_line(params: Path) -> None:
    """By DVC's own hand: of all keys with one value, changed at once, each is a line that went and one that came."""
    before = params.read_text(encoding="utf-8")
    tree = {key: value for key, value in yaml.safe_load(before).items() if isinstance(value, dict)}
    keys = [(name, key) for name, section in tree.items() for key in section if not isinstance(section[key], list)]
    others = [{bool: not tree[n][k], int: 7, float: 0.375}.get(type(tree[n][k]), "other") for n, k in keys]
    overrides = [f"{name}.{key}={str(other).lower()}" for (name, key), other in zip(keys, others, strict=True)]
    apply_overrides(params, overrides)
    lines = changed_lines(before, params.read_text(encoding="utf-8"))
    expected = sorted(f"  {key}" for _, key in keys)
    assert len(keys) > 120
    for sign in "-+":
        assert sorted(line[1:].split(":")[0] for line in lines if line[0] == sign) == expected


def test_an_experiment_with_a_list_changes_its_entries_alone(params: Path) -> None:
    before = params.read_text(encoding="utf-8")
    apply_overrides(params, ["train.betas=[0.8,0.99]"])
    assert changed_lines(before, params.read_text(encoding="utf-8")) == ["-  - 0.9", "+  - 0.8"]


def test_a_small_float_of_an_experiment_is_read(params: Path) -> None:
    apply_overrides(params, ["train.lr=0.00001", "train.final_lr_share=2e-6"])
    assert "lr: 1e-05" in params.read_text(encoding="utf-8")
    assert (load_params(params).train.lr, load_params(params).train.final_lr_share) == (1e-5, 2e-6)


def test_the_graph_stands_as_dvc_writes_it(tmp_path: Path) -> None:
    before = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    path = tmp_path / "dvc.yaml"
    path.write_text(before, encoding="utf-8")
    with modify_yaml(path):
        pass
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.slow
def test_freezing_a_stage_changes_one_line(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    before = (tmp_path / "dvc.yaml").read_text(encoding="utf-8")
    subprocess.run([sys.executable, "-m", "dvc", "freeze", "-q", "download"], cwd=tmp_path, check=True)
    assert changed_lines(before, (tmp_path / "dvc.yaml").read_text(encoding="utf-8")) == ["+    frozen: true"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_applied_keeps_the_comments_and_equals_its_arguments(name: str, params: Path) -> None:
    committed = params.read_text(encoding="utf-8")
    said, expected = yaml.safe_load(committed), yaml.safe_load(committed)
    words = preset_args(name, ROOT / "presets", params)
    apply_preset(name, params, ROOT / "presets")
    applied = params.read_text(encoding="utf-8")
    assert [line.partition("#")[2] for line in applied.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in committed.splitlines() if "#" in line
    ]
    merge(expected, read_preset(name, ROOT / "presets"))
    assert yaml.safe_load(applied) == expected
    apply_overrides(params, [])
    assert params.read_text(encoding="utf-8") == applied, "not as DVC writes it"

    assert words[::2] == ["-S"] * (len(words) // 2)
    for word in words[1::2]:
        assert " " not in word
        key, value = word.split("=", 1)
        target: Any = said
        *sections, leaf = key.split(".")
        for section in sections:
            target = target[section]
        target[leaf] = yaml.safe_load(value)
    assert said == expected


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ("train: {lr: fast}\n", r"train\.lr: 'fast' is not allowed"),
        ("train_gan: {rivals: 2}\n", r"train_gan\.rivals: renamed to train_gan\.hard_negatives"),
        ("train: {resolution: 60}\n", r"train\.resolution: 60 is not allowed: it does not divide by 16"),
        ("train: {steps: .inf}\n", r"train\.steps: inf is not allowed"),
    ],
)
def test_an_invalid_preset_leaves_params_as_they_were(params: Path, overlay: str, says: str) -> None:
    folder = params.parent / "presets"
    (folder / "bad.yaml").write_text(overlay, encoding="utf-8")
    before = params.read_bytes()
    with pytest.raises(ParamsError, match=says) as caught:
        apply_preset("bad", params, folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(ParamsError, match=says):
        preset_args("bad", folder, params)
    assert params.read_bytes() == before
    with pytest.raises(ValueError, match="no such preset; there are: bad, own"):
        apply_preset("good", params, folder)


def test_a_small_float_of_a_preset_is_read(params: Path) -> None:
    folder = params.parent / "presets"
    (folder / "small.yaml").write_text("train: {lr: 1e-05, betas: [0.9, 1.0e-7]}\n", encoding="utf-8")
    assert preset_args("small", folder, params) == ["-S", "train.lr=1e-05", "-S", "train.betas=[0.9,1e-07]"]
    apply_preset("small", params, folder)
    assert load_params(params).train.lr == 1e-5
    assert load_params(params).train.betas == (0.9, 1e-7)
