"""The shapes oracle on clips drawn by the generator, and on clips that a generative model might make of them."""

from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from scipy import ndimage

from pipeline.config.data import Colour, Shape, ShapeMotion, ShapesParams
from pipeline.config.params import load_params
from pipeline.data.cielab import to_lab
from pipeline.data.shards import Row
from pipeline.judge.oracles import colour_names, silhouettes
from pipeline.judge.oracles.colour_names import name_colours
from pipeline.judge.oracles.reading import Reading
from pipeline.judge.oracles.score_reading import score_reading
from pipeline.judge.oracles.shapes import read_shapes
from pipeline.runtime.code import code_of
from pipeline.synthetic import draw
from pipeline.synthetic.shapes import ShapesSet, shapes_set

SEED = 9001  # no threshold was set on clips of this seed


def flat(union: Any) -> tuple[str, ...]:
    return tuple(word for arg in get_args(union) for word in (flat(arg) if get_args(arg) else (arg,)))


@cache
def a_set(**changes: Any) -> ShapesSet:
    section = load_params(Path(__file__).with_name("params.yaml")).shapes.model_dump() | {"seed": SEED} | changes
    return shapes_set(ShapesParams.read(section))


def everything(**changes: Any) -> ShapesSet:
    return a_set(
        shapes=flat(Shape),
        colours=flat(Colour),
        sizes=("small", "medium", "large"),
        motions=flat(ShapeMotion),
        speeds=("slow", "normal", "fast"),
        backgrounds=("white", "solid", "dots", "grid", "stripes"),
        objects=(1, 2, 3),
        **changes,
    )


def check(made: ShapesSet, row: Row, frames: np.ndarray) -> dict[str, bool | float]:
    resolution = made.params.resolution
    return score_reading(read_shapes(frames), row.attributes, made.description()["attributes"], resolution=resolution)


def rows_of(made: ShapesSet, count: int) -> list[Row]:
    return [made.row("val", index) for index in range(count)]


@pytest.mark.slow
def test_everything_in_play_is_read():
    made = everything()
    scores = [check(made, row, row.frames()) for row in rows_of(made, 200)]
    for name in ("count", "shape", "colour", "size", "motion", "speed", "background", "joint"):
        assert np.mean([score[name] for score in scores]) >= 0.995, name
    assert np.mean([score["speed_error"] for score in scores if "speed_error" in score]) < 0.02
    assert np.mean([score["identity"] for score in scores]) > 0.995
    assert np.mean([score["flicker"] for score in scores]) < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"resolution": 128}, {"resolution": 40}, {"frames": 24}])
def test_any_resolution_and_frame_count_is_read(changes):
    made = a_set(**changes)
    scores = [check(made, row, row.frames()) for row in rows_of(made, 30)]
    assert np.mean([score["joint"] for score in scores]) >= 0.97


def test_fewer_frames_of_the_same_clip_say_the_same_and_the_speed_compares():
    made = a_set()
    for row in rows_of(made, 12):
        result = check(made, row, row.frames()[[0, 3, 6, 9, 12, 15]])
        assert result["joint"], row.attributes
        assert result["speed_error"] < 0.05


def test_what_a_person_can_still_read_is_read():
    """Soft edges, a wrong shade, noise and a speck, all at once."""
    made = a_set()
    rng = np.random.default_rng(0)
    right = []
    for row in rows_of(made, 24):
        frames = ndimage.gaussian_filter(row.frames().astype(np.float32), (0, 1.0, 1.0, 0))
        frames = 0.94 * frames + 8.0 + rng.normal(0.0, 9.0, frames.shape)
        frames[3, 5:7, 50:52] = 90.0
        right.append(check(made, row, frames.round().clip(0, 255).astype(np.uint8))["joint"])
    assert np.mean(right) >= 0.95


def one_clip() -> tuple[ShapesSet, Row, np.ndarray]:
    made = a_set()
    row = made.row("val", 3)
    return made, row, row.frames()


def test_a_ghost_spoils_the_count_and_nothing_else():
    made, row, frames = one_clip()
    ghost = np.minimum(frames, (0.55 * np.roll(frames, 32, axis=2) + 0.45 * 255).astype(np.uint8))
    result = check(made, row, ghost)
    assert [name for name, right in result.items() if right is False] == ["count", "joint"]


@pytest.mark.parametrize("missing", [range(0, 16, 2), range(3, 16)])
def test_flicker_is_seen(missing):
    made, row, frames = one_clip()
    frames = frames.copy()
    frames[list(missing)] = 255
    reading = read_shapes(frames)
    assert reading.flicker >= 0.5
    assert reading.empty == len(missing) / 16
    assert not score_reading(reading, row.attributes, made.description()["attributes"])["joint"]
    assert not reading.objects or reading.objects[0].presence <= 0.5


