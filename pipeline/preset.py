"""Presets: overlays of params.yaml.

`python -m pipeline.preset apply gpu` writes one into params.yaml, comments kept (for `dvc repro`);
`python -m pipeline.preset args gpu` prints it as `-S section.key=value …` (for `dvc exp run $(…)`).
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.config.params import parse_params
from pipeline.runtime.files import whole_file
from pipeline.runtime.stage import run_stage

PRESETS = Path("presets")


def read_preset(name: str, folder: Path = PRESETS) -> dict[str, Any]:
    """The overlay's tree. Raises ValueError, naming those there are, where it does not exist."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        raise ValueError(f"{path}: no such preset; there are: {known}")
    return YAML(typ="safe").load(path) or {}


def merge(tree: Any, overlay: dict[str, Any]) -> None:
    """Overlay values in place, section by section."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = value


def apply_preset(name: str, path: Path = Path("params.yaml"), folder: Path = PRESETS) -> None:
    """Write the overlay into a params file, whole or not at all, and only where the result is valid.

    Comments are kept, and everything stands as `dvc exp run -S` would write it.
    """
    yaml = YAML()
    yaml.default_flow_style = False
    tree = yaml.load(path)
    merge(tree, _checked(name, path, folder))
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)


def preset_args(name: str, folder: Path = PRESETS, path: Path = Path("params.yaml")) -> list[str]:
    """The overlay as `-S key=value` words for `dvc exp run`, free of spaces, so that a shell may split them.

    Raises ValueError where it does not go with the params file.
    """
    return [word for key, value in _flat(_checked(name, path, folder)) for word in ("-S", f"{key}={_word(value)}")]


def _checked(name: str, path: Path, folder: Path) -> dict[str, Any]:
    """The overlay, which leaves the params file valid."""
    overlay, tree = read_preset(name, folder), YAML(typ="safe").load(path)
    merge(tree, overlay)
    parse_params(tree, where=f"{path} with {folder / name}.yaml")
    return overlay


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in tree.items():
        flat += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return flat


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_word, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.preset", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("apply", "args"))
    parser.add_argument("name")
    args = parser.parse_args()
    if args.action == "apply":
        apply_preset(args.name)
    else:
        print(" ".join(preset_args(args.name)))


if __name__ == "__main__":
    run_stage(main)
