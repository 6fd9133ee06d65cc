"""Blobs of two colours taken apart: things that touch or overlap, each with the pixels that show it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pipeline.data.cielab import to_lab
from pipeline.judge.oracles.foreground import Blobs, Palette, Pixels, find_pixels, measure_pixels
from pipeline.judge.oracles.tracking import MAX_PER_FRAME

MIXED = 11.0  # CIELAB: standard deviation within a blob from which it may be two things
APART = 21.0  # CIELAB between the two colours of such a blob
LEAST_PART = 0.1  # of the blob, that each of the two holds
ENDS = (0.05, 0.95)  # of the pixels along the line on which they differ most: where two colours are first looked for
OFF_LINE = (
    30.0  # RGB units from a blend of thing and background, within which a part may be the edge of a blurred thing
)
THIN_PX = 3.2  # from the outside, within which all of such an edge lies
ROUNDS = 6  # of two medians


@dataclass(frozen=True)
class Parts:
    """Blobs of one colour each. `piece` is equal for those that touch."""

    blobs: Blobs
    piece: np.ndarray  # (n,)


def find_parts(frames: np.ndarray, palette: Palette) -> Parts:
    """Every thing of each frame of uint8 (F, H, W, 3) that differs from the background or from what it touches."""
    found = find_pixels(frames, palette)
    if _is_crowded(found):
        return Parts(measure_pixels(frames, found, palette), np.arange(found.n))
    whole = _pieces(found, frames.shape)
    parts = _by_colour(
        frames, palette, found, replace(found, label=whole[found.label], n=int(whole.max(initial=-1)) + 1)
    )
    piece = np.zeros(parts.n, int)
    piece[parts.label] = whole[found.label]
    touches = np.bincount(piece)[piece] > 1
    if not touches.any():
        return Parts(measure_pixels(frames, parts, palette), piece)
    # A seam, half of the other colour, would pass for the thing's own colour and distance.
    own = _inner_medians(parts, parts.far[:, None], frames.shape)[:, 0]
    far = np.minimum(parts.far, np.where(touches, own, np.inf)[parts.label])
    blobs = measure_pixels(frames, replace(parts, far=far), palette)
    rgb = _inner_medians(parts, frames[parts.frame, parts.y, parts.x].astype(float), frames.shape)
    colour = np.where(touches[:, None], rgb, blobs.colour)
    return Parts(replace(blobs, colour=colour, colour_spread=np.where(touches, 0.0, blobs.colour_spread)), piece)


def _is_crowded(found: Pixels) -> bool:
    """Whether a frame has more blobs than a clip of things can have: none is looked into."""
    owner = np.zeros(found.n, int)
    owner[found.label] = found.frame
    return bool(np.bincount(owner).max(initial=0) > MAX_PER_FRAME)


def _by_colour(frames: np.ndarray, palette: Palette, found: Pixels, pieces: Pixels) -> Pixels:
    """The blobs of each piece, which are its two colours where it has two: one may cut the other apart."""
    rgb = frames[found.frame, found.y, found.x].astype(float)
    lab = to_lab(rgb)
    inner = _inner(pieces, frames.shape)
    label = found.label.copy()
    for n, piece in enumerate(_mixed(lab, inner, pieces)):
        rows = np.flatnonzero(pieces.label == piece)
        place = np.column_stack([found.y[rows], found.x[rows]])
        second = _second_colour(lab[rows], inner[rows], place)
        if second is not None and not _is_rim(rgb[rows], place, found.far[rows], second, palette):
            label[rows] = found.n + 2 * n + second
    kept, label = np.unique(label, return_inverse=True)
    return replace(found, label=label, n=len(kept))


def _inner_medians(pixels: Pixels, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n, c): of the values (m, c) of each blob's inner pixels, or of all its pixels where it has none."""
    inner = _inner(pixels, shape)
    inner |= np.bincount(pixels.label[inner], minlength=pixels.n)[pixels.label] == 0
    order = np.argsort(pixels.label[inner], kind="stable")
    ends = np.cumsum(np.bincount(pixels.label[inner], minlength=pixels.n))[:-1]
    return np.stack([np.median(own, axis=0) for own in np.split(values[inner][order], ends)])


