"""The moving-digits set: real handwritten digits, white on black, that move as their captions say.

`DigitsSet.row(split, index)` draws one clip from its seed; nothing else is stored or shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.data import MovingMnistParams
from pipeline.data.shards import Row
from pipeline.synthetic import motion
from pipeline.synthetic.combinations import Combination, CombinationSplit, clip_seed, hold_out, key_of, pick
from pipeline.synthetic.digits import DigitBank, glyph
from pipeline.synthetic.grammar import Grammar, ObjectPhrase, build_grammar, choose, say
from pipeline.synthetic.indexed_gif import encode_indexed_gif

SECTION = "moving_mnist"
PATH_SHARE = (0.30, 0.48)  # of the canvas, along the path of the clip; no caption says how fast
BOUNCE_SHARE = (0.72, 0.90)  # the same of a bounce, whose two legs or three share it: a swing that is seen
GREYS = 32
LAYOUT_TRIES = 500
GAP_SHARE = 6 / 64  # of the canvas, between two digits in every frame: more than between the parts of a broken stroke
LARGEST_SHARE = {1: 0.5, 2: 0.4}  # of the canvas that a digit may be high, by how many there are


@dataclass(frozen=True)
class Figure:
    """A digit to be drawn."""

    digit: int
    motion: str
    ink: np.ndarray  # float32 (h, w) in [0, 1]
    picture: int  # its place among the split's pictures


@dataclass(frozen=True)
class DigitsSet:
    params: MovingMnistParams
    combinations: CombinationSplit
    grammar: Grammar
    bank: DigitBank

    @property
    def name(self) -> str:
        return SECTION

    @property
    def digit_px(self) -> int:
        """Height of a drawn digit: what the params ask, or as high as leaves room to move."""
        return self.params.digit_px or _largest_px(self.params)

    def row(self, split: str, index: int) -> Row:
        """Clip `index` of a split, the same whatever else is made."""
        p = self.params
        seed = clip_seed(p.seed, split, index)
        rng = np.random.default_rng(seed)
        pool = self.combinations.held_out if split == "held_out" else self.combinations.seen
        combination = pick(pool, p.seed, split, index)
        count = pick(p.objects, p.seed, split, index // len(pool), stream=1 + pool.index(combination))
        figures, paths = self._scene(split, combination, count, pool, rng)
        templates = choose(self.grammar, split, count > 1, p.captions_per_clip, rng)
        phrases = [ObjectPhrase("digit", str(figure.digit), figure.motion) for figure in figures]
        return Row(
            key=key_of(split, index),
            split=split,
            captions=tuple(say(template, phrases, None) for template in templates),
            n_frames=p.frames,
            fps=p.fps,
            gif=encode_indexed_gif(_draw(figures, paths, p.resolution), _greys(), p.fps),
            source=SECTION,
            attributes={
                "set": SECTION,
                "seed": seed,
                "background": "black",
                "background_colours": [[0, 0, 0]],
                "templates": [template.id for template in templates],
                "objects": [_truth(figure, path) for figure, path in zip(figures, paths, strict=True)],
            },
        )

    def description(self) -> dict[str, Any]:
        """The contents of set.json, but for the counts."""
        p = self.params
        return {
            "set": SECTION,
            "attributes": {"digit": list(p.digits), "motion": list(p.motions), "objects": list(p.objects)},
            "held_out": [[int(digit), how] for digit, how in self.combinations.held_out],
            "templates": self.grammar.ids(),
            "resolution": p.resolution,
            "frames": p.frames,
            "fps": p.fps,
        }

    def sayings(self) -> dict[ObjectPhrase, dict[str, Any]]:
        """Every digit as captions say it, with its attributes."""
        return {
            ObjectPhrase("digit", digit, how): {"digit": int(digit), "motion": how}
            for digit, how in (*self.combinations.seen, *self.combinations.held_out)
        }

    def _scene(
        self, split: str, combination: Combination, count: int, pool: tuple[Combination, ...], rng: np.random.Generator
    ) -> tuple[list[Figure], list[np.ndarray]]:
        """The digits and where their centres are; a second one is drawn anew until both have room."""
        first = self._figure(split, combination, rng)
        others = [item for item in pool if item[0] != combination[0]]
        for _ in range(LAYOUT_TRIES):
            figures = [first]
            if count == 2:
                figures.append(self._figure(split, others[int(rng.integers(len(others)))], rng))
            paths = [self._unplaced(figure, rng) for figure in figures]
            reaches = [np.tile(_reach(figure), (self.params.frames, 1)) for figure in figures]
            placed = motion.place(paths, reaches, self.params.resolution, rng, GAP_SHARE * self.params.resolution)
            if placed is not None:
                return figures, placed
        raise ValueError(
            f"{SECTION}: no room for {count} digits of {self.digit_px} px on {self.params.resolution} px; "
            f"lower {SECTION}.digit_px"
        )

    def _figure(self, split: str, combination: Combination, rng: np.random.Generator) -> Figure:
        digit, how = combination
        image, picture = self.bank.pick(split, int(digit), rng)
        return Figure(int(digit), how, glyph(image, self.digit_px), picture)

    def _unplaced(self, figure: Figure, rng: np.random.Generator) -> np.ndarray:
        steps = self.params.frames - 1
        share = BOUNCE_SHARE if figure.motion.startswith("bounce") else PATH_SHARE
        step_px = rng.uniform(*share) * self.params.resolution / steps
        return motion.walk(figure.motion, step_px, steps, rng)


def _reach(figure: Figure) -> tuple[float, float, float, float]:
    height, width = figure.ink.shape
    return (width / 2, width / 2, height / 2, height / 2)


def _greys() -> np.ndarray:
    return np.rint(np.linspace(0, 255, GREYS)).astype(np.uint8)[:, None].repeat(3, 1)


def _draw(figures: list[Figure], paths: list[np.ndarray], resolution: int) -> np.ndarray:
    """Palette indices uint8 (F, H, W) of digits that don't overlap."""
    frames = np.zeros((len(paths[0]), resolution, resolution), np.uint8)
    for figure, path in zip(figures, paths, strict=True):
        height, width = figure.ink.shape
        corner = path - np.array([width / 2, height / 2])
        whole = np.floor(corner).astype(int)
        shifted = _shift(figure.ink, (corner - whole).astype(np.float32))
        levels = np.rint(shifted * (GREYS - 1)).astype(np.uint8)
        for frame, level, (x, y) in zip(frames, levels, whole, strict=True):
            target = frame[y : y + height + 1, x : x + width + 1]
            np.maximum(target, level[: target.shape[0], : target.shape[1]], out=target)
    return frames


