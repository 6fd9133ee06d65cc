"""Still backdrops in tones that no object's colour comes near."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.data.cielab import to_lab
from pipeline.synthetic.draw import RGB, Background

WHITE = (255, 255, 255)
TINTS: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...] = (  # base and second tone
    ((226, 238, 252), (184, 208, 238)),  # pale blue
    ((228, 246, 226), (188, 222, 190)),  # pale green
    ((252, 238, 222), (232, 206, 180)),  # peach
    ((240, 230, 250), (212, 194, 234)),  # lavender
    ((240, 240, 236), (208, 208, 200)),  # stone
    ((252, 228, 236), (236, 194, 210)),  # rose
)
LEAST_CONTRAST = 32.0  # CIELAB distance between any object's colour and any tone


def contrast(a: Sequence[int], b: Sequence[int]) -> float:
    """CIELAB distance of two sRGB colours."""
    return float(np.linalg.norm(np.subtract(*to_lab(np.array([a, b])))))


_TINTS_OF = {  # the tints that suit an object's colour, by its name
    name: frozenset(
        number for number, tones in enumerate(TINTS) if all(contrast(tone, rgb) >= LEAST_CONTRAST for tone in tones)
    )
    for name, rgb in RGB.items()
}


def make_background(name: str, colours: Sequence[str], resolution: int, rng: np.random.Generator) -> Background:
    """A backdrop of a kind, for objects of these colours, with its tint and the place of its pattern at random."""
    blank = np.zeros((resolution, resolution), np.uint8)
    if name == "white":
        return Background(name, (WHITE,), blank)
    able = sorted(frozenset.intersection(*(_TINTS_OF[colour] for colour in colours)))
    assert able, f"no tint suits {colours}"
    base, second = TINTS[able[int(rng.integers(len(able)))]]
    if name == "solid":  # in the tone that nobody takes for white
        return Background(name, (second,), blank)
    return Background(name, (base, second), _pattern(name, resolution, rng))


def _pattern(name: str, resolution: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 (H, W): 1 where the second tone is."""
    period = max(4, round(resolution / 8))
    x = (np.arange(resolution)[None, :] + int(rng.integers(period))) % period
    y = (np.arange(resolution)[:, None] + int(rng.integers(period))) % period
    thin = max(1, period // 8)
    if name == "dots":
        half = period / 2 - 0.5
        return ((x - half) ** 2 + (y - half) ** 2 <= (period / 4) ** 2).astype(np.uint8)
    if name == "grid":
        return ((x < thin) | (y < thin)).astype(np.uint8)
    assert name == "stripes", name
    across = x if rng.integers(2) else y
    return np.broadcast_to(across < period // 2, (resolution, resolution)).astype(np.uint8)
