"""One door for configuration errors: each mistake gives one line that names the key, the value and what is allowed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.params import ParamsError, load_params, parse_params
from pipeline.preset import apply_preset, merge, preset_args, read_preset

ROOT = Path(__file__).resolve().parent.parent
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


@pytest.fixture
def tree() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def test_the_committed_params_are_valid() -> None:
    assert load_params(ROOT / "params.yaml").dataset == "shapes"


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("train", "lr", "1e-4", "write 1.0e-4"),
        ("train", "sizee", 3, "unknown key"),
        ("train", "size", 3, "dvc#10296"),
        ("shapes", "nfiles", 3, "dvc#10296"),
        ("train", "steps", 1.5, "valid integer"),
        ("train", "steps", 0, "greater than or equal to 1"),
        ("shapes", "motions", ["lefft"], "'left', 'right'"),
        ("shapes", "motions", [], "at least 1"),
        ("unet", "dim_mults", [1, 2, 2], "one per level"),
        ("unet", "unfold_frames", [16], "2 levels"),
        ("unet", "unfold_frames", [1, 8], "gives back 8 frames"),
        ("unet", "unfold_frames", [16, 1], "does not divide the 2 on the way down"),
        ("download", "source", "local", "path is null"),
        ("moving_mnist", "source", "idx", "path is null"),
        ("transcode", "split", "2k", "1k-A"),
        ("transcode", "background", "magenta", "white, gray, black, or '#rrggbb'"),
        ("transcode", "group", "(a", "is no regex"),
        ("transcode", "group", r"\(a", "has no (group)"),
        ("transcode", "hold_out", "subject", "valid tuple"),
        ("train", "batch_size", True, "valid integer"),
        ("train", "accumulate", 5, "does not divide"),
    ],
)
def test_a_mistake_gives_one_line(tree: dict[str, Any], section: str, key: str, value: Any, says: str) -> None:
    tree[section][key] = value
    with pytest.raises(ParamsError) as caught:
        parse_params(tree, "params.yaml")
    message = str(caught.value)
    assert message.startswith(f"params.yaml: {section}")
    assert says in message
    assert "\n" not in message


def test_a_missing_key_and_a_missing_file_are_named(tree: dict[str, Any], tmp_path: Path) -> None:
    del tree["train"]["lr"]
    with pytest.raises(ParamsError, match=r"train\.lr: missing"):
        parse_params(tree)
    with pytest.raises(ParamsError, match="no such params file"):
        load_params(tmp_path / "params.yaml")


def test_a_dataset_that_does_not_exist_names_those_that_do(tree: dict[str, Any]) -> None:
    tree["dataset"] = "cats"
    with pytest.raises(ParamsError, match=r"dataset: 'cats'.*'shapes', 'moving_mnist' or 'msrvtt'"):
        parse_params(tree)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_valid_params(tree: dict[str, Any], name: str) -> None:
    merge(tree, read_preset(name, ROOT / "presets"))
    parse_params(tree, name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_applied_keeps_the_comments_and_equals_its_arguments(name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    committed = (ROOT / "params.yaml").read_text()
    path.write_text(committed)
    apply_preset(name, path, ROOT / "presets")
    applied = yaml.safe_load(path.read_text())
    assert path.read_text().count("#") == committed.count("#")

    by_words = yaml.safe_load(committed)
    words = preset_args(name, ROOT / "presets")
    assert words[::2] == ["-S"] * (len(words) // 2)
    for word in words[1::2]:
        key, value = word.split("=", 1)
        assert " " not in word
        *sections, leaf = key.split(".")
        target = by_words
        for section in sections:
            target = target[section]
        target[leaf] = yaml.safe_load(value)
    assert by_words == applied


def test_an_invalid_preset_leaves_params_as_they_were(tmp_path: Path) -> None:
    path, folder = tmp_path / "params.yaml", tmp_path / "presets"
    folder.mkdir()
    path.write_text((ROOT / "params.yaml").read_text())
    (folder / "bad.yaml").write_text("train: {lr: fast}\n")
    before = path.read_bytes()
    with pytest.raises(ParamsError, match=r"train\.lr"):
        apply_preset("bad", path, folder)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="no such preset; there are: bad"):
        apply_preset("good", path, folder)


def test_sections_are_frozen(tree: dict[str, Any]) -> None:
    params = parse_params(copy.deepcopy(tree))
    with pytest.raises(ValueError, match="frozen"):
        params.train.lr = 1.0  # type: ignore[misc]
