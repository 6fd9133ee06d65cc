"""Counts: one to nine things of a kind, apart in every frame, that move as one or stand still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.config.data import ShapesParams
from pipeline.synthetic import motion
from pipeline.synthetic.combinations import Combination, CombinationSplit
from pipeline.synthetic.kinds.forms import Form, Forms, build_forms
from pipeline.synthetic.kinds.kind import LAYOUT_TRIES, Scene, chosen, group_motions, group_path, moved, split_of
from pipeline.synthetic.scene import SceneObject
from pipeline.synthetic.words import DIGITS, does

NAME = "counts"
MOST = 9
RADIUS_SHARE = 0.075  # of the canvas, whatever the number: its size does not tell it
RADIUS_JITTER = 0.05
GAP_SHARE = 0.04  # of the canvas, between things: they can be counted
PLACE_TRIES = 60  # of one thing, before all are laid out anew

TEXTS = (
    "{n} {things} {v}{bg}",
    "{n} {things} {are} {g}{bg}",
    "there {are} {n} {things} {g}{bg}",
    "a video of {n} {things} {g}{bg}",
    "we see {n} {things} {g}{bg}",
    "{n} {things} {g}{bg}",
    "the video shows {n} {things} {g}{bg}",
    "in this video {n} {things} {v}{bg}",
    "exactly {n} {things} {v}{bg}",
    "there {are} exactly {n} {things} {g}{bg}",
    "a clip of {n} {things} {g}{bg}",
    "{n} {things} can be seen {g}{bg}",
    "an animation in which {n} {things} {v}{bg}",
    "here {n} {things} {are} {g}{bg}",
    "{n} {things}, {g}{bg}",
    "a short animation of {n} {things} {g}{bg}",
)
NEW = (
    "here we see {n} {things} {g}{bg}",
    "in this clip {n} {things} {v}{bg}",
    "the animation shows {n} {things} {g}{bg}",
    "in this video there {are} {n} {things} {g}{bg}",
    "a video in which {n} {things} {v}{bg}",
    "here {are} {n} {things} {g}{bg}",
    "a short clip of exactly {n} {things} {g}{bg}",
    "we see exactly {n} {things} {g}{bg}",
)
PLURAL = {"goes": "go", "does": "do"}  # of the verbs that do not just lose their s


@dataclass(frozen=True)
class Counts:
    """The kind for a section; a combination is (shape, colour, number)."""

    params: ShapesParams
    combinations: CombinationSplit
    forms: Forms
    name: str = NAME
    attributes: tuple[str, ...] = ("shape", "colour", "count")
    layered: bool = False

    def scene(self, combination: Combination, rng: np.random.Generator) -> Scene:
        shape, colour, number = combination
        p = self.params
        how = chosen(group_motions(p), rng)
        radius_px = RADIUS_SHARE * p.resolution * (1.0 + RADIUS_JITTER * rng.uniform(-1.0, 1.0))
        path = group_path(how, radius_px, p, rng)
        places = lay_out(int(number), shape, path, p.resolution, rng)
        things = [SceneObject(shape, colour, how, "small", None) for _ in places]
        return Scene(things, [moved(path, *place) for place in places], {"count": int(number)})

    def slots(self, scene: Scene, form: Form) -> dict[str, str]:
        thing, number = scene.things[0], len(scene.things)
        finite, participle = does(thing.motion, form.word, form.way)
        return {
            "n": DIGITS[number] if form.word % 2 else str(number),
            "things": f"{thing.colour} {thing.shape}{'s' if number > 1 else ''}",
            "are": "are" if number > 1 else "is",
            "v": plural(finite) if number > 1 else finite,
            "g": participle,
        }


def counts(params: ShapesParams) -> Counts:
    """Decide what is held out."""
    every = [
        (shape, colour, str(number))
        for shape in params.shapes
        for colour in params.colours
        for number in range(1, MOST + 1)
    ]
    split = split_of(NAME, every, params, ("shapes", "colours", "counts"))
    return Counts(params, split, build_forms(NAME, TEXTS, NEW, params.held_out_templates))


def lay_out(
    number: int,
    shape: str,
    path: np.ndarray,  # (F, 4) from (0, 0), of each
    resolution: int,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    """Starts of equal things that stay on the canvas and apart."""
    reach = motion.reach(shape, path)
    low, high = motion.start_range(path, reach, resolution)
    apart = (reach[0, 0::2] + reach[0, 1::2]) + GAP_SHARE * resolution  # along x and along y
    for _ in range(LAYOUT_TRIES):
        places: list[np.ndarray] = []
        for _ in range(number):
            tries = rng.uniform(low, high, (PLACE_TRIES, 2))
            clear = np.ones(PLACE_TRIES, bool)
            for other in places:
                clear &= (np.abs(tries - other) >= apart).any(axis=1)
            if not clear.any():
                break
            places.append(tries[clear.argmax()])
        if len(places) == number:
            return [(float(x), float(y)) for x, y in places]
    raise ValueError(f"shapes.kinds: no room for {number} {shape}s on {resolution} px; raise resolution or drop counts")


def plural(finite: str) -> str:
    """ "moves left" of several: "move left"."""
    verb, _, rest = finite.partition(" ")
    return f"{PLURAL.get(verb, verb.removesuffix('s'))} {rest}".rstrip()
