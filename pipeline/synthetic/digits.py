"""Pictures of real handwritten digits: from scikit-learn's package, MNIST's IDX files, or Kaggle.

Train never shares a picture with another split. MNIST's own two parts have different writers; a source of one part is
cut by position, since a writer's digits stand together there.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.config.data import MovingMnistParams
from pipeline.runtime.files import own_path
from pipeline.sources.kaggle import download
from pipeline.synthetic.idx import LabelledImages, read_idx

log = logging.getLogger("t2v")

TRAIN_SHARE = 0.8  # of a source that has no parts of its own
INK = 0.12  # share of full ink from which a pixel belongs to the digit
EDGE = (0.18, 0.72)  # ink that counts as none and as full, after enlarging: sharpens what bicubic blurs


@dataclass(frozen=True)
class DigitBank:
    """Two disjoint sets of pictures: for train, and for every other split."""

    train: LabelledImages
    other: LabelledImages

    def digest(self) -> str:
        """Equal only for the same pictures."""
        digest = hashlib.sha256()
        for part in (self.train, self.other):
            digest.update(part.images.tobytes() + part.labels.tobytes())
        return digest.hexdigest()

    def of(self, split: str) -> LabelledImages:
        return self.train if split == "train" else self.other

    def pick(self, split: str, digit: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """A picture uint8 (H, W) of a digit, and its place in the split's pictures."""
        part = self.of(split)
        places = np.flatnonzero(part.labels == digit)
        place = int(places[rng.integers(len(places))])
        return part.images[place], place


def load_digit_bank(params: MovingMnistParams) -> DigitBank:
    """The pictures that the section asks for. Raises ValueError, one line, where a digit in play has none."""
    if params.source == "digits":
        parts = {"all": _packaged()}
    elif params.source == "idx":
        assert params.path is not None
        parts = read_idx(own_path(params.path))
    else:
        parts = read_idx(download(params.slug, sha256=None, param="moving_mnist.slug"))
    bank = DigitBank(parts["train"], parts["t10k"]) if len(parts) == 2 else _cut(next(iter(parts.values())))
    for digit in params.digits:
        if not (bank.train.labels == digit).any() or not (bank.other.labels == digit).any():
            raise ValueError(f"moving_mnist.source={params.source} has too few pictures of {digit}; give more of them")
    log.info("digits: %d pictures for train, %d for the other splits", len(bank.train.labels), len(bank.other.labels))
    return bank


def _packaged() -> LabelledImages:
    from sklearn.datasets import load_digits  # slow to import

    digits = load_digits()
    return LabelledImages(np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.uint8))


def _cut(every: LabelledImages) -> DigitBank:
    first = int(TRAIN_SHARE * len(every.labels))
    return DigitBank(
        LabelledImages(every.images[:first], every.labels[:first]),
        LabelledImages(every.images[first:], every.labels[first:]),
    )


def glyph(image: np.ndarray, height_px: int) -> np.ndarray:
    """A picture uint8 (H, W), cut to its ink and enlarged until its longer side is `height_px`: float32 in [0, 1].

    The longer side may be a pixel off.
    """
    cut = np.pad(_cut_to_ink(image.astype(np.float32) / 255, INK), 2)  # so that strokes end round and not at the border
    scale = height_px / (max(cut.shape) - 4)
    ink = _enlarge(cut, scale)
    for _ in range(3):  # an edge is as soft as a pixel of the small picture is wide, so the first guess is off
        if max(ink.shape) == height_px:
            break
        scale *= height_px / max(ink.shape)
        ink = _enlarge(cut, scale)
    return ink


def _enlarge(picture: np.ndarray, scale: float) -> np.ndarray:
    width, height = (max(1, round(side * scale)) for side in picture.shape[::-1])
    large = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    low, high = EDGE
    share = np.clip((large - low) / (high - low), 0.0, 1.0)
    return _cut_to_ink(share * share * (3 - 2 * share), 1e-3)


def _cut_to_ink(picture: np.ndarray, least: float) -> np.ndarray:
    ink = picture >= least
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert len(rows), "an empty picture"
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