@pytest.mark.parametrize("fill", [0, 255, "noise"])
def test_nothing_is_read_where_nothing_is(fill):
    made, row, frames = one_clip()
    rng = np.random.default_rng(0)
    empty = rng.integers(0, 256, frames.shape, np.uint8) if fill == "noise" else np.full_like(frames, fill)
    reading = read_shapes(empty)
    result = score_reading(reading, row.attributes, made.description()["attributes"])
    assert reading.count <= 0
    assert not any(value for name, value in result.items() if isinstance(value, bool) and name != "background")
    assert result["flicker"] == 1.0
    assert reading.empty == 1.0


def test_a_wrong_size_is_told():
    made = a_set(sizes=("small", "medium", "large"))
    rows = [row for row in rows_of(made, 30) if row.attributes["objects"][0]["size"] == "medium"]
    grown = [np.kron(row.frames(), np.ones((1, 2, 2, 1), np.uint8)) for row in rows]
    for row, large in zip(rows, grown, strict=True):
        assert check(made, row, row.frames())["size"]
        window = np.pad(row.frames(), ((0, 0), (32, 32), (32, 32), (0, 0)), constant_values=255)
        assert not check(made, row, window)["size"], "half as large in the picture"
        assert check(made, row, large)["size"], "the same at twice the resolution"


def test_a_thing_that_changes_its_shape_has_none():
    made, row, frames = one_clip()
    other = next(
        r
        for r in rows_of(made, 60)
        if r.attributes["objects"][0]["shape"] != row.attributes["objects"][0]["shape"]
        and r.attributes["objects"][0]["colour"] == row.attributes["objects"][0]["colour"]
    )
    mixed = np.where((np.arange(16) % 2 == 0)[:, None, None, None], frames, other.frames())
    reading = read_shapes(mixed)
    assert reading.objects[0].shape == "unclear"
    assert reading.objects[0].identity < 0.75


def test_a_jump_and_a_stop_are_no_motion():
    made, row, frames = one_clip()
    jump = np.concatenate([np.repeat(frames[:1], 8, axis=0), np.repeat(frames[-1:], 8, axis=0)])
    stop = np.concatenate([frames[:7], np.repeat(frames[6:7], 9, axis=0)])
    for clip in (jump, stop):
        result = check(made, row, clip)
        assert not result["motion"]
        assert result["shape"]
        assert result["colour"]


def test_captions_that_say_something_else_are_wrong():
    """Each attribute of the truth, changed alone, is the one that is marked wrong."""
    made, row, frames = one_clip()
    reading = read_shapes(frames)
    in_play = made.description()["attributes"]
    truth = row.attributes["objects"][0]
    others = {"shape": "star", "colour": "pink", "motion": "grow", "speed": "normal"}
    for name, value in others.items():
        result = score_reading(reading, {**row.attributes, "objects": [{**truth, name: value}]}, in_play)
        assert not result["joint"]
        assert [key for key, right in result.items() if right is False] == [name, "joint"]
    two = {**row.attributes, "objects": [truth, truth]}
    assert not score_reading(reading, two, in_play)["count"]


def test_attributes_that_captions_leave_out_are_not_scored():
    made, row, frames = one_clip()
    reading: Reading = read_shapes(frames)
    result = score_reading(reading, row.attributes, {**made.description()["attributes"], "speed": ["slow"]})
    assert "speed" not in result
    assert "size" not in result
    assert "background" not in result


@pytest.mark.parametrize(
    "clip",
    [np.zeros((3, 64, 64, 3), np.uint8), np.zeros((16, 64, 64), np.uint8), np.zeros((16, 64, 64, 3), np.float32)],
)
def test_clips_that_cannot_be_read_are_refused(clip):
    with pytest.raises(ValueError, match="cannot be read"):
        read_shapes(clip)


def test_no_oracle_knows_how_clips_are_drawn():
    assert not [name for name in code_of("judge") if name.startswith("pipeline/synthetic")]


def test_the_oracles_words_mean_what_the_generator_draws():
    """Stated twice, so that neither can follow the other's mistake; a change of one has to be made in both."""
    assert colour_names.COLOURS == draw.RGB
    assert silhouettes.CORNER_REACH == draw.CORNER_RADIUS
    assert silhouettes.STAR_INNER == draw.STAR_NOTCH
    for shape, k in draw.CORNERS.items():
        assert silhouettes.SYMMETRY[silhouettes.SHAPES.index(shape)] == k


def test_cielab_against_published_values():
    # Lindbloom's calculator, sRGB and D65.
    rgb = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]])
    lab: list[list[float]] = [
        [100, 0, 0],
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
        [0, 0, 0],
    ]
    np.testing.assert_allclose(to_lab(rgb), lab, atol=0.03)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 255), "blue"),
        ((0, 255, 0), "green"),
        ((0, 200, 0), "green"),
        ((255, 0, 0), "red"),
        ((255, 255, 0), "yellow"),
        ((148, 0, 211), "purple"),
        ((128, 0, 255), "unclear"),  # between blue and purple
        ((0, 255, 160), "unclear"),
    ],
)
def test_colours_of_a_screen_have_the_names_that_people_give_them(rgb: tuple[int, int, int], name: str) -> None:
    assert name_colours(np.array([rgb], np.uint8)) == [name]
