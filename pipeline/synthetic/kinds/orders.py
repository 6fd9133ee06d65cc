"""Two motions in order: one thing that first does this, then that, each for half of the clip.

What is held out are ordered pairs: one never occurs, while the same two the other way round may.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.config.data import ShapesParams
from pipeline.synthetic import motion
from pipeline.synthetic.combinations import Combination, CombinationSplit
from pipeline.synthetic.kinds.forms import Form, Forms, build_forms, name_thing
from pipeline.synthetic.kinds.kind import LAYOUT_TRIES, Scene, chosen, moved, split_of
from pipeline.synthetic.motion import DIRECTIONS, jitter
from pipeline.synthetic.scene import SceneObject
from pipeline.synthetic.words import does

NAME = "order"
RADIUS_SHARE = 0.125  # of the canvas
RADIUS_JITTER = 0.08
WAY_SHARE = 0.27  # of the canvas, by each half that moves
TURN_DEG = 130.0  # by a half that turns
GROWTH = 1.8  # by a half that grows or shrinks: last radius over first
LEAST_TURN = 0.1  # cosine between two directions in order: a right angle or more

# {a} a red circle · {the} · {v1}, {v2} moves left · {g1}, {g2} moving left
TEXTS = (
    "{a} first {v1}, then {v2}{bg}",
    "first {a} {v1}, then it {v2}{bg}",
    "{a} {v1} and then {v2}{bg}",
    "a video of {a} first {g1}, then {g2}{bg}",
    "after {g1}, {a} {v2}{bg}",
    "{a} {v2} after {g1}{bg}",
    "{a} {v1} before {g2}{bg}",
    "before {g2}, {a} {v1}{bg}",
    "the video shows {a} {g1} and then {g2}{bg}",
    "there is {a} first {g1} and then {g2}{bg}",
    "{the} first {v1} and then {v2}{bg}",
    "in this video {a} first {v1}, then {v2}{bg}",
    "we see {a} {g1}, then {g2}{bg}",
    "a clip of {a} that first {v1}, then {v2}{bg}",
    "here {the} {v1} before it {v2}{bg}",
    "an animation in which {a} {v1}, and after that it {v2}{bg}",
)
NEW = (
    "in this clip {a} first {v1}, and after that it {v2}{bg}",
    "the animation shows {a} first {g1}, then {g2}{bg}",
    "a video in which {the} {v1} before {g2}{bg}",
    "here {a} {v1} and then it {v2}{bg}",
    "we see {the} first {g1} and then {g2}{bg}",
    "in this video {the} {v2} after {g1}{bg}",
    "a clip in which first {a} {v1}, then it {v2}{bg}",
    "there is {a} that {v1} and then {v2}{bg}",
)


@dataclass(frozen=True)
class Orders:
    """The kind for a section; a combination is (first motion, second motion)."""

    params: ShapesParams
    combinations: CombinationSplit
    forms: Forms
    name: str = NAME
    attributes: tuple[str, ...] = ("first", "then")
    layered: bool = False

    def scene(self, combination: Combination, rng: np.random.Generator) -> Scene:
        p = self.params
        turns = any(how.startswith("rotate") for how in combination)
        shape = chosen([name for name in p.shapes if not (turns and name == "circle")], rng)
        thing = SceneObject(shape, chosen(p.colours, rng), ", then ".join(combination), "medium", None)
        for _ in range(LAYOUT_TRIES):
            radius_px = RADIUS_SHARE * p.resolution * (1.0 + RADIUS_JITTER * rng.uniform(-1.0, 1.0))
            path = two_halves(combination, radius_px, p.frames, p.resolution, rng)
            low, high = motion.start_range(path, motion.reach(shape, path), p.resolution)
            if (low <= high).all():
                first, then = combination
                return Scene([thing], [moved(path, *rng.uniform(low, high))], {"first": first, "then": then})
        raise ValueError(f"shapes.kinds: no room for {thing.motion} on {p.resolution} px; drop order")

    def slots(self, scene: Scene, form: Form) -> dict[str, str]:
        thing = scene.things[0]
        (v1, g1), (v2, g2) = (does(scene.told[place], form.word, form.way) for place in ("first", "then"))
        return {**name_thing(thing.shape, thing.colour), "v1": v1, "g1": g1, "v2": v2, "g2": g2}


def orders(params: ShapesParams) -> Orders:
    """Decide what is held out."""
    able = [how for how in params.motions if how in DIRECTIONS or how in ("grow", "shrink") or _can_turn(how, params)]
    every = [(first, then) for first in able for then in able if goes_together(first, then)]
    split = split_of(NAME, every, params, ("first", "second"))
    return Orders(params, split, build_forms(NAME, TEXTS, NEW, params.held_out_templates))


def goes_together(first: str, then: str) -> bool:
    """Whether a pair can be told at a glance: two ways at a right angle or more, or one way and a turn or a growth."""
    if first in DIRECTIONS and then in DIRECTIONS:
        return float(np.dot(DIRECTIONS[first], DIRECTIONS[then])) < LEAST_TURN
    return (first in DIRECTIONS) != (then in DIRECTIONS)


def two_halves(
    combination: Combination, radius_px: float, frames: int, resolution: int, rng: np.random.Generator
) -> np.ndarray:
    """The trajectory (F, 4) from (0, 0); the second motion begins at a frame in the middle, where the first ends."""
    steps = frames - 1
    turn = steps // 2 + int(rng.integers(2))
    path = np.zeros((frames, 4))
    path[:, 2] = radius_px
    for how, start, stop in ((combination[0], 0, turn), (combination[1], turn, steps)):
        progress = np.clip((np.arange(frames) - start) / (stop - start), 0.0, 1.0)
        amount = jitter(rng)
        if how in DIRECTIONS:
            path[:, :2] += WAY_SHARE * amount * resolution * progress[:, None] * np.array(DIRECTIONS[how])
        elif how.startswith("rotate"):
            path[:, 3] += (1.0 if how == "rotate-clockwise" else -1.0) * TURN_DEG * amount * progress
        else:
            sign = 1.0 if how == "grow" else -1.0
            path[:, 2] *= np.exp(sign * math.log(GROWTH) * amount * (progress - 0.5))
    return path


def _can_turn(how: str, params: ShapesParams) -> bool:
    return how.startswith("rotate") and params.shapes != ("circle",)
