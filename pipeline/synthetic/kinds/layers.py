"""Things that touch or overlap, drawn one over the other, soft edges between them too.

Each thing has one paint, which owns a ramp of blends with each tone below it: those of the background, and the paints
of the things behind. A pixel that two soft edges share blends with the nearer of what lies below.
"""

from __future__ import annotations

import numpy as np

from pipeline.synthetic.draw import LEVELS, MAX_PALETTE, Background, Drawing, Painted, coverage


def draw_layers(background: Background, objects: list[Painted], paints: np.ndarray) -> Drawing:
    """Draw objects, the last in front, object k all in paint k of uint8 (n, 3)."""
    n_tones, n = len(background.tones), len(objects)
    below = [n_tones + k for k in range(n)]  # tones under each object
    levels = min(LEVELS, (MAX_PALETTE - n_tones) // sum(below))
    assert levels >= 3, f"{n} things on {n_tones} tones leave {levels} levels of anti-aliasing"
    frames = len(objects[0].path)
    indices = np.repeat(background.pattern[None], frames, axis=0).astype(np.uint8)
    ground = indices.astype(int)  # which tone, or n_tones + object, shows
    _, height, width = indices.shape
    for k, item in enumerate(objects):
        first = n_tones + levels * sum(below[:k])
        covered, corner = coverage(item.shape, item.path)
        level = np.rint(covered * levels).astype(int)
        box = level.shape[1]
        for f in range(frames):
            x, y = int(corner[f, 0]), int(corner[f, 1])
            x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + box, width), min(y + box, height)
            part = level[f, y0 - y : y1 - y, x0 - x : x1 - x]
            under = ground[f, y0:y1, x0:x1]
            np.copyto(indices[f, y0:y1, x0:x1], first + under * levels + part - 1, where=part > 0, casting="unsafe")
            under[2 * part > levels] = n_tones + k
    return Drawing(indices, _palette(np.asarray(background.tones, float), paints.astype(float), levels))


def _palette(tones: np.ndarray, paints: np.ndarray, levels: int) -> np.ndarray:
    share = (np.arange(levels) + 1.0)[None, :, None] / levels
    parts = [tones]
    for k, paint in enumerate(paints):
        under = np.concatenate([tones, paints[:k]])[:, None]
        parts.append((under * (1.0 - share) + paint * share).reshape(-1, 3))
    return np.rint(np.concatenate(parts)).astype(np.uint8)
