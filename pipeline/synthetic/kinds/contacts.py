"""Contact: a thing bounces off a wall or off another thing, or pushes that one along.

What is held out is the event, its side and the colour of the thing that moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import minimum_filter1d

from pipeline.config.data import ShapesParams
from pipeline.synthetic import motion
from pipeline.synthetic.combinations import Combination, CombinationSplit
from pipeline.synthetic.draw import CORNER_RADIUS, STAR_NOTCH, outline
from pipeline.synthetic.kinds.forms import ONE, ONE_NEW, Form, Forms, build_forms, name_thing
from pipeline.synthetic.kinds.kind import Scene, chosen, moved, split_of
from pipeline.synthetic.motion import DIRECTIONS, MARGIN_PX
from pipeline.synthetic.scene import SceneObject
from pipeline.synthetic.words import with_article

NAME = "contact"
RADIUS_SHARE = 0.11  # of the canvas
RADIUS_JITTER = 0.06
SIDES = ("left", "right", "up", "down")
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
WALLS = {"left": "left", "right": "right", "up": "top", "down": "bottom"}
STEP_SHARE = (0.024, 0.032)  # of the canvas, a 16th of the clip: how fast the thing comes
MEETS = (0.42, 0.58)  # of the clip: when they touch
TOUCH_PX = 1.6  # a tip presses in until this much of it touches: then it can be seen
ACROSS_PX = 0.04
EVENTS = ("wall", "off", "push")

WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "wall": (
        ("bounces off the {wall} wall", "bouncing off the {wall} wall"),
        ("hits the {wall} wall and bounces back", "hitting the {wall} wall and bouncing back"),
        ("bounces back from the {wall} edge", "bouncing back from the {wall} edge"),
        ("runs into the {wall} edge and bounces off", "running into the {wall} edge and bouncing off"),
    ),
    "off": (
        ("moving {way} bounces off {b}", "moving {way} and bouncing off {b}"),
        ("goes {way}, hits {b} and bounces back", "going {way}, hitting {b} and bouncing back"),
        ("moves {way} until it bounces off {b}", "moving {way} until it bounces off {b}"),
        ("moves {way}, touches {b} and bounces off", "moving {way}, touching {b} and bouncing off"),
    ),
    "push": (
        ("pushes {b} {way}", "pushing {b} {way}"),
        ("moves {way} and pushes {b}", "moving {way} and pushing {b}"),
        ("goes {way}, hits {b} and pushes it along", "going {way}, hitting {b} and pushing it along"),
        ("runs into {b} and pushes it {way}", "running into {b} and pushing it {way}"),
    ),
}


@dataclass(frozen=True)
class Contacts:
    """The kind for a section; a combination is (event, side that the thing comes towards, its colour)."""

    params: ShapesParams
    combinations: CombinationSplit
    forms: Forms
    name: str = NAME
    attributes: tuple[str, ...] = ("event", "side", "colour")
    layered: bool = True

    def scene(self, combination: Combination, rng: np.random.Generator) -> Scene:
        event, side, colour = combination
        p = self.params
        mover = SceneObject(chosen(p.shapes, rng), colour, event, "small", None)
        radii = RADIUS_SHARE * p.resolution * (1.0 + RADIUS_JITTER * rng.uniform(-1.0, 1.0, 2))
        way = np.array(DIRECTIONS[side])
        step = rng.uniform(*STEP_SHARE) * p.resolution * 15 / (p.frames - 1)
        meets = round(rng.uniform(*MEETS) * (p.frames - 1))
        after = np.maximum(np.arange(p.frames) - meets, 0)
        before = np.minimum(np.arange(p.frames) - meets, 0)
        come = way[None] * step * before[:, None]  # at (0, 0) when it touches
        on = way[None] * step * after[:, None] * (1.0 if event == "push" else -1.0)
        path = _path(come + on, radii[0])
        told = {"event": event, "side": side}
        if event == "wall":
            return Scene([mover], [moved(path, *_at_wall(mover, path, side, p.resolution, rng))], told)
        shape = chosen(p.shapes, rng)
        other = SceneObject(shape, chosen([name for name in p.colours if name != colour], rng), "hit", "small", None)
        stays = _path(on if event == "push" else np.zeros_like(on), radii[1])
        gap = touching(mover.shape, radii[0], shape, radii[1], side) * way
        paths = [path, moved(stays, *gap)]
        reaches = [motion.reach(thing.shape, each) for thing, each in zip((mover, other), paths, strict=True)]
        ranges = [motion.start_range(each, reach, p.resolution) for each, reach in zip(paths, reaches, strict=True)]
        low, high = np.maximum(ranges[0][0], ranges[1][0]), np.minimum(ranges[0][1], ranges[1][1])
        if (low > high).any():
            raise ValueError(f"shapes.kinds: no room for contact on {p.resolution} px; raise resolution or drop it")
        start = rng.uniform(low, high)
        return Scene([mover, other], [moved(each, *start) for each in paths], told)

    def slots(self, scene: Scene, form: Form) -> dict[str, str]:
        event, side = scene.told["event"], scene.told["side"]
        finite, participle = WORDS[event][form.word % len(WORDS[event])]
        way = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}[side]
        words = {"wall": WALLS[side], "way": way}
        if len(scene.things) > 1:
            words["b"] = with_article(f"{scene.things[1].colour} {scene.things[1].shape}")
        noun = name_thing(scene.things[0].shape, scene.things[0].colour)
        return {**noun, "v": finite.format_map(words), "g": participle.format_map(words)}


def contacts(params: ShapesParams) -> Contacts:
    """Decide what is held out."""
    every = [(event, side, colour) for event in EVENTS for side in SIDES for colour in params.colours]
    split = split_of(NAME, every, params, ("events", "sides", "colours"))
    return Contacts(params, split, build_forms(NAME, ONE, ONE_NEW, params.held_out_templates))


def _path(way: np.ndarray, radius_px: float) -> np.ndarray:
    """The trajectory (F, 4) of an upright thing along (F, 2)."""
    return np.column_stack([way, np.full(len(way), radius_px), np.zeros(len(way))])


def touching(shape: str, radius: float, other: str, other_radius: float, side: str) -> float:
    """Distance of the centres of two upright things, one to a side of the other, that touch over TOUCH_PX at least."""
    across = np.arange(-CORNER_RADIUS[shape] * radius, CORNER_RADIUS[shape] * radius, ACROSS_PX)
    ahead = radius * _front(shape, across / radius, side)
    back = other_radius * _front(other, across / other_radius, OPPOSITE[side])
    reach = np.where(np.isnan(ahead + back), -np.inf, ahead + back)  # where one of them is not, they never meet
    return float(minimum_filter1d(reach, round(TOUCH_PX / ACROSS_PX), mode="constant", cval=-np.inf).max())


def _front(shape: str, across: np.ndarray, side: str) -> np.ndarray:
    """(n,): how far an upright thing of radius 1 reaches to a side, at each place across; NaN where it is not."""
    corners = _polygon(shape)
    along = corners @ np.array(DIRECTIONS[side])
    beside = corners[:, 1] if side in ("left", "right") else corners[:, 0]
    reach = np.full(len(across), np.nan)
    for a0, a1, b0, b1 in zip(along, np.roll(along, -1), beside, np.roll(beside, -1), strict=True):
        if b0 == b1:
            continue
        share = (across - b0) / (b1 - b0)
        on = (share >= 0.0) & (share <= 1.0)
        reach[on] = np.fmax(reach[on], a0 + share[on] * (a1 - a0))
    return reach


def _polygon(shape: str) -> np.ndarray:
    """Corners (n, 2) in order, a star's inner ones too."""
    outer = outline(shape)
    if shape != "star":
        return outer
    inner = STAR_NOTCH * (outer + np.roll(outer, -1, axis=0)) / 2 / np.cos(np.pi / len(outer))
    return np.stack([outer, inner], axis=1).reshape(-1, 2)


def _at_wall(
    thing: SceneObject, path: np.ndarray, side: str, resolution: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The place where a thing touches a wall, anywhere along it."""
    low, high = motion.start_range(path, motion.reach(thing.shape, path), resolution)
    place = rng.uniform(low, high)
    axis = 0 if side in ("left", "right") else 1
    place[axis] = (low if side in ("left", "up") else high)[axis] + (-1 if side in ("left", "up") else 1) * MARGIN_PX
    return float(place[0]), float(place[1])
