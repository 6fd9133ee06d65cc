"""The objects of a shapes clip: which paints they have in each frame, and the truth that is published about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.synthetic import motion
from pipeline.synthetic.draw import RGB, Painted

RADIUS_SHARE = {"small": 0.097, "medium": 0.144, "large": 0.1875}  # of the canvas
SIZE_JITTER = 0.08  # of the radius: the words never overlap
COLOUR_STAGES = 8  # from the first colour to the last


@dataclass(frozen=True)
class SceneObject:
    """An object to be drawn."""

    shape: str
    colour: str
    motion: str
    size: str
    speed: str | None
    colour_to: str = ""


def unplaced(thing: SceneObject, *, frames: int, resolution: int, rng: np.random.Generator) -> np.ndarray:
    """The trajectory (frames, 4) of an object that starts at (0, 0)."""
    radius_px = RADIUS_SHARE[thing.size] * resolution * (1 + SIZE_JITTER * rng.uniform(-1.0, 1.0))
    return motion.unplaced(thing.motion, thing.speed, radius_px, frames=frames, resolution=resolution, rng=rng)


def every_colour(things: list[SceneObject]) -> list[str]:
    return [name for thing in things for name in (thing.colour, thing.colour_to) if name]


def paint(things: list[SceneObject], paths: list[np.ndarray]) -> tuple[np.ndarray, list[Painted]]:
    """The paints uint8 (n, 3) of a clip, and which one each object has in each frame."""
    paints: list[np.ndarray] = []
    objects = []
    for thing, path in zip(things, paths, strict=True):
        stage = np.zeros(len(path), int)
        colours = np.asarray([RGB[thing.colour]], float)
        if thing.colour_to:  # the first quarter in one colour, the last in the other
            share = np.clip(2 * np.linspace(0.0, 1.0, len(path)) - 0.5, 0.0, 1.0)
            stage = np.rint(share * (COLOUR_STAGES - 1)).astype(int)
            blend = np.linspace(0.0, 1.0, COLOUR_STAGES)[:, None]
            colours = (1 - blend) * colours + blend * np.asarray([RGB[thing.colour_to]], float)
        objects.append(Painted(thing.shape, path, len(paints) + stage))
        paints.extend(colours)
    return np.rint(np.stack(paints)).astype(np.uint8), objects


def truth(thing: SceneObject, path: np.ndarray) -> dict[str, Any]:
    """An object as published: px of this clip's resolution, degrees clockwise."""
    told: dict[str, Any] = {
        "shape": thing.shape,
        "colour": thing.colour,
        "size": thing.size,
        "motion": thing.motion,
        "speed": thing.speed,
        "speed_px": round(motion.speed_px(path), 4),
        "radius_px": round(float(np.exp(np.log(path[:, 2]).mean())), 3),
        "trajectory": np.round(path, 3).tolist(),
    }
    return {**told, "colour_to": thing.colour_to} if thing.colour_to else told
