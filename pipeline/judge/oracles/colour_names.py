"""The name a person would give a colour: the nearest of the generators' named colours in CIELAB, or "unclear"."""

from __future__ import annotations

import numpy as np

from pipeline.synthetic.draw import RGB

UNCLEAR = "unclear"
TOO_FAR = 34.0  # CIELAB units to the nearest name
TOO_CLOSE = 2.5  # CIELAB units between the two nearest names' distances: no telling
NAMES = tuple(RGB)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (…, 3) of sRGB (…, 3) in 0 to 255, white point D65."""
    share = np.asarray(rgb, np.float64) / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    f = np.cbrt(linear @ TO_XYZ.T / WHITE_POINT)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def name_colours(rgb: np.ndarray) -> list[str]:
    """Names of colours (n, 3)."""
    distance = np.linalg.norm(to_lab(rgb)[:, None] - PROTOTYPES[None], axis=-1)
    order = np.sort(distance, axis=1)
    clear = (order[:, 0] < TOO_FAR) & (order[:, 1] - order[:, 0] > TOO_CLOSE)
    return [NAMES[k] if sure else UNCLEAR for k, sure in zip(distance.argmin(axis=1), clear, strict=True)]


TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE_POINT = TO_XYZ.sum(axis=1)
PROTOTYPES = to_lab(np.array(list(RGB.values()), float))
