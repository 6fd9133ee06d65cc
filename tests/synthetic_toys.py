"""Small generated sets, and an eye that reads their pixels without asking how they were drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np

from pipeline.config.data import Colour, MovingMnistParams, Shape, ShapeMotion, ShapesParams
from pipeline.config.params import load_params
from pipeline.data.shards import Row
from pipeline.synthetic.digits import DigitBank, load_digit_bank

ROOT = Path(__file__).resolve().parent.parent


def members(kind: Any) -> tuple[str, ...]:
    """The strings of a Literal, or of a union of them."""
    return tuple(name for arg in get_args(kind) for name in (members(arg) if get_args(arg) else (arg,)))


def shapes_params(**changes: Any) -> ShapesParams:
    """The committed section with some keys changed, checked again."""
    section = load_params(ROOT / "tests/params.yaml").shapes.model_dump()
    return ShapesParams.read({**section, **changes})


def digits_params(**changes: Any) -> MovingMnistParams:
    section = load_params(ROOT / "tests/params.yaml").moving_mnist.model_dump()
    return MovingMnistParams.read({**section, **changes})


@cache
def whole_grammar(objects: tuple[int, ...] = (1,), resolution: int = 64) -> ShapesParams:
    """Every value of every attribute in play."""
    return shapes_params(
        shapes=members(Shape),
        colours=members(Colour),
        sizes=("small", "medium", "large"),
        motions=members(ShapeMotion),
        speeds=("slow", "normal", "fast"),
        backgrounds=("white", "solid", "dots", "grid", "stripes"),
        objects=objects,
        resolution=resolution,
    )


@dataclass(frozen=True)
class Seen:
    """A clip of one object as its pixels show it."""

    row: Row
    thing: dict[str, Any]  # the object's attributes
    path: np.ndarray  # its published trajectory
    frames: np.ndarray  # uint8 (F, H, W, 3)
    mask: np.ndarray  # bool (F, H, W): where the object is

    @property
    def motion(self) -> str:
        return self.thing["motion"]


def look(row: Row) -> Seen:
    """Decode a clip and find its first object: the pixels that have none of the background's tones."""
    tones = np.asarray(row.attributes["background_colours"], np.uint8)
    frames = row.frames()
    mask = np.ones(frames.shape[:3], bool)
    for tone in tones:
        mask &= (frames != tone).any(axis=-1)
    thing = row.attributes["objects"][0]
    return Seen(row, thing, np.asarray(thing["trajectory"]), frames, mask)


def centres(mask: np.ndarray) -> np.ndarray:
    """(F, 2) of x, y: the middle of each frame's bounding box, in px of the canvas."""
    found = []
    for frame in mask:
        rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
        found.append(((columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2))
    return np.asarray(found)


def toy_bank() -> DigitBank:
    """The packaged digits."""
    return load_digit_bank(digits_params())
