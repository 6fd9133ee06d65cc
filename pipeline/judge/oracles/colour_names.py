"""The name a person would give a colour: the nearest of eleven in CIELAB, or "unclear".

The colours are the oracle's own list and not the generator's: what is drawn in another red is no longer read as red.
"""

from __future__ import annotations

import numpy as np

from pipeline.data.cielab import to_lab

UNCLEAR = "unclear"
TOO_FAR = 34.0  # CIELAB units to the nearest name
TOO_CLOSE = 2.5  # CIELAB units between the two nearest names' distances: no telling
COLOURS = {  # sRGB
    "red": (222, 38, 38),
    "green": (36, 158, 64),
    "blue": (38, 78, 222),
    "yellow": (246, 208, 24),
    "orange": (247, 130, 16),
    "purple": (152, 44, 164),
    "cyan": (20, 196, 214),
    "pink": (250, 128, 190),
    "brown": (130, 70, 20),
    "black": (18, 18, 18),
    "gray": (108, 108, 108),
}
# Colours of a screen, as many programs draw, that are too far from those above; and CIELAB units around each.
PURE = {"blue": ((0, 0, 255), 14.0), "green": ((0, 255, 0), 28.0)}
NAMES = tuple(COLOURS)
PROTOTYPES = to_lab(np.array(list(COLOURS.values()), float))
PURE_PROTOTYPES = to_lab(np.array([rgb for rgb, _ in PURE.values()], float))
PURE_WITHIN = np.array([within for _, within in PURE.values()])


def name_colours(rgb: np.ndarray) -> list[str]:
    """Names of colours (n, 3)."""
    distance = np.linalg.norm(to_lab(rgb)[:, None] - PROTOTYPES[None], axis=-1)
    order = np.sort(distance, axis=1)
    clear = (order[:, 0] < TOO_FAR) & (order[:, 1] - order[:, 0] > TOO_CLOSE)
    found = [NAMES[k] if sure else UNCLEAR for k, sure in zip(distance.argmin(axis=1), clear, strict=True)]
    is_pure = np.linalg.norm(to_lab(rgb)[:, None] - PURE_PROTOTYPES[None], axis=-1) < PURE_WITHIN
    return [tuple(PURE)[pure.argmax()] if pure.any() else name for name, pure in zip(found, is_pure, strict=True)]
