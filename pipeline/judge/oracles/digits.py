"""Read a moving-digits clip: which digits, how many, and how they move.

Light ink on a dark ground is joined into blobs, blobs into tracks; the digit reader votes over the frames of a track.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from pipeline.judge.oracles.digit_classifier import NO_DIGIT, SIDE, DigitReader, digit_probabilities, vote
from pipeline.judge.oracles.foreground import IN_PLANE, Blobs, measure_blobs, number_large
from pipeline.judge.oracles.motion import read_motion
from pipeline.judge.oracles.reading import (
    ObjectReading,
    Reading,
    at_every_frame,
    check_frames,
    clear_count,
    empty_share,
    flicker,
)
from pipeline.judge.oracles.tracking import Track, track

INK = 0.35  # of full white, from which a pixel is ink
MIN_AREA = 0.002  # of the picture; anything smaller is a speck
MARGIN = 1.1  # side of a crop over the longer side of its ink
DARK = 0.2  # of full white: what the ground may reach
AGREEMENT = 0.6  # share of the frames that must vote for the digit
TOO_SMALL, TOO_LARGE = 0.15, 0.7  # longer side of a digit over the picture's height, beyond which it is none


@dataclass(frozen=True)
class Strokes:
    """The ink of a clip as blobs, with what a crop of each needs."""

    blobs: Blobs
    ink: np.ndarray  # float32 (F, H, W) in [0, 1]
    labels: np.ndarray  # int32 (F, H, W): 1 + the blob's index, also on the soft rim
    boxes: np.ndarray  # (n, 4): left, top, right, bottom, px, of the ink


def read_digits(frames: np.ndarray, reader: DigitReader, device: torch.device) -> Reading:
    """Reading of a uint8 clip (F, H, W, 3) of white digits on black. Raises ValueError on fewer than 4 frames."""
    check_frames(frames)
    strokes = find_strokes(frames)
    n_frames, height = frames.shape[:2]
    ground = float(np.median(strokes.ink))
    background = "black" if ground < DARK else "unclear"
    tracks = track(strokes.blobs, n_frames, height) if background == "black" else None
    empty = empty_share(strokes.blobs.frame, n_frames)
    if tracks is None:
        return Reading((), -1, background, 1.0, empty, n_frames, height)
    votes = digit_probabilities(reader, cut_out(strokes), device)
    things = tuple(_read_thing(thing, strokes, votes, n_frames, height) for thing in tracks.things)
    count = clear_count(things, tracks.leftover)
    flickers = flicker(strokes.blobs.frame, len(things), n_frames)
    return Reading(things, count, background, flickers, empty, n_frames, height)


def find_strokes(frames: np.ndarray) -> Strokes:
    """Join the ink of each frame of uint8 (F, H, W, 3) into blobs, over gaps of four pixels at 64 px: strokes break."""
    _, h, w, _ = frames.shape
    ink = frames.mean(axis=-1, dtype=np.float32) / 255.0
    mask = ink > INK
    reach = 2 * max(1, h // 32) + 1
    rim = ndimage.maximum_filter(mask, size=(1, reach, reach))
    labels, n = ndimage.label(rim, structure=IN_PLANE)
    where = np.flatnonzero(mask)
    label = labels.ravel()[where] - 1
    sizes = np.bincount(label, minlength=n)
    number = number_large(sizes, MIN_AREA * h * w)
    labels = np.concatenate([[0], number]).astype(np.int32)[labels]
    kept = number[label] > 0
    where, label, n = where[kept], number[label[kept]] - 1, int(number.max(initial=0))
    frame, rest = np.divmod(where, h * w)
    y, x = np.divmod(rest, w)
    blobs = measure_blobs(
        frame,
        y,
        x,
        ink.ravel()[where],
        label,
        colour=np.zeros((n, 3)),
        colour_spread=np.zeros(n),
        speck_area=float(sizes[number == 0].sum()),
    )
    return Strokes(blobs, ink, labels, _boxes(label, x, y, n))


def cut_out(strokes: Strokes) -> np.ndarray:
    """Crops float32 (n, SIDE, SIDE) of every blob alone, centred, its longer side 1 / MARGIN of the crop."""
    n = len(strokes.blobs)
    if n == 0:
        return np.zeros((0, SIDE, SIDE), np.float32)
    _, h, w = strokes.ink.shape
    frame = strokes.blobs.frame
    own = strokes.labels[frame] == np.arange(1, n + 1)[:, None, None]
    alone = torch.from_numpy((strokes.ink[frame] * own)[:, None])
    left, top, right, bottom = strokes.boxes.T
    side = MARGIN * np.maximum(right - left, bottom - top)
    zero = np.zeros(n)
    # align_corners=False: -1 and 1 are the outer edges of the picture.
    maps = np.stack([side / w, zero, (left + right) / w - 1.0, zero, side / h, (top + bottom) / h - 1.0], axis=1)
    grid = functional.affine_grid(
        torch.from_numpy(maps.reshape(n, 2, 3)).float(), [n, 1, SIDE, SIDE], align_corners=False
    )
    return functional.grid_sample(alone, grid, align_corners=False)[:, 0].numpy()


def _boxes(label: np.ndarray, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    low, high = np.full((n, 2), np.inf), np.full((n, 2), -np.inf)
    place = np.stack([x, y], axis=1).astype(float)
    np.minimum.at(low, label, place)
    np.maximum.at(high, label, place)
    return np.concatenate([low, high + 1.0], axis=1)


def _read_thing(thing: Track, strokes: Strokes, votes: np.ndarray, n_frames: int, height: int) -> ObjectReading:
    chosen, blobs = thing.blobs, strokes.blobs
    path = at_every_frame(thing, np.column_stack([blobs.x[chosen], blobs.y[chosen]]) / height, n_frames)
    radius = at_every_frame(thing, np.sqrt(blobs.area[chosen]), n_frames)
    motion = read_motion(path, radius, None, 1, changes_colour=False)
    ballots = votes[chosen]
    winner = vote(ballots)
    agrees = np.array([vote(ballot[None]) for ballot in ballots]) == winner
    left, top, right, bottom = strokes.boxes[chosen].T
    side = float(np.median(np.maximum(right - left, bottom - top))) / height
    clear = winner != NO_DIGIT and agrees.mean() >= AGREEMENT and TOO_SMALL < side < TOO_LARGE
    return ObjectReading(
        motion=motion.name,
        speed=motion.speed,
        speed_px=motion.path * height / (n_frames - 1),
        presence=len(thing.frames) / n_frames,
        identity=float(agrees.mean()) if winner != NO_DIGIT else 0.0,
        colour="white",
        radius_px=side * height / 2.0,
        digit=winner if clear else None,
    )
