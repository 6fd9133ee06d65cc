"""The GIF codec: as many frames come back as went in, exact where 256 colours suffice, within bars where they don't."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import gif
from pipeline.data.gif import decode_gif, encode_gif, frame_delay_cs, plain_pictures

ROOT = Path(__file__).resolve().parent.parent


def noise(n_frames: int = 4, side: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth colours under noise: thousands of them a frame."""
    rng = np.random.default_rng(seed)
    ramp = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1) * (255 / side)
    frames = np.concatenate([ramp, ramp[..., :1][::-1]], -1)[None] + rng.normal(0, 18, (n_frames, side, side, 3))
    return frames.clip(0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


@pytest.mark.parametrize("n_frames", [1, 2, 16])
def test_a_still_clip_keeps_its_frame_count(n_frames: int) -> None:
    still = np.repeat(noise(1), n_frames, axis=0)
    assert decode_gif(encode_gif(still, 10.0), n_frames).shape == still.shape


def test_equal_frames_come_back_where_they_were() -> None:
    few = (noise(6) // 128 * 100).astype(np.uint8)
    frames = few[[0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 5, 5]]
    np.testing.assert_array_equal(decode_gif(encode_gif(frames, 12.5), len(frames)), frames)


def test_up_to_256_colours_are_exact() -> None:
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    frames = palette[np.random.default_rng(2).integers(0, 256, (5, 32, 48))]
    np.testing.assert_array_equal(decode_gif(encode_gif(frames, 10.0), 5), frames)


def test_colours_that_differ_by_one_stay_apart() -> None:
    frames = np.full((2, 16, 16, 3), 200, np.uint8)
    frames[1, 4:8] = 201
    np.testing.assert_array_equal(decode_gif(encode_gif(frames, 10.0), 2), frames)


def test_noise_loses_less_than_the_octree_alone() -> None:
    frames = noise()
    octree = [
        np.asarray(Image.fromarray(f).quantize(256, method=Image.Quantize.FASTOCTREE).convert("RGB")) for f in frames
    ]
    ours = decode_gif(encode_gif(frames, 10.0), len(frames))
    assert psnr(ours, frames) > psnr(np.stack(octree), frames) + 2.0


def test_bytes_are_stable() -> None:
    assert encode_gif(noise(), 10.0) == encode_gif(noise(), 10.0)


@pytest.mark.parametrize(("fps", "delay"), [(10.0, 10), (12.5, 8), (25.0, 4), (8.0, 12), (50.0, 2), (100.0, 2)])
def test_delays_are_whole_centiseconds(fps: float, delay: int) -> None:
    assert frame_delay_cs(fps) == delay
    with Image.open(io.BytesIO(encode_gif(noise(2), fps))) as image:
        assert image.info["duration"] == 10 * delay


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (64, 48)])
def test_any_shape(height: int, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    assert decode_gif(encode_gif(frames, 10.0), 3).shape == frames.shape


def foreign(delays: tuple[int, ...]) -> bytes:
    """A GIF of grey frames 0, 20, 40 … with these delays in 1/100 s."""
    images = [Image.new("L", (8, 8), 20 * index) for index in range(len(delays))]
    buffer = io.BytesIO()
    images[0].save(buffer, format="GIF", save_all=True, append_images=images[1:], duration=[10 * d for d in delays])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("delays", "n_frames", "shown"),
    [
        ((0, 5, 5), 4, [0, 0, 1, 2]),
        ((7, 6, 7, 7, 6), 5, [0, 1, 2, 3, 4]),
        ((2, 1, 2, 2, 1), 5, [0, 1, 2, 3, 4]),
        ((10, 30, 10), 5, [0, 1, 1, 1, 2]),
        ((10, 10, 10, 10), 2, [0, 2]),
        ((4, 4, 65535), 16, [0] + [2] * 15),
    ],
)
def test_a_frame_is_what_is_shown_at_its_time(delays: tuple[int, ...], n_frames: int, shown: list[int]) -> None:
    frames = decode_gif(foreign(delays), n_frames)
    assert [int(frame.max()) // 20 for frame in frames] == shown


def test_transparent_pixels_are_white() -> None:
    rgba = np.zeros((2, 8, 8, 4), np.uint8)
    rgba[:, :, 4:] = (200, 30, 0, 255)
    rgba[1, 0, 4:, :3] = 90
    images = [Image.fromarray(frame) for frame in rgba]
    buffer = io.BytesIO()
    images[0].save(buffer, format="GIF", save_all=True, append_images=images[1:], duration=100, disposal=2)
    frames = decode_gif(buffer.getvalue(), 2)
    assert (frames[:, :, :4] == 255).all()
    np.testing.assert_array_equal(frames[:, :, 4:], rgba[:, :, 4:, :3])


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "PPM", "EPS", "TGA", "PCX", "PDF"])
def test_nothing_but_a_gif_is_opened(format_: str) -> None:
    """And what is said of it is the same in each run."""
    buffer = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(buffer, format=format_)
    with pytest.raises(ValueError, match=r"no GIF: it begins with b'") as error:
        decode_gif(buffer.getvalue(), 1)
    assert "0x" not in str(error.value).replace("\\x", "")
    with pytest.raises(ValueError, match="a damaged GIF"):
        decode_gif(b"GIF89a" + buffer.getvalue(), 1)


