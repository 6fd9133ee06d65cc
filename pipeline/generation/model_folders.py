"""The model folder that a command means: a path, a name, or none given. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

MODELS = Path("models")
DEFAULT_MODEL = MODELS / "unet"
PRETRAINED = MODELS / "pretrained"  # those that came along with the code
CARD_FILE = "model.json"


def find_model(given: Path | None) -> Path:
    """The folder `given`, or the one of that name; none given: the model trained here, else one that came along.

    Raises ValueError, one line, where there is none.
    """
    if given is None:
        return default_model()
    if given.exists() or len(given.parts) > 1:
        return given
    for folder in (MODELS / given, PRETRAINED / given):
        if (folder / CARD_FILE).is_file():
            return folder
    names = ", ".join(models_here()) or "none"
    raise ValueError(f"{given}: no such model folder, and no model of that name (here: {names})")


def default_model() -> Path:
    """The model trained here, else the first one that came along."""
    for folder in [DEFAULT_MODEL, *sorted(PRETRAINED.glob("*"))]:
        if (folder / CARD_FILE).is_file():
            return folder
    raise ValueError(f"no model in {DEFAULT_MODEL} or {PRETRAINED}; run dvc repro to train one, or name it by --model")


def models_here() -> dict[str, Path]:
    """Every model in this checkout by the name that `find_model` knows it by, the default one first."""
    found = {path.parent.name: path.parent for path in sorted(PRETRAINED.glob(f"*/{CARD_FILE}"))}
    found |= {path.parent.name: path.parent for path in sorted(MODELS.glob(f"*/{CARD_FILE}"))}
    return dict(sorted(found.items(), key=lambda item: item[1] != DEFAULT_MODEL))
