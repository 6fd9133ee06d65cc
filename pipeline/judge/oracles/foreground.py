"""Foreground: frames in, the blobs that stand out from the background out, one list over all frames.

The background is one colour or a pattern of two, taken from the border; a pixel's distance from it (for a pattern, from
the line between its colours, so that soft edges inside the pattern don't count) says how much foreground it holds.
Written for generated video: the threshold follows the noise, and specks are kept apart from things.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.data.frames import frames_evenly

MIN_DISTANCE = 40.0  # RGB units: nearer to the background than this is background
NOISE_FACTOR = 4.0  # and so is what lies within this many standard deviations of its noise
PATTERN_CONTRAST = 24.0  # RGB units between two background colours that are told apart
PATTERN_SHARE = 0.04  # of the border, at least, in a pattern's second colour
RING = 0.08  # of the height: the border that the background is taken from, wider than half a pattern's period
LOOKS = 4  # frames that the border is taken from, evenly over the clip
SEGMENTS = 16  # of the border; a pattern shows in most of them, a thing that touches the border in few
PATTERN_SEGMENTS = 12
SEPARATION = 0.55  # of the distance nearby: pixels below it may be a gap between two things
CORE = 0.85  # of an object's own distance, from which a pixel shows its colour
MIN_AREA = 0.0015  # of the picture; anything smaller is a speck
IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = True  # blobs join within a frame, never across frames


@dataclass(frozen=True)
class Palette:
    """The background's colours, RGB float (1 or 2, 3), and its noise (standard deviation, RGB units)."""

    colours: np.ndarray
    noise: float


@dataclass(frozen=True)
class Blobs:
    """Connected foreground, one entry per blob; `pixels` fields have one entry per foreground pixel."""

    frame: np.ndarray  # (n,)
    x: np.ndarray  # (n,) centre, px, right
    y: np.ndarray  # (n,) centre, px, down
    area: np.ndarray  # (n,) px, soft
    colour: np.ndarray  # (n, 3) RGB of the core
    colour_spread: np.ndarray  # (n,) RGB units: standard deviation within the core, beyond the noise's
    pixel_blob: np.ndarray  # (m,) index of the blob
    pixel_x: np.ndarray
    pixel_y: np.ndarray
    pixel_alpha: np.ndarray  # (m,) 0 to 1: how much of the pixel is foreground
    speck_area: float  # px over all frames, in blobs too small to count

    def __len__(self) -> int:
        return len(self.frame)


def find_palette(frames: np.ndarray) -> Palette:
    """The one or two colours of the border ring of uint8 frames (F, H, W, 3)."""
    chosen = frames_evenly(frames, LOOKS)
    pixels = _border(chosen).astype(np.float32)  # (LOOKS, P, 3)
    flat = pixels.reshape(-1, 3)
    noise = _noise(pixels)
    apart = max(PATTERN_CONTRAST, NOISE_FACTOR * noise)
    first = _dominant(flat)
    away = ((flat - first) ** 2).sum(axis=1) > apart**2
    colours = [first]
    if away.mean() > PATTERN_SHARE:
        second = _dominant(flat[away])
        if _is_everywhere(((pixels - second) ** 2).sum(axis=-1) < apart**2):
            colours.append(second)
    return Palette(np.stack(colours), noise)


@dataclass(frozen=True)
class Pixels:
    """Foreground, one entry per pixel: where it is, how far from the background (RGB units), and whose it is."""

    frame: np.ndarray
    y: np.ndarray
    x: np.ndarray
    far: np.ndarray
    label: np.ndarray  # 0, 1, … of `n` blobs
    n: int
    speck_area: float


def find_blobs(frames: np.ndarray, palette: Palette) -> Blobs:
    """Every connected thing of each frame of uint8 (F, H, W, 3) that is not background."""
    return measure_pixels(frames, find_pixels(frames, palette), palette)


