"""The shapes set: coloured objects that move as their captions say, with the truth of every frame beside them.

`ShapesSet.row(split, index)` draws one clip from its seed; nothing else is stored or shared. Clips of the kind
`objects` are drawn here, those of other kinds as kinds/ lays them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.data import ShapesParams
from pipeline.data.shards import Row
from pipeline.synthetic import motion
from pipeline.synthetic.backgrounds import make_background
from pipeline.synthetic.combinations import Combination, CombinationSplit, clip_seed, hold_out, key_of, pick
from pipeline.synthetic.draw import draw
from pipeline.synthetic.grammar import Grammar, ObjectPhrase, build_grammar, choose, say
from pipeline.synthetic.indexed_gif import encode_indexed_gif
from pipeline.synthetic.kinds.drawn import KINDS, describe, kind_row
from pipeline.synthetic.kinds.kind import Kind
from pipeline.synthetic.scene import SceneObject, every_colour, paint, truth, unplaced

SECTION = "shapes"
OBJECTS = "objects"  # the kind of one and several things on their own ways
SEVERAL_SIZES = ("small", "medium")  # large objects leave each other no room to move
COMPANION_TRIES = 500


@dataclass(frozen=True)
class Option:
    """A clip's attributes beside its combination."""

    size: str
    speed: str | None
    background: str
    objects: int


