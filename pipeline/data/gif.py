"""One captioned clip, and its GIF bytes.

Frames are uint8 (F, H, W, C) here and in files. A GIF keeps 256 colours a frame and whole-centisecond delays; equal
consecutive frames, which encoders merge, come back by their duration, so a clip returns as many frames as went in.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

GOOD_MSE = 255**2 / 10**3.8  # 38 dB: what an octree's palette reaches on easy frames
DEFAULT_DELAY_MS = 100  # what players make of a delay of 0
DAMAGE = (OSError, IndexError, AssertionError, struct.error, Image.DecompressionBombError)  # as Pillow says it
EXTENSION, GRAPHIC_CONTROL, TRAILER, INTERLACED = 0x21, 0xF9, 0x3B, 0x40  # of GIF89a
PACK = np.array([1 << 16, 1 << 8, 1], np.int32)  # a pixel as one number
SHIFTS = np.array([16, 8, 0])


@dataclass(frozen=True)
class Clip:
    """A captioned video. `attributes` is empty for real video and the ground truth for a generated one."""

    key: str
    split: str
    captions: tuple[str, ...]
    frames: np.ndarray  # uint8 (F, H, W, 3)
    fps: float
    source: str
    attributes: dict[str, Any] = field(default_factory=dict)


def frame_delay_cs(fps: float) -> int:
    """The GIF delay, in whole 1/100 s, nearest to `fps`."""
    return max(2, round(100 / fps))


def encode_gif(frames: np.ndarray, fps: float) -> bytes:
    """GIF bytes of uint8 frames (F, H, W, 3), each with its own palette of up to 256 colours."""
    assert frames.dtype == np.uint8, frames.dtype
    assert frames.ndim == 4, frames.shape
    assert frames.shape[-1] == 3, frames.shape
    images = [_quantise(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=10 * frame_delay_cs(fps),
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _quantise(frame: np.ndarray) -> Image.Image:
    """A palette image: exact where 256 colours suffice, else an octree's palette, mended where it loses too much."""
    pixels = frame.reshape(-1, 3)
    colours, index = np.unique(pixels @ PACK, return_inverse=True)
    if len(colours) <= 256:
        return _indexed(index, (colours[:, None] >> SHIFTS & 255).astype(np.uint8), frame.shape)
    octree = Image.fromarray(frame).quantize(256, method=Image.Quantize.FASTOCTREE)
    palette = np.array(octree.getpalette(), np.uint8).reshape(-1, 3)
    index = np.asarray(octree).reshape(-1)
    if _squared_error(pixels, palette[index]).mean() / 3 <= GOOD_MSE:
        return octree
    return _indexed(*_refined(pixels, index, palette), frame.shape)


