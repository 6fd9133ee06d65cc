from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.gif import decode_gif
from pipeline.render import clips as render


def drifting_square(f: int = 6, side: int = 32, channels: int = 3) -> np.ndarray:
    frames = np.full((f, side, side, channels), 255, np.uint8)
    for index in range(f):
        frames[index, 8:16, 2 + 2 * index : 10 + 2 * index] = (220, 30, 30, 255)[:channels]
    return frames


def test_contact_sheet_has_a_row_per_clip_from_first_to_last_frame() -> None:
    clip = drifting_square()
    sheet = render.contact_sheet([clip, clip[::-1]], columns=3, gap=2)
    assert sheet.shape == (2 * 32 + 2, 3 * 32 + 4, 3)
    assert (sheet[:32, :32] == clip[0]).all()
    assert (sheet[:32, -32:] == clip[-1]).all()
    assert (sheet[34:, :32] == clip[-1]).all()


def test_contact_sheet_of_short_clips_leaves_the_rest_blank() -> None:
    sheet = render.contact_sheet([drifting_square(f=2)], columns=4, gap=0)
    assert (sheet[:, 64:] == 255).all()


def test_captions_stand_under_their_clips_and_are_cut_at_the_edge() -> None:
    clips = [drifting_square(side=64), drifting_square(f=3)]
    bare = render.contact_sheet(clips, columns=3)
    sheet = render.contact_sheet(clips, columns=3, captions=[["first", "w " * 300], ["second"]])
    assert sheet.shape == (64 + 2 + 32 + 3 * render.LINE_PX, 3 * 64 + 4, 3)
    assert (sheet[:64] == bare[:64]).all()
    below = 64 + 2 * render.LINE_PX + 2
    assert (sheet[below : below + 32] == bare[66:98]).all()
    dark = sheet.max(axis=2) < 128
    for top in (64, 64 + render.LINE_PX, below + 32):
        assert dark[top : top + render.LINE_PX].any()
    assert dark[64 + render.LINE_PX :][: render.LINE_PX, -40:].any()  # the long line reaches the edge
    assert not dark[:, -2:].any()  # and no further


def test_grid_places_clips_row_by_row() -> None:
    clips = np.stack([np.full((2, 4, 4, 3), value, np.uint8) for value in (10, 20, 30)])
    grid = render.clip_grid(clips, columns=2, gap=1)
    assert grid.shape == (2, 9, 9, 3)
    assert grid[0, 0, 0, 0] == 10
    assert grid[0, 0, 5, 0] == 20
    assert grid[1, 5, 0, 0] == 30
    assert grid[0, 5, 5, 0] == 255


def test_gif_and_npy_come_back(tmp_path: Path) -> None:
    clip = drifting_square()
    gif = render.write_clip(tmp_path / "a.b", clip, 10.0, "gif")
    assert gif.name == "a.b.gif"
    assert np.abs(decode_gif(gif.read_bytes(), 6).astype(int) - clip).max() < 16
    assert (np.load(render.write_clip(tmp_path / "a", clip, 10.0, "npy")) == clip).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_is_a_folder_of_frames(tmp_path: Path, channels: int) -> None:
    clip = drifting_square(channels=channels)
    folder = render.write_clip(tmp_path / "clip", clip, 10.0, "png")
    assert [path.name for path in sorted(folder.iterdir())][:2] == ["frame-000.png", "frame-001.png"]
    with Image.open(folder / "frame-003.png") as image:
        assert (np.asarray(image).reshape(clip[3].shape) == clip[3]).all()


@pytest.mark.parametrize("side", [32, 65])
def test_mp4_is_h264_that_browsers_play(tmp_path: Path, side: int) -> None:
    import av

    clip = drifting_square(side=side)
    path = render.write_clip(tmp_path / "clip", clip, 12.5, "mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(25, 2)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 6
    factor = 256 // side
    red = frames[4][8 * factor + 4 : 16 * factor - 4, 10 * factor + 4 : 18 * factor - 4].mean(axis=(0, 1))
    assert np.abs(red - (220, 30, 30)).max() < 14
    assert path.read_bytes().find(b"moov") < path.read_bytes().find(b"mdat")  # starts before it is loaded whole


def test_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'avi' is unknown; allowed: gif, mp4, png, npy"):
        render.write_clip(tmp_path / "clip", drifting_square(), 10.0, "avi")


def test_mp4_is_the_same_bytes_twice_and_takes_a_stream(tmp_path: Path) -> None:
    clip = drifting_square()
    first = render.write_clip(tmp_path / "first", clip, 10.0, "mp4").read_bytes()
    render.write_mp4(tmp_path / "second.mp4", iter(clip), 10.0)
    assert (tmp_path / "second.mp4").read_bytes() == first
