"""Two things that overlap: the outline of each, completed behind the other, and which of them is in front.

All frames are laid over each other by the middle of the pair. Each upright shape is fitted to what is seen of a thing,
counting only pixels that the other does not hide; the one in front is whole as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline.judge.oracles.foreground import Blobs
from pipeline.judge.oracles.silhouettes import AREAS, SHAPES, SHARPENING, outline_at

MARGIN_PX = 6  # around the pair
COARSE, FINE = (6.0, 2.0), (1.5, 0.5)  # px about the guess, and step, of a centre
COARSE_RADII = (0.9, 1.0, 1.1, 1.2, 1.32)  # times the radius of what is seen
FINE_RADII = (0.94, 0.97, 1.0, 1.03, 1.06)
HOPELESS = 0.15  # below the best shape's overlap: not looked at more closely


@dataclass(frozen=True)
class Overlap:
    """A pair: the one behind (0 or 1), and its completed outline, an entry per shape."""

    behind: int
    fit: np.ndarray  # (4,) intersection over union, where the other hides nothing
    radius: np.ndarray  # (4,) px, as the size words count it
    hidden: np.ndarray  # (F',) share of its outline that the other covers, in each frame


def read_overlap(blobs: Blobs, first: np.ndarray, second: np.ndarray, whole: np.ndarray) -> Overlap | None:
    """The pair of blobs first[f], second[f] of the frames f in which they touch.

    `whole` (2,) says how well what is seen of each fits a whole shape. Of "the first is behind" and "the second is"
    that holds by which the two outlines, one completed and one whole, fit best. None where nothing of one stays.
    """
    masks = _cut(np.stack([_laid_over(blobs, *pair) for pair in zip(first, second, strict=True)]))  # (F', 2, S, S)
    seen = (0.5 + SHARPENING * (masks.mean(axis=0) - 0.5)).clip(0.0, 1.0)
    if not (seen > 0.5).any(axis=(1, 2)).all():
        return None
    fits = [_fit(seen[k], seen[1 - k]) for k in (0, 1)]
    behind = int(np.argmax([fits[0][0].max() + whole[1], fits[1][0].max() + whole[0]]))
    scores, places = fits[behind]
    best = int(scores.argmax())
    outline = _template(SHAPES[best], places[best][None], seen.shape[1])[0] > 0.5
    return Overlap(behind, scores, places[:, 2], masks[:, 1 - behind, outline].mean(axis=1))


def _laid_over(blobs: Blobs, first: int, second: int) -> np.ndarray:
    """(2, S, S) of one frame: the soft masks of a pair, its middle in the middle."""
    side = 2 * int(max(blobs.pixel_x.max(initial=0), blobs.pixel_y.max(initial=0)) + 1)
    rows = [np.flatnonzero(blobs.pixel_blob == blob) for blob in (first, second)]
    both = np.concatenate(rows)
    dx, dy = (round(side / 2 - float(values[both].mean())) for values in (blobs.pixel_x, blobs.pixel_y))
    masks = np.zeros((2, side, side), np.float32)
    for k, own in enumerate(rows):
        masks[k, blobs.pixel_y[own].astype(int) + dy, blobs.pixel_x[own].astype(int) + dx] = blobs.pixel_alpha[own]
    return masks


def _cut(masks: np.ndarray) -> np.ndarray:
    """The same (F', 2, S, S) with no more than MARGIN_PX of nothing about them."""
    shown = masks.max(axis=(0, 1)) > 0.0
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    low, high = min(rows[0], columns[0]), max(rows[-1], columns[-1])
    padded = np.pad(masks, ((0, 0), (0, 0), (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX)))
    return padded[:, :, low : high + 1 + 2 * MARGIN_PX, low : high + 1 + 2 * MARGIN_PX]


def _fit(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best overlap (4,) of each shape, and its place (4, 3): x, y, radius."""
    known = (other < 0.5).astype(np.float32)
    y, x = np.nonzero(own > 0.5)
    guess = np.array([x.mean() + 0.5, y.mean() + 0.5])
    scores, places = np.zeros(len(SHAPES)), np.zeros((len(SHAPES), 3))
    places[:, :2] = guess
    for k, shape in enumerate(SHAPES):
        reach = outline_at(shape, np.linspace(0.0, 2.0 * np.pi, 360)).max()
        places[k, 2] = np.sqrt(own.sum() / AREAS[k]) / reach
    for (span, step), radii in ((COARSE, COARSE_RADII), (FINE, FINE_RADII)):
        for k in np.flatnonzero(scores >= scores.max() - HOPELESS).tolist():
            tries = _around(places[k], span, step, radii)
            overlap = _overlap(_template(SHAPES[k], tries, len(own)), own, known)
            places[k], scores[k] = tries[overlap.argmax()], overlap.max()
    return scores, places


def _around(place: np.ndarray, span: float, step: float, radii: tuple[float, ...]) -> np.ndarray:
    """(n, 3) of x, y, radius about a place."""
    offsets = np.arange(-span, span + 0.01, step)
    return np.array([(place[0] + dx, place[1] + dy, place[2] * r) for dx, dy, r in product(offsets, offsets, radii)])


def _template(shape: str, places: np.ndarray, side: int) -> np.ndarray:
    """float32 (n, side, side): soft masks of an upright shape."""
    at = np.arange(side, dtype=np.float32) + 0.5
    x = at[None, None, :] - places[:, 0, None, None].astype(np.float32)
    y = at[None, :, None] - places[:, 1, None, None].astype(np.float32)
    edge = outline_at(shape, np.arctan2(y, x)).astype(np.float32) * places[:, 2, None, None].astype(np.float32)
    return (edge - np.hypot(x, y) + 0.5).clip(0.0, 1.0)


def _overlap(templates: np.ndarray, own: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) intersection over union, over the known pixels."""
    shared = np.minimum(templates, own) * known
    either = np.maximum(templates, own) * known
    return shared.sum(axis=(1, 2)) / np.maximum(either.sum(axis=(1, 2)), 1e-6)
