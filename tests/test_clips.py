"""The GIF codec: as many frames come back as went in, exact where 256 colours suffice, within bars where they don't."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.data.gif import decode_gif, encode_gif, fit_frame_count, frame_delay_cs


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


def test_a_short_clip_holds_its_last_frame() -> None:
    frames = noise(3)
    held = fit_frame_count(frames, 5)
    np.testing.assert_array_equal(held[2], held[4])
    np.testing.assert_array_equal(fit_frame_count(frames, 2), frames[:2])


def test_only_gifs_are_opened() -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(buffer, format="PNG")
    with pytest.raises(Image.UnidentifiedImageError):
        decode_gif(buffer.getvalue(), 1)
