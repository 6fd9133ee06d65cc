"""A kind of scene: what it holds out, how a clip of it is laid out, and what its captions say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from pipeline.config.data import ShapesParams
from pipeline.synthetic import motion
from pipeline.synthetic.combinations import Combination, CombinationSplit, hold_out
from pipeline.synthetic.kinds.forms import Form, Forms
from pipeline.synthetic.motion import DIRECTIONS
from pipeline.synthetic.scene import SceneObject, truth

T = TypeVar("T")
LAYOUT_TRIES = 400
TOGETHER = "slow"  # the speed of things that move as a group: it leaves them room, and is never said


@dataclass(frozen=True)
class Scene:
    """Things with their trajectories, the last in front, and what is published beside them."""

    things: list[SceneObject]
    paths: list[np.ndarray]  # (F, 4) each
    told: dict[str, Any]

    def truths(self) -> list[dict[str, Any]]:
        """The things as published. Captions of kinds say neither size nor speed."""
        told = [truth(thing, path) for thing, path in zip(self.things, self.paths, strict=True)]
        return [{name: value for name, value in each.items() if name not in ("size", "speed")} for each in told]


class Kind(Protocol):
    """A kind of scene whose clips are drawn from one combination each."""

    @property
    def name(self) -> str: ...

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the places of a combination."""
        ...

    @property
    def combinations(self) -> CombinationSplit: ...

    @property
    def forms(self) -> Forms: ...

    @property
    def layered(self) -> bool:
        """Whether things may touch or overlap."""
        ...

    def scene(self, combination: Combination, rng: np.random.Generator) -> Scene: ...

    def slots(self, scene: Scene, form: Form) -> dict[str, str]:
        """Words of a form for a scene."""
        ...


def split_of(kind: str, every: Sequence[Combination], params: ShapesParams, names: Sequence[str]) -> CombinationSplit:
    """Combinations of a kind, some kept from train. Raises ValueError, one line, where that would starve a value."""
    if not every:
        raise ValueError(
            f"shapes.kinds: nothing can be shown of {kind} with these shapes, colours and motions; add some"
        )
    if params.held_out_clips and not round(params.held_out_share * len(every)):
        raise ValueError(
            f"shapes.held_out_share={params.held_out_share} of {len(every)} combinations of {kind} is less than one; "
            "raise it, add values, or set held_out_clips to 0"
        )
    return hold_out(every, params, section=f"shapes ({kind})", attributes=names)


def chosen(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]


def group_motions(params: ShapesParams) -> tuple[str, ...]:
    """Motions of several things as one: to one side, or not at all."""
    return (*(name for name in params.motions if name in DIRECTIONS and "-" not in name), "still")


def group_path(how: str, radius_px: float, params: ShapesParams, rng: np.random.Generator) -> np.ndarray:
    """The trajectory (F, 4) that each thing of a group has, from (0, 0)."""
    speed = None if how == "still" else TOGETHER
    return motion.unplaced(how, speed, radius_px, frames=params.frames, resolution=params.resolution, rng=rng)


def moved(path: np.ndarray, x: float, y: float) -> np.ndarray:
    """The same trajectory from another place."""
    return path + np.array([x, y, 0.0, 0.0])