def _shift(ink: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Ink (h, w) moved right and down by parts of a pixel (F, 2): (F, h + 1, w + 1), bilinear."""
    right, down = by[:, 0, None, None], by[:, 1, None, None]
    wide = np.pad(ink, 1)
    across = wide[None, :, 1:] * (1 - right) + wide[None, :, :-1] * right
    return across[:, 1:] * (1 - down) + across[:, :-1] * down


def _truth(figure: Figure, path: np.ndarray) -> dict[str, Any]:
    """A digit as published: px of this clip's resolution."""
    return {
        "digit": figure.digit,
        "motion": figure.motion,
        "speed_px": round(motion.speed_px(path), 4),
        "height_px": figure.ink.shape[0],
        "width_px": figure.ink.shape[1],
        "picture": figure.picture,
        "trajectory": np.round(path, 3).tolist(),
    }


def _largest_px(params: MovingMnistParams) -> int:
    """Height of the largest digits that have room to move."""
    return int(LARGEST_SHARE[max(params.objects)] * params.resolution - 2 * motion.MARGIN_PX)


def digits_set(params: MovingMnistParams, bank: DigitBank) -> DigitsSet:
    """Decide what is held out. Raises ValueError, one line, where that would starve a value of train."""
    every = tuple((str(digit), how) for digit in params.digits for how in params.motions)
    combinations = hold_out(every, params, section=SECTION, attributes=("digit", "motion"))
    return DigitsSet(params, combinations, build_grammar(params, params.objects), bank)