def _pieces(pixels: Pixels, shape: tuple[int, ...]) -> np.ndarray:
    """(n,): equal for blobs that touch, soft edges and corners included."""
    grid = _grid(pixels, shape)
    pairs = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        beside = grid[pixels.frame, pixels.y + 1 + dy, pixels.x + 1 + dx]
        met = (beside >= 0) & (beside != pixels.label)
        pairs.append(np.column_stack([pixels.label[met], beside[met]]))
    one, other = np.concatenate(pairs).T
    links = coo_array((np.ones(len(one), bool), (one, other)), (pixels.n, pixels.n))
    return connected_components(links, directed=False)[1]


def _grid(pixels: Pixels, shape: tuple[int, ...]) -> np.ndarray:
    """int (F, H + 2, W + 2): whose each pixel is, -1 of the background."""
    grid = np.full((shape[0], shape[1] + 2, shape[2] + 2), -1)
    grid[pixels.frame, pixels.y + 1, pixels.x + 1] = pixels.label
    return grid


def _inner(pixels: Pixels, shape: tuple[int, ...]) -> np.ndarray:
    """bool (m,): pixels whose four neighbours are of the same blob, and so no soft edge."""
    grid = _grid(pixels, shape)
    inner = np.ones(len(pixels.label), bool)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        inner &= grid[pixels.frame, pixels.y + 1 + dy, pixels.x + 1 + dx] == pixels.label
    return inner


def _mixed(lab: np.ndarray, inner: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The blobs whose inner pixels differ so much that they may be two things."""
    label, n = pixels.label[inner], pixels.n
    count = np.maximum(np.bincount(label, minlength=n), 1)
    mean = np.stack([np.bincount(label, lab[inner, c], n) / count for c in range(3)], axis=1)
    squared = ((lab[inner] - mean[label]) ** 2).sum(axis=1)
    return np.flatnonzero(np.bincount(label, squared, n) / count > MIXED**2)


def _second_colour(lab: np.ndarray, inner: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """bool (m,): the pixels of a blob that show its second colour; None where it has but one.

    Inner pixels go to the nearer of two colours, the rest with the inner pixel nearest to them.
    """
    values = lab[inner]
    along = (values - values.mean(axis=0)) @ np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[2][0]
    second = along > np.quantile(along, ENDS).mean()
    for _ in range(ROUNDS):
        if not LEAST_PART <= second.mean() <= 1.0 - LEAST_PART:
            return None
        centres = np.stack([np.median(values[~second], axis=0), np.median(values[second], axis=0)])
        second = _is_nearer_second(values, centres)
    if np.linalg.norm(centres[0] - centres[1]) < APART:
        return None
    chosen = np.zeros(len(lab), bool)
    chosen[inner] = _is_nearer_second(values, centres)
    chosen[~inner] = chosen[inner][cKDTree(place[inner]).query(place[~inner])[1]]
    return chosen


def _is_rim(rgb: np.ndarray, place: np.ndarray, far: np.ndarray, second: np.ndarray, palette: Palette) -> bool:
    """Whether one part is but the soft edge of the other: a thin one, in a blend of the other and the background."""
    pale = second if np.median(far[second]) < np.median(far[~second]) else ~second
    full, blend = np.median(rgb[~pale], axis=0), np.median(rgb[pale], axis=0)
    for ground in palette.colours:
        line = full - ground
        share = float((blend - ground) @ line) / max(float(line @ line), 1e-6)
        if np.linalg.norm(blend - ground - share * line) < OFF_LINE:
            low = place.min(axis=0)
            mask = np.zeros(place.max(axis=0) - low + 3, bool)
            mask[tuple((place[pale] - low + 1).T)] = True
            return bool(ndimage.distance_transform_edt(mask).max() < THIN_PX)
    return False


def _is_nearer_second(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    distance = ((values[:, None] - centres[None]) ** 2).sum(axis=-1)
    return distance[:, 1] < distance[:, 0]
