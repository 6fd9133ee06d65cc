"""Relations: one thing left of, above or in front of another, in every frame, said from either side.

What is held out is a picture: red to the left of blue occurs neither as that nor as "blue to the right of red", while
blue to the left of red does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy.spatial import ConvexHull

from pipeline.config.data import ShapesParams
from pipeline.synthetic import motion
from pipeline.synthetic.combinations import Combination, CombinationSplit
from pipeline.synthetic.draw import coverage
from pipeline.synthetic.kinds.forms import Form, Forms, build_forms, name_thing
from pipeline.synthetic.kinds.kind import LAYOUT_TRIES, Scene, chosen, group_motions, group_path, moved, split_of
from pipeline.synthetic.scene import SceneObject
from pipeline.synthetic.words import does

NAME = "relations"
RADIUS_SHARE = 0.125  # of the canvas
RADIUS_JITTER = 0.06
GAP_SHARE = (0.05, 0.2)  # of the canvas, between two things side by side
ASIDE = 0.4  # of the distance between them: how far two things side by side may be off the line
HIDDEN = (0.18, 0.4)  # of the area of a thing behind another
NOTCHED = 0.93  # of its solidity, that is left of a thing behind another: cut off straight, it would look whole
NEAR = (0.3, 1.0)  # of the sum of two radii, between the centres of two things that overlap
CONVERSE = {"left": "right", "above": "below", "behind": "front"}  # relation of the first to the second, and back

WORDS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of", "on the left side of"),
    "right": ("to the right of", "right of", "on the right side of"),
    "above": ("above", "higher than"),
    "below": ("below", "lower than"),
    "front": ("in front of", "partly hiding", "partly covering"),
    "behind": ("behind", "partly hidden by", "partly covered by"),
}
# {a} a red circle · {b} a blue square · {the}, {the_b} · {rel} to the left of · {both} ", both moving up"
TEXTS = (
    "{a} is {rel} {b}{both}{bg}",
    "{a} {rel} {b}{both}{bg}",
    "there is {a} {rel} {b}{both}{bg}",
    "a video of {a} {rel} {b}{both}{bg}",
    "the video shows {a} {rel} {b}{both}{bg}",
    "we see {a} {rel} {b}{both}{bg}",
    "{the} is {rel} {the_b}{both}{bg}",
    "in this video {a} is {rel} {b}{both}{bg}",
    "a clip of {a} {rel} {b}{both}{bg}",
    "{a} can be seen {rel} {b}{both}{bg}",
    "here {the} is {rel} {the_b}{both}{bg}",
    "an animation in which {a} is {rel} {b}{both}{bg}",
    "a short animation of {a} {rel} {b}{both}{bg}",
    "there is {a} and it is {rel} {b}{both}{bg}",
    "{a}, {rel} {b}{both}{bg}",
    "this is {a} that is {rel} {b}{both}{bg}",
)
NEW = (
    "in this clip {a} is {rel} {b}{both}{bg}",
    "the animation shows {the} {rel} {the_b}{both}{bg}",
    "here we see {a} {rel} {b}{both}{bg}",
    "a video in which {the} is {rel} {the_b}{both}{bg}",
    "this is a clip of {a} {rel} {b}{both}{bg}",
    "in this video there is {a} {rel} {b}{both}{bg}",
    "a short clip of {a} that is {rel} {b}{both}{bg}",
    "here is {a} and it is {rel} {b}{both}{bg}",
)


@dataclass(frozen=True)
class Relations:
    """The kind for a section; a combination is (relation, colour of the first thing, colour of the second)."""

    params: ShapesParams
    combinations: CombinationSplit
    forms: Forms
    name: str = NAME
    attributes: tuple[str, ...] = ("relation", "colour", "colour of the other")
    layered: bool = True

    def scene(self, combination: Combination, rng: np.random.Generator) -> Scene:
        relation, *colours = combination
        p = self.params
        how = chosen(group_motions(p), rng)
        for _ in range(LAYOUT_TRIES):
            things = [SceneObject(chosen(p.shapes, rng), colour, how, "medium", None) for colour in colours]
            radii = RADIUS_SHARE * p.resolution * (1.0 + RADIUS_JITTER * rng.uniform(-1.0, 1.0, 2))
            path = group_path(how, 1.0, p, rng)
            paths = [np.column_stack([path[:, :2], np.full(p.frames, radius), path[:, 3]]) for radius in radii]
            reaches = [motion.reach(thing.shape, each) for thing, each in zip(things, paths, strict=True)]
            offset = _offset(relation, reaches, radii, p.resolution, rng)
            paths[1] = moved(paths[1], *offset)
            ranges = [motion.start_range(each, reach, p.resolution) for each, reach in zip(paths, reaches, strict=True)]
            low, high = np.maximum(ranges[0][0], ranges[1][0]), np.minimum(ranges[0][1], ranges[1][1])
            if (low <= high).all() and (relation != "behind" or _hides(things, paths, p.resolution)):
                start = rng.uniform(low, high)
                said = relation if rng.integers(2) else CONVERSE[relation]
                told = {"relation": relation, "said": said}
                return Scene(things, [moved(each, *start) for each in paths], told)
        raise ValueError(f"shapes.kinds: no room for {relation} on {p.resolution} px; raise resolution")

    def slots(self, scene: Scene, form: Form) -> dict[str, str]:
        said = scene.told["said"]
        first, second = scene.things
        if said != scene.told["relation"]:
            first, second = second, first
        one, other = name_thing(first.shape, first.colour), name_thing(second.shape, second.colour)
        words = WORDS[said]
        return {
            **one,
            "b": other["a"],
            "the_b": other["the"],
            "rel": words[form.way % len(words)],
            "both": f", both {does(first.motion, form.word, form.way)[1]}",
        }


def relations(params: ShapesParams) -> Relations:
    """Decide what is held out."""
    every = [(relation, *pair) for relation in CONVERSE for pair in permutations(params.colours, 2)]
    split = split_of(NAME, every, params, ("relations", "colours", "colours"))
    return Relations(params, split, build_forms(NAME, TEXTS, NEW, params.held_out_templates))


def _offset(
    relation: str, reaches: list[np.ndarray], radii: np.ndarray, resolution: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Place of the second thing from the first."""
    if relation == "behind":
        angle, distance = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(*NEAR) * radii.sum()
        return distance * np.cos(angle), distance * np.sin(angle)
    along = 0 if relation == "left" else 1
    gap = rng.uniform(*GAP_SHARE) * resolution
    away = float(reaches[0][0, 2 * along + 1] + reaches[1][0, 2 * along]) + gap
    aside = ASIDE * away * rng.uniform(-1.0, 1.0)
    return (away, aside) if along == 0 else (aside, away)


def _hides(things: list[SceneObject], paths: list[np.ndarray], resolution: int) -> bool:
    """Whether the second thing hides a good part of the first, and leaves enough of it to be told."""
    masks = []
    for thing, path in zip(things, paths, strict=True):
        covered, corner = coverage(thing.shape, path[:1])
        (x, y), box = corner[0] + resolution // 2, covered.shape[1]  # the first thing in the middle of the canvas
        mask = np.zeros((resolution, resolution), bool)
        mask[y : y + box, x : x + box] = covered[0] > 0.5
        masks.append(mask)
    seen = masks[0] & ~masks[1]
    if not 1.0 - HIDDEN[1] <= seen.sum() / masks[0].sum() <= 1.0 - HIDDEN[0]:
        return False
    return _solidity(seen) <= NOTCHED * _solidity(masks[0])


def _solidity(mask: np.ndarray) -> float:
    """Area of a mask over that of its convex hull."""
    return float(mask.sum() / ConvexHull(np.argwhere(mask)).volume)