@dataclass(frozen=True)
class ShapesSet:
    params: ShapesParams
    combinations: CombinationSplit
    grammar: Grammar
    kinds: tuple[Kind, ...] = ()  # beside `objects`
    shares: tuple[str, ...] = (OBJECTS,)  # kinds by turns of clips; `objects` has a turn for each number of them

    @property
    def name(self) -> str:
        return SECTION

    def row(self, split: str, index: int) -> Row:
        """Clip `index` of a split, the same whatever else is made."""
        name, place = self._turn(index)
        if name != OBJECTS:
            kind = next(kind for kind in self.kinds if kind.name == name)
            return kind_row(kind, self.params, split, index, place)
        return self._objects_row(split, index, place)

    def _turn(self, index: int) -> tuple[str, int]:
        """The kind of a clip, and its number among the clips of that kind."""
        round_, place = divmod(index, len(self.shares))
        name = self.shares[place]
        return name, round_ * self.shares.count(name) + self.shares[:place].count(name)

    def _objects_row(self, split: str, clip: int, index: int) -> Row:
        """Clip `clip` of a split, the one of number `index` among those of objects."""
        params = self.params
        seed = clip_seed(params.seed, split, clip)
        rng = np.random.default_rng(seed)
        pool = self.combinations.held_out if split == "held_out" else self.combinations.seen
        combination = pick(pool, params.seed, split, index)
        option = pick(
            self._options(combination),
            params.seed,
            split,
            index // len(pool),
            stream=1 + pool.index(combination),
        )
        things, paths = self._scene(combination, option, pool, rng)
        background = make_background(option.background, every_colour(things), params.resolution, rng)
        paints, objects = paint(things, paths)
        drawing = draw(background, objects, paints)
        templates, captions = self._captions(split, things, option, rng)
        return Row(
            key=key_of(split, clip),
            split=split,
            captions=captions,
            n_frames=params.frames,
            fps=params.fps,
            gif=encode_indexed_gif(drawing.indices, drawing.palette, params.fps),
            source=SECTION,
            attributes={
                "set": SECTION,
                **({"kind": OBJECTS} if self.kinds else {}),
                "seed": seed,
                "background": background.name,
                "background_colours": [list(tone) for tone in background.tones],
                "templates": templates,
                "objects": [truth(thing, path) for thing, path in zip(things, paths, strict=True)],
            },
        )

    def description(self) -> dict[str, Any]:
        """The contents of set.json, but for the counts."""
        p = self.params
        attributes = {
            "shape": p.shapes,
            "colour": p.colours,
            "size": p.sizes,
            "motion": p.motions,
            "speed": p.speeds,
            "background": p.backgrounds,
            "objects": p.objects,
        }
        kinds = {"kind": p.kinds} if self.kinds else {}
        return {
            "set": SECTION,
            "attributes": {name: list(values) for name, values in (attributes | kinds).items()},
            **({"kinds": {kind.name: describe(kind) for kind in self.kinds}} if self.kinds else {}),
            "held_out": [list(item) for item in self.combinations.held_out],
            "templates": self.grammar.ids(),
            "resolution": p.resolution,
            "frames": p.frames,
            "fps": p.fps,
        }

    def sayings(self) -> dict[ObjectPhrase, dict[str, Any]]:
        """Every object as captions say it, with its attributes; of what no caption says, the first value."""
        said: dict[ObjectPhrase, dict[str, Any]] = {}
        for shape, colour, how in (*self.combinations.seen, *self.combinations.held_out):
            turns = [each for each in self.params.colours if each != colour] if how == "change-colour" else [""]
            for option in self._options((shape, colour, how)):
                for colour_to in turns:
                    thing = SceneObject(shape, colour, how, option.size, option.speed, colour_to)
                    told = {"shape": shape, "colour": colour, "size": option.size, "motion": how, "speed": option.speed}
                    said.setdefault(self._phrase(thing), told | ({"colour_to": colour_to} if colour_to else {}))
        return said

    def _options(self, combination: Combination) -> list[Option]:
        """Every way to say the rest of a combination's meaning."""
        p = self.params
        speeds = (None,) if combination[2] in motion.WITHOUT_SPEED else p.speeds
        return [
            Option(size, speed, background, count)
            for count in p.objects
            for size in p.sizes
            if count == 1 or size in SEVERAL_SIZES
            for speed in speeds
            for background in p.backgrounds
        ]

    def _scene(
        self, combination: Combination, option: Option, pool: tuple[Combination, ...], rng: np.random.Generator
    ) -> tuple[list[SceneObject], list[np.ndarray]]:
        """The objects and their trajectories; companions are drawn anew until all have room."""
        p = self.params
        first = self._thing(combination, option.size, option.speed, rng)
        for _ in range(COMPANION_TRIES):
            things = [first]
            while len(things) < option.objects:
                things.append(self._companion(things, pool, rng))
            paths = [unplaced(thing, frames=p.frames, resolution=p.resolution, rng=rng) for thing in things]
            reaches = [motion.reach(thing.shape, path) for thing, path in zip(things, paths, strict=True)]
            placed = motion.place(paths, reaches, p.resolution, rng)
            if placed is not None:
                return things, placed
        raise ValueError(
            f"{SECTION}: no room for {option.objects} objects beside {option.size} {' '.join(combination)} on "
            f"{p.resolution} px; take smaller sizes or fewer objects"
        )

    def _thing(self, combination: Combination, size: str, speed: str | None, rng: np.random.Generator) -> SceneObject:
        shape, colour, how = combination
        colour_to = ""
        if how == "change-colour":
            others = [name for name in self.params.colours if name != colour]
            colour_to = others[int(rng.integers(len(others)))]
        return SceneObject(shape, colour, how, size, speed, colour_to)

    def _companion(
        self, things: list[SceneObject], pool: tuple[Combination, ...], rng: np.random.Generator
    ) -> SceneObject:
        """Another object of the same pool, that no caption could confuse with those there."""
        taken = {(thing.shape, thing.colour) for thing in things}
        able = [item for item in pool if item[:2] not in taken]
        combination = able[int(rng.integers(len(able)))]
        options = [option for option in self._options(combination) if option.objects > 1]
        option = options[int(rng.integers(len(options)))]
        return self._thing(combination, option.size, option.speed, rng)

    def _captions(
        self, split: str, things: list[SceneObject], option: Option, rng: np.random.Generator
    ) -> tuple[list[str], tuple[str, ...]]:
        """Template ids and captions of a clip."""
        templates = choose(self.grammar, split, len(things) > 1, self.params.captions_per_clip, rng)
        phrases = [self._phrase(thing) for thing in things]
        background = option.background if len(self.params.backgrounds) > 1 else None
        return [template.id for template in templates], tuple(
            say(template, phrases, background) for template in templates
        )

    def _phrase(self, thing: SceneObject) -> ObjectPhrase:
        p = self.params
        sized = len(p.sizes) > 1 and thing.motion not in ("grow", "shrink")  # its size is what changes
        return ObjectPhrase(
            thing.shape,
            thing.colour,
            thing.motion,
            size=thing.size if sized else None,
            speed=thing.speed if len(p.speeds) > 1 else None,
            colour_to=thing.colour_to,
        )


def shapes_set(params: ShapesParams) -> ShapesSet:
    """Decide what is held out. Raises ValueError, one line, where that would starve a value of train."""
    every = tuple(
        (shape, colour, how)
        for shape in params.shapes
        for colour in params.colours
        for how in params.motions
        if not (shape == "circle" and how.startswith("rotate"))
    )
    combinations = hold_out(every, params, section=SECTION, attributes=("shape", "colour", "motion"))
    kinds = tuple(KINDS[name](params) for name in params.kinds if name != OBJECTS)
    shares = [name for name in params.kinds for _ in range(len(params.objects) if name == OBJECTS else 1)]
    return ShapesSet(params, combinations, build_grammar(params, params.objects), kinds, tuple(shares))
