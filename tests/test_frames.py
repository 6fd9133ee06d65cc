import numpy as np
import pytest

from pipeline.data.frames import even_indices, frames_evenly, to_rgb


def test_grey_and_alpha_become_rgb() -> None:
    grey = np.full((1, 2, 2, 1), 90, np.uint8)
    assert (to_rgb(grey) == 90).all()
    assert to_rgb(grey).shape == (1, 2, 2, 3)
    see_through = np.zeros((1, 2, 2, 4), np.uint8)
    see_through[0, 0, 0] = (10, 20, 30, 255)
    rgb = to_rgb(see_through)
    assert rgb[0, 0, 0].tolist() == [10, 20, 30]
    assert rgb[0, 1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("n_frames", "count", "chosen"), [(16, 4, [0, 5, 10, 15]), (5, 5, [0, 1, 2, 3, 4]), (9, 1, [0]), (2, 3, [0, 0, 1])]
)
def test_even_steps_begin_with_the_first_and_end_with_the_last(n_frames: int, count: int, chosen: list[int]) -> None:
    assert even_indices(n_frames, count).tolist() == chosen
    frames = np.arange(n_frames, dtype=np.uint8).reshape(-1, 1, 1, 1)
    assert frames_evenly(frames, count).ravel().tolist() == chosen
