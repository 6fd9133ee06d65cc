"""Names of backdrops: white, one solid tone, or dots, a grid or stripes of two tones."""

from __future__ import annotations

import numpy as np

from pipeline.data.frames import frames_evenly
from pipeline.judge.oracles.foreground import MIN_DISTANCE, Palette, background_distance

WHITE_WITHIN = 15.0  # RGB units
LOOKS = 4  # frames looked at, so that pixels behind a moving thing are seen in some


def name_background(frames: np.ndarray, palette: Palette) -> str:
    """white | solid | dots | grid | stripes | unclear, of uint8 frames (F, H, W, 3).

    A two-tone pattern is told by how much of its variance its column means and row means explain: stripes almost all
    by one of them, a grid almost all by both together, dots about half.
    """
    if len(palette.colours) == 1:
        return "white" if np.linalg.norm(palette.colours[0] - 255.0) < WHITE_WITHIN else "solid"
    chosen = frames_evenly(frames, LOOKS)
    first, second = palette.colours
    along = (chosen.astype(np.float32) - first) @ (second - first) / ((second - first) @ (second - first))
    seen = background_distance(chosen, palette.colours) < MIN_DISTANCE
    count = seen.sum(axis=0)
    tone = (along * seen).sum(axis=0) / np.maximum(count, 1)
    pattern = np.where(count > 0, (tone > 0.5).astype(float), np.nan)
    return _name_pattern(pattern)


def _name_pattern(pattern: np.ndarray) -> str:
    """Of (H, W) zeros and ones, NaN where nothing was seen."""
    variance = np.nanvar(pattern)
    if variance < 0.02:
        return "unclear"
    by_column = _variance_of_means(pattern, axis=0) / variance
    by_row = _variance_of_means(pattern, axis=1) / variance
    if max(by_column, by_row) > 0.75:
        return "stripes"
    explained = by_column + by_row
    if explained > 0.76:
        return "grid"
    return "dots" if explained > 0.4 else "unclear"


def _variance_of_means(pattern: np.ndarray, axis: int) -> float:
    count = np.isfinite(pattern).sum(axis=axis)
    means = np.nansum(pattern, axis=axis)[count > 0] / count[count > 0]
    return float(means.var())
