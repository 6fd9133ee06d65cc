"""Outlines of blobs: the overlap of a soft mask with each shape of the same area, turned as the blob is.

The angle comes from the complex moment of the shape's own symmetry, E[z^n] (n = 3, 4, 5), whose phase is n times the
direction of a corner; so no search over angles or sizes is needed, and all blobs of a clip are fitted at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.judge.oracles.foreground import Blobs

SHAPES = ("circle", "square", "triangle", "star")
SYMMETRY = np.array([1, 4, 3, 5])  # corners; a circle has none
CORNER_REACH = {"circle": 1.0, "square": 1.24, "triangle": 1.2, "star": 1.1}
SHARPENING = 2.5  # slope of the mask about its half way, so that a soft edge counts where it would be if it were hard
STAR_INNER = 0.5  # radius of a star's inner corners over that of its points


@dataclass(frozen=True)
class Silhouettes:
    """One row per blob, one column per entry of SHAPES."""

    overlap: np.ndarray  # (n, 4) intersection over union, 0 to 1
    angle: np.ndarray  # (n, 4) rad, direction of a corner modulo the symmetry, x right, y down
    radius: np.ndarray  # (n, 4) px, centre to corner


def fit_silhouettes(blobs: Blobs) -> Silhouettes:
    """Fit every shape to every blob."""
    n = len(blobs)
    blob = blobs.pixel_blob
    alpha = (0.5 + SHARPENING * (blobs.pixel_alpha - 0.5)).clip(0.0, 1.0)
    area = np.maximum(_sum(alpha, blob, n), 1e-6)
    z = (blobs.pixel_x - blobs.x[blob]) + 1j * (blobs.pixel_y - blobs.y[blob])
    r, theta = np.abs(z), np.angle(z)
    radius = np.sqrt(area[:, None] / AREAS)
    angle = np.zeros((n, len(SHAPES)))
    overlap = np.zeros((n, len(SHAPES)))
    for k, symmetry in enumerate(SYMMETRY):
        if symmetry > 1:
            moment = z**symmetry * alpha
            angle[:, k] = np.arctan2(_sum(moment.imag, blob, n), _sum(moment.real, blob, n)) / symmetry
        edge = _outline(k, theta - angle[blob, k]) * radius[blob, k]
        template = (edge - r + 0.5).clip(0.0, 1.0)
        shared = _sum(np.minimum(alpha, template), blob, n)
        overlap[:, k] = shared / (2.0 * area - shared)
    return Silhouettes(overlap, angle, radius)


def corner_reach(shape: str) -> float:
    """Centre to corner of a shape, over its radius as the generators and the size words count it."""
    return CORNER_REACH[shape]


def outline_at(shape: str, theta: np.ndarray) -> np.ndarray:
    """Distance of an upright shape's outline from the centre, over its radius, at angles from x right, y down."""
    upwards = 0.0 if shape == "circle" else np.pi / 4 if shape == "square" else -np.pi / 2
    return CORNER_REACH[shape] * _outline(SHAPES.index(shape), theta - upwards)


def _outline(k: int, theta: np.ndarray) -> np.ndarray:
    """Distance of the outline from the centre at an angle from a corner, for a centre-to-corner radius of 1."""
    name, symmetry = SHAPES[k], int(SYMMETRY[k])
    if name == "circle":
        return np.ones_like(theta)
    half = np.pi / symmetry
    from_corner = np.abs((theta + half) % (2.0 * half) - half)
    inner = STAR_INNER if name == "star" else np.cos(half)
    # The edge is the straight line from the corner (1, 0) to the inner point at angle `half`.
    end_x, end_y = inner * np.cos(half), inner * np.sin(half)
    return end_y / (np.sin(from_corner) * (1.0 - end_x) + np.cos(from_corner) * end_y)


def _unit_area(k: int) -> float:
    theta = np.linspace(0.0, 2.0 * np.pi, 7201)[:-1]
    return float(np.pi * np.mean(_outline(k, theta) ** 2))


def _sum(values: np.ndarray, blob: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(blob, values, n)


AREAS = np.array([_unit_area(k) for k in range(len(SHAPES))])