def find_pixels(frames: np.ndarray, palette: Palette) -> Pixels:
    """The foreground of uint8 (F, H, W, 3), joined into blobs.

    Things a pixel apart stay apart: blobs are joined through pixels that are full beside their neighbours, and the soft
    edge is shared out afterwards.
    """
    _, h, w, _ = frames.shape
    distance = np.pad(background_distance(frames, palette.colours), ((0, 0), (1, 1), (1, 1)))
    flat = distance.ravel()
    where = np.flatnonzero(flat > max(MIN_DISTANCE, NOISE_FACTOR * palette.noise))
    steps = [dy * (w + 2) + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    nearby = _highest_neighbour(flat, where, steps)
    full = np.zeros(distance.shape, bool)
    full.ravel()[where[flat[where] > SEPARATION * nearby]] = True
    labels, n = ndimage.label(full, structure=IN_PLANE)
    label = _share_out_edges(labels.ravel(), where, steps)
    where, label = where[label > 0], label[label > 0] - 1
    sizes = np.bincount(label, minlength=n)
    number = number_large(sizes, max(3.0, MIN_AREA * h * w))
    kept = number[label] > 0
    where, label = where[kept], number[label[kept]] - 1
    frame, rest = np.divmod(where, (h + 2) * (w + 2))
    y, x = np.divmod(rest, w + 2)
    speck_area = float(sizes[number == 0].sum())
    return Pixels(frame, y - 1, x - 1, flat[where], label, int(number.max(initial=0)), speck_area)


def number_large(sizes: np.ndarray, least: float) -> np.ndarray:
    """Components numbered anew, 1, 2, … in order; 0 for those smaller than `least`."""
    large = sizes >= least
    return np.where(large, np.cumsum(large), 0)


def _share_out_edges(labels: np.ndarray, where: np.ndarray, steps: list[int]) -> np.ndarray:
    """Labels of `where`, each unlabelled pixel given a labelled neighbour's, two pixels deep."""
    for _ in range(2):
        loose = where[labels[where] == 0]
        labels[loose] = _highest_neighbour(labels, loose, steps)
    return labels[where]


def _highest_neighbour(values: np.ndarray, where: np.ndarray, steps: list[int]) -> np.ndarray:
    highest = values[where + steps[0]]
    for step in steps[1:]:
        np.maximum(highest, values[where + step], out=highest)
    return highest


def background_distance(frames: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """float32 (F, H, W): RGB distance from the nearest point of the background's colour or colour line."""
    first = colours[0].astype(np.float32)
    planes = [frames[..., c].astype(np.float32) - first[c] for c in range(3)]
    squared = planes[0] * planes[0]
    squared += planes[1] * planes[1]
    squared += planes[2] * planes[2]
    if len(colours) == 2:
        line = (colours[1] - colours[0]).astype(np.float32)
        length = float(line @ line)
        along = planes[0] * line[0] + planes[1] * line[1] + planes[2] * line[2]
        on_line = along.clip(0.0, length)
        squared -= on_line * (2.0 * along - on_line) / length
        np.maximum(squared, 0.0, out=squared)
    return np.sqrt(squared, out=squared)


def measure_pixels(frames: np.ndarray, pixels: Pixels, palette: Palette) -> Blobs:
    """Blobs of labelled pixels of uint8 frames (F, H, W, 3)."""
    frame, y, x, far, label, n = pixels.frame, pixels.y, pixels.x, pixels.far, pixels.label, pixels.n
    middling = _mean(far, np.ones(len(far), bool), label, n)
    full = _mean(far, far >= middling[label], label, n)  # the object's own distance, free of its soft edge
    alpha = (far / np.maximum(full[label], 1e-6)).clip(max=1.0)
    core = alpha > CORE
    rgb = frames[frame, y, x].astype(np.float32)
    colour = np.stack([_mean(rgb[:, c], core, label, n) for c in range(3)], axis=1)
    variance = _mean(((rgb - colour[label]) ** 2).sum(axis=1), core, label, n) - palette.noise**2
    spread = np.sqrt(variance.clip(min=0.0))
    return measure_blobs(frame, y, x, alpha, label, colour=colour, colour_spread=spread, speck_area=pixels.speck_area)


def measure_blobs(
    frame: np.ndarray,  # of each pixel, as are y, x, alpha and label
    y: np.ndarray,
    x: np.ndarray,
    alpha: np.ndarray,
    label: np.ndarray,
    *,
    colour: np.ndarray,  # of each blob, as is its spread
    colour_spread: np.ndarray,
    speck_area: float,
) -> Blobs:
    """Centres and areas of the blobs that labelled pixels make, weighted by how much of each pixel is foreground."""
    n = len(colour)
    area = np.bincount(label, alpha, n)
    owner = np.zeros(n, np.int64)
    owner[label] = frame
    return Blobs(
        frame=owner,
        x=np.bincount(label, alpha * x, n) / np.maximum(area, 1e-6),
        y=np.bincount(label, alpha * y, n) / np.maximum(area, 1e-6),
        area=area,
        colour=colour,
        colour_spread=colour_spread,
        pixel_blob=label,
        pixel_x=x.astype(np.float32),
        pixel_y=y.astype(np.float32),
        pixel_alpha=alpha.astype(np.float32),
        speck_area=speck_area,
    )


def _mean(values: np.ndarray, chosen: np.ndarray, label: np.ndarray, n: int) -> np.ndarray:
    count = np.bincount(label[chosen], minlength=n)
    return np.bincount(label[chosen], values[chosen], n) / np.maximum(count, 1)


def _dominant(flat: np.ndarray) -> np.ndarray:
    """The most frequent colour of (N, 3), by a coarse histogram and then the mean of what lies near its peak."""
    bins = (flat // 16).astype(np.int64) @ np.array([256, 16, 1])
    peak = np.bincount(bins, minlength=4096).argmax()
    centre = flat[bins == peak].mean(axis=0)
    near = np.linalg.norm(flat - centre, axis=1) < PATTERN_CONTRAST
    return flat[near].mean(axis=0)


def _border(frames: np.ndarray) -> np.ndarray:
    """uint8 (F, P, 3): the border's pixels side by side, top, bottom, left, right, each side in order."""
    n_frames, h, _, _ = frames.shape
    ring = max(1, round(RING * h))
    top, bottom = frames[:, :ring].swapaxes(1, 2), frames[:, -ring:].swapaxes(1, 2)
    sides = (top, bottom, frames[:, :, :ring], frames[:, :, -ring:])
    return np.concatenate([side.reshape(n_frames, -1, 3) for side in sides], axis=1)


def _is_everywhere(hits: np.ndarray) -> bool:
    """True where the second colour (F, P) shows in most parts of the border, as a pattern does."""
    still = hits.mean(axis=0) > 0.5
    return sum(bool(part.mean() > PATTERN_SHARE) for part in np.array_split(still, SEGMENTS)) >= PATTERN_SEGMENTS


def _noise(pixels: np.ndarray) -> float:
    """RGB standard deviation of still pixels (F, P, 3) over frames, by the median so that things don't count."""
    change = ((pixels[1:] - pixels[:-1]) ** 2).sum(axis=-1)
    return float(np.sqrt(np.median(change) / 2.0))