def _refined(pixels: np.ndarray, index: np.ndarray, palette: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One round of k-means (Lloyd 1982), colours without pixels moved to the worst ones: +3 dB. Exact in float32."""
    palette = _means(pixels, index, palette)
    unused = np.flatnonzero(np.bincount(index, minlength=256) == 0)
    if len(unused):
        palette[unused] = pixels[_largest(_squared_error(pixels, palette[index]), len(unused))]
    colours = palette.astype(np.float32)
    nearness = pixels.astype(np.float32) @ (2 * colours.T)  # |x - c|² less |x|², negated; integers below 2²⁴
    nearness -= (colours**2).sum(1)
    index = nearness.argmax(1)
    return index, _means(pixels, index, palette)


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest of whole numbers, largest first, of equal ones the first."""
    ranks = values.astype(np.int64) * len(values) + np.arange(len(values))[::-1]  # no two alike
    some = np.argpartition(ranks, len(values) - count)[len(values) - count :]
    return some[np.argsort(-ranks[some])]


def _means(pixels: np.ndarray, index: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """uint8 (256, 3): the mean of each colour's pixels, or the colour itself where it has none."""
    counts = np.bincount(index, minlength=256)[:, None]
    sums = np.stack([np.bincount(index, weights=pixels[:, channel], minlength=256) for channel in range(3)], axis=1)
    padded = np.pad(palette, ((0, 256 - len(palette)), (0, 0)))
    return np.where(counts > 0, np.rint(sums / np.maximum(counts, 1)), padded).astype(np.uint8)


def _squared_error(pixels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """(N,) summed over the channels."""
    return np.square(pixels.astype(np.int32) - shown).sum(1)


def _indexed(index: np.ndarray, palette: np.ndarray, shape: tuple[int, ...]) -> Image.Image:
    image = Image.frombytes("P", (shape[1], shape[0]), index.astype(np.uint8).tobytes())
    image.putpalette(palette.tobytes())
    return image


def decode_gif(data: bytes, n_frames: int) -> np.ndarray:
    """uint8 (n_frames, H, W, 3) of our own GIF, or of one that a decoder process has read without harm.

    What is shown at i·D/n, D being all delays together, so that merged frames come back; transparent pixels are white.
    Raises ValueError where it is no GIF or a damaged one.
    """
    pictures, delays = plain_pictures(data) or _pictures(data)
    ends = np.cumsum(delays)
    moments = -(-np.arange(n_frames) * ends[-1] // n_frames)  # rounded up to 1/100 s, as delays of 15 fps are
    return np.stack([pictures[index] for index in np.searchsorted(ends, moments, side="right")])


def _pictures(data: bytes) -> tuple[list[np.ndarray], list[int]]:
    """All pictures uint8 (H, W, 3), and how long each is shown in 1/100 s."""
    pictures, delays = [], []
    with _open_gif(data) as image:
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            pictures.append(_on_white(image))
            delays.append((image.info.get("duration") or DEFAULT_DELAY_MS) // 10)
    return pictures, delays


def plain_pictures(data: bytes) -> tuple[list[np.ndarray], list[int]] | None:
    """The same in half the time, for GIFs as this project writes them; None for all others and for damaged ones.

    Such a one has a first picture that fills the screen, a delay before each, no interlacing and none that goes away.
    """
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        shared, place = _colours(data, 13, flags)
        canvas = np.zeros((0, 0, 3), np.uint8)
        pictures: list[np.ndarray] = []
        delays: list[int] = []
        control: tuple[int, int, int] | None = None  # flags, delay, transparent index
        while data[place] != TRAILER:
            if data[place] == EXTENSION:
                if data[place + 1] == GRAPHIC_CONTROL:
                    control = struct.unpack_from("<BHB", data, place + 3)
                place = _after_blocks(data, place + 2)
                continue
            left, top, w, h, flags = struct.unpack_from("<HHHHB", data, place + 1)
            own, place = _colours(data, place + 10, flags)
            palette = shared if own is None else own
            fills = (left, top, w, h) == (0, 0, width, height)
            if data[place] < 2 or control is None or palette is None or flags & INTERLACED or not control[1]:
                return None
            is_cut = bool(control[0] & 1)  # its transparent pixels show the picture before
            if (
                control[0] >> 2 & 7 > 1
                or (not pictures and (is_cut or not fills))
                or left + w > width
                or top + h > height
            ):
                return None
            end = _after_blocks(data, place + 1)
            image = Image.frombytes("P", (w, h), data[place + 1 : end], "gif", data[place], 0, -1)
            index, under = np.asarray(image), canvas[top : top + h, left : left + w]
            shown = (_padded(palette) if is_cut else palette).take(index, axis=0)
            if is_cut:
                np.copyto(shown, under, where=(index == control[2])[..., None])
            if fills:
                canvas = shown
            else:
                canvas = canvas.copy()
                canvas[top : top + h, left : left + w] = shown
            pictures.append(canvas)
            delays.append(control[1])
            place, control = end, None
    except (ValueError, IndexError, struct.error):
        return None
    return (pictures, delays) if pictures else None


def _colours(data: bytes, place: int, flags: int) -> tuple[np.ndarray | None, int]:
    """A colour table uint8 (n, 3), if `flags` say that there is one, and the place after it."""
    if not flags & 0x80:
        return None, place
    count = 2 << (flags & 7)
    return np.frombuffer(data, np.uint8, 3 * count, place).reshape(-1, 3), place + 3 * count


def _padded(palette: np.ndarray) -> np.ndarray:
    """With a row for each index there can be: a transparent one needs none of its own."""
    return np.concatenate([palette, np.zeros((256 - len(palette), 3), np.uint8)])


def _after_blocks(data: bytes, place: int) -> int:
    """The place after a chain of data blocks, each headed by its length."""
    while data[place]:
        place += data[place] + 1
    return place + 1


@contextmanager
def _open_gif(data: bytes) -> Iterator[Image.Image]:
    """Pillow below 12.3 has known holes, and moviepy wants Pillow below 12: nothing but GIF is opened by it."""
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        raise ValueError(f"no GIF: it begins with {data[:8]!r}")
    try:
        with Image.open(io.BytesIO(data), formats=("GIF",)) as image:
            yield image
    except UnidentifiedImageError:  # whose words hold an address, other in each run
        raise ValueError("a damaged GIF: its header cannot be read") from None
    except DAMAGE as error:
        raise ValueError(f"a damaged GIF: {error or type(error).__name__}") from None


def _on_white(image: Image.Image) -> np.ndarray:
    if image.mode != "RGBA" and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    ground = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB"))
