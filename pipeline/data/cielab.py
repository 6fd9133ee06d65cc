"""CIELAB: colours as numbers whose distances are about as far as people see them apart (CIE 15, white point D65)."""

from __future__ import annotations

import numpy as np

TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear sRGB
WHITE_POINT = TO_XYZ.sum(axis=1)
DARK = (6 / 29) ** 3  # of white, below which lightness follows a line and not the cube root


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (…, 3) of sRGB (…, 3) in 0 to 255."""
    share = np.asarray(rgb, np.float64) / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T / WHITE_POINT
    f = np.where(xyz > DARK, np.cbrt(xyz), xyz / (3.0 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)
