"""Changes: one thing that turns from one colour to another, or swells and shrinks by turns, and stays where it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.config.data import ShapesParams
from pipeline.synthetic import motion
from pipeline.synthetic.combinations import Combination, CombinationSplit
from pipeline.synthetic.kinds.forms import ONE, ONE_NEW, Form, Forms, build_forms, name_thing
from pipeline.synthetic.kinds.kind import Scene, moved, split_of
from pipeline.synthetic.motion import jitter
from pipeline.synthetic.scene import SceneObject

NAME = "change"
RADIUS_SHARE = 0.14  # of the canvas, the geometric mean
RADIUS_JITTER = 0.08
SWELLS = ("grow-shrink", "shrink-grow")
SWELL = 2.0  # largest radius over smallest
COLOUR = "change-colour"

WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "grow-shrink": (
        ("grows, then shrinks", "growing, then shrinking"),
        ("gets bigger and then smaller", "getting bigger and then smaller"),
        ("first grows and then shrinks", "first growing and then shrinking"),
        ("expands, then shrinks again", "expanding, then shrinking again"),
    ),
    "shrink-grow": (
        ("shrinks, then grows", "shrinking, then growing"),
        ("gets smaller and then bigger", "getting smaller and then bigger"),
        ("first shrinks and then grows", "first shrinking and then growing"),
        ("shrinks, then expands again", "shrinking, then expanding again"),
    ),
    COLOUR: (
        ("turns from {from} to {to}", "turning from {from} to {to}"),
        ("changes from {from} to {to}", "changing from {from} to {to}"),
        ("goes from {from} to {to}", "going from {from} to {to}"),
        ("changes colour from {from} to {to}", "changing colour from {from} to {to}"),
    ),
}


@dataclass(frozen=True)
class Changes:
    """The kind for a section; a combination is (shape, first colour, the last colour or what becomes of the size)."""

    params: ShapesParams
    combinations: CombinationSplit
    forms: Forms
    name: str = NAME
    attributes: tuple[str, ...] = ("shape", "colour", "change")
    layered: bool = False

    def scene(self, combination: Combination, rng: np.random.Generator) -> Scene:
        shape, colour, change = combination
        p = self.params
        how = change if change in SWELLS else COLOUR
        thing = SceneObject(shape, colour, how, "medium", None, "" if change in SWELLS else change)
        path = np.zeros((p.frames, 4))
        path[:, 2] = RADIUS_SHARE * p.resolution * (1.0 + RADIUS_JITTER * rng.uniform(-1.0, 1.0))
        if change in SWELLS:
            path[:, 2] *= swell(p.frames, change, rng)
        low, high = motion.start_range(path, motion.reach(shape, path), p.resolution)
        return Scene([thing], [moved(path, *rng.uniform(low, high))], {"change": how})

    def slots(self, scene: Scene, form: Form) -> dict[str, str]:
        thing = scene.things[0]
        finite, participle = WORDS[thing.motion][form.word % len(WORDS[thing.motion])]
        colours = {"from": thing.colour, "to": thing.colour_to}
        noun = name_thing(thing.shape, thing.colour)
        if thing.colour_to:  # its colour is what changes
            noun = {"a": f"a {thing.shape}", "the": f"the {thing.shape}"}
        return {**noun, "v": finite.format_map(colours), "g": participle.format_map(colours)}


def changes(params: ShapesParams) -> Changes:
    """Decide what is held out."""
    every = [
        (shape, colour, change)
        for shape in params.shapes
        for colour in params.colours
        for change in (*params.colours, *SWELLS)
        if change != colour
    ]
    split = split_of(NAME, every, params, ("shapes", "colours", "changes"))
    return Changes(params, split, build_forms(NAME, ONE, ONE_NEW, params.held_out_templates))


def swell(frames: int, change: str, rng: np.random.Generator) -> np.ndarray:
    """(F,) of the radius over its geometric mean: up to the middle one way, then back, evenly in its logarithm."""
    peak = rng.uniform(0.45, 0.55) * (frames - 1)
    at = np.arange(frames)
    rise = np.where(at < peak, at / peak, (frames - 1 - at) / (frames - 1 - peak))
    sign = 1.0 if change == "grow-shrink" else -1.0
    return np.exp(sign * math.log(SWELL) * jitter(rng) * (rise - 0.5))