def test_a_damaged_gif_is_one_line() -> None:
    data = encode_gif(noise(3, 32), 10.0)
    rng = np.random.default_rng(0)
    said = set()
    for length in range(0, len(data) - 1, len(data) // 60):
        hurt = bytearray(data)
        hurt[length : length + 3] = rng.bytes(3)
        for bad in (data[:length], bytes(hurt)):
            try:
                decode_gif(bad, 3)
            except ValueError as error:
                said.add(str(error))
    assert len(said) > 5
    assert not any("0x" in words or "\n" in words for words in said)


SOURCES = [path for folder in ("pipeline", "stages", "bench") for path in (ROOT / folder).rglob("*.py")]
OPENS = {"pipeline/data/gif.py", "bench/loader.py"}  # our own GIFs


def test_pillow_opens_only_what_is_named() -> None:
    """No `Image.open` but in these files, with `formats=`, and no other of Pillow's readers anywhere."""
    opening = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("PIL"):
                assert not {name.name for name in node.names} & READERS, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
                opening.add(path.relative_to(ROOT).as_posix())
                formats = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "formats"]
                assert formats == ["('GIF',)"], path
    assert opening == OPENS


READERS = {"open", "ImageFile", "GifImagePlugin", "PngImagePlugin", "ImageSequence", "WalImageFile", "FontFile"}


def moving(colours: int) -> np.ndarray:
    """A square that moves over a ground of many or few colours, part of it still: what an encoder cuts frames for."""
    rng = np.random.default_rng(colours)
    frames = np.repeat(rng.integers(0, 256, (1, 24, 24, 3)) // (256 // colours) * (256 // colours), 6, axis=0)
    for f in range(6):
        frames[f, 4:10, 2 * f : 2 * f + 6] = (200, 30, 10 * f)
    return frames.astype(np.uint8)


@pytest.mark.parametrize("frames", [moving(2), moving(8), noise(5, 32), np.zeros((3, 8, 8, 3), np.uint8)])
def test_our_own_gifs_are_read_as_pillow_reads_them(frames: np.ndarray) -> None:
    data = encode_gif(frames, 12.5)
    pictures, delays = plain_pictures(data) or ([], [])
    expected, times = gif._pictures(data)
    assert delays == times
    np.testing.assert_array_equal(pictures, expected)


def test_a_picture_that_shows_the_one_before_through_is_read_as_pillow_reads_it() -> None:
    first = Image.fromarray(moving(2)[0]).quantize(4)
    second = Image.new("P", (24, 24), 255)
    second.putpalette([9, 200, 100])
    second.paste(0, (3, 5, 9, 11))
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=[second], transparency=255, duration=100, disposal=1)
    data = buffer.getvalue()
    read = plain_pictures(data)
    if read is not None:
        np.testing.assert_array_equal(read[0], gif._pictures(data)[0])
    np.testing.assert_array_equal(decode_gif(data, 2), gif._pictures(data)[0])


def test_gifs_of_others_go_to_pillow() -> None:
    interlaced, restored = io.BytesIO(), io.BytesIO()
    pictures = [Image.fromarray(frame).quantize(16) for frame in moving(8)]
    pictures[0].save(interlaced, "GIF", interlace=1)
    pictures[0].save(restored, "GIF", save_all=True, append_images=pictures[1:], duration=100, disposal=2)
    assert plain_pictures(interlaced.getvalue()) is None
    assert plain_pictures(restored.getvalue()) is None
    data = encode_gif(noise(3, 32), 10.0)
    for cut in (10, 200, len(data) // 2, len(data) - 1):
        assert plain_pictures(data[:cut]) is None
