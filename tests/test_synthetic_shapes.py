"""Every caption true of every frame: what the captions say is measured in the decoded pixels."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.config.data import Colour, Shape, ShapeMotion
from pipeline.data.gif import decode_gif
from pipeline.synthetic.backgrounds import contrast, make_background
from pipeline.synthetic.draw import RGB, Painted, coverage, draw
from pipeline.synthetic.indexed_gif import encode_indexed_gif
from pipeline.synthetic.motion import DIRECTIONS
from pipeline.synthetic.shapes import shapes_set
from tests.synthetic_toys import Seen, centres, look, members, shapes_params, whole_grammar


@pytest.fixture(scope="module")
def clips() -> list[Seen]:
    """One-object clips of the whole grammar."""
    drawn = shapes_set(whole_grammar())
    return [look(drawn.row("train", index)) for index in range(500)]


def of_motion(clips: list[Seen], *starts: str) -> list[Seen]:
    found = [clip for clip in clips if clip.motion.startswith(starts)]
    assert len(found) >= 20
    return found


@pytest.mark.slow
def test_an_object_is_whole_in_every_frame(clips: list[Seen]) -> None:
    for clip in clips:
        outlines = np.asarray([corners(clip.thing["shape"], *place) for place in clip.path])
        assert outlines.min() >= 0.0, clip.row.key
        assert outlines.max() <= 64.0, clip.row.key
        drawn = [coverage(clip.thing["shape"], clip.path[f : f + 1])[0][0] for f in range(16)]
        whole = np.asarray([(share > 1 / 30).sum() for share in drawn])  # what is drawn where there is no edge
        assert (clip.mask.sum(axis=(1, 2)) >= 0.9 * whole).all(), (clip.row.key, clip.motion)


def test_a_trajectory_is_where_the_object_is_seen(clips: list[Seen]) -> None:
    for clip in clips:
        if clip.motion.startswith("rotate") or clip.motion in ("grow", "shrink"):
            continue
        seen = centres(clip.mask)
        assert np.abs((seen - seen[0]) - (clip.path - clip.path[0])[:, :2]).max() <= 1.3, clip.row.key
        if clip.thing["shape"] in ("circle", "square"):
            assert np.abs(seen - clip.path[:, :2]).max() <= 0.76


def test_the_background_stands_still(clips: list[Seen]) -> None:
    for clip in clips:
        never = ~clip.mask.any(axis=0)
        assert (clip.frames[:, never] == clip.frames[0, never]).all(), clip.row.key
        tones = np.asarray(sorted({tuple(pixel) for pixel in clip.frames[0, never].tolist()}))
        background = clip.row.attributes["background"]
        assert len(tones) == {"white": 1, "solid": 1}.get(background, 2)
        assert (tones == 255).all() == (background == "white")


def test_directions_are_straight_and_go_where_they_say(clips: list[Seen]) -> None:
    found = of_motion(clips, *DIRECTIONS)
    for clip in found:
        way = np.asarray(DIRECTIONS[clip.motion])
        steps = np.diff(centres(clip.mask), axis=0)
        gone = steps.sum(axis=0)
        assert gone @ way > 10.0
        assert abs(gone[0] * way[1] - gone[1] * way[0]) <= 1.5, (clip.row.key, clip.motion, gone)
        assert (steps @ way > -0.51).all()
        assert abs(gone @ way / 15 - clip.thing["speed_px"]) < 0.15
    assert {clip.motion for clip in found} == set(DIRECTIONS)


def test_bounces_turn_round_on_their_axis(clips: list[Seen]) -> None:
    for clip in of_motion(clips, "bounce"):
        along, across = centres(clip.mask).T[:: 1 if clip.motion.endswith("horizontal") else -1]
        assert np.ptp(across) <= 1.0
        assert np.ptp(along) >= 4.0
        assert np.ptp(along) < 0.65 * 15 * clip.thing["speed_px"]  # it came back


def test_zigzags_go_forward_while_they_alternate(clips: list[Seen]) -> None:
    for clip in of_motion(clips, "zigzag"):
        order = 1 if clip.motion.endswith("horizontal") else -1
        along, across = centres(clip.mask).T[::order]
        assert abs(along[-1] - along[0]) > 0.9 * np.ptp(along) > 5.0, clip.row.key
        assert np.ptp(across) >= 3.0
        turns = np.abs(np.diff(np.sign(np.diff(clip.path[:, :2].T[::order][1])))) / 2
        assert turns.sum() >= 2


def test_rotations_are_seen_and_turn_the_right_way(clips: list[Seen]) -> None:
    for clip in of_motion(clips, "rotate"):
        assert clip.thing["shape"] != "circle"
        turned = clip.path[-1, 3] - clip.path[0, 3]
        assert (turned > 0) == (clip.motion == "rotate-clockwise")
        assert abs(turned) >= 90
        period = {"square": 90, "triangle": 120, "star": 72}[clip.thing["shape"]]
        assert abs(np.diff(clip.path[:, 3])).max() < 0.35 * period  # far from where it would seem to turn back
        half = round(15 * period / 2 / abs(turned))  # the frame that is turned by half a period
        assert (clip.mask[0] != clip.mask[half]).sum() >= 0.08 * clip.mask[0].sum(), clip.row.key
        assert np.ptp(clip.path[:, :2], axis=0).max() == 0


def test_growing_and_shrinking_are_plain(clips: list[Seen]) -> None:
    for clip in of_motion(clips, "grow", "shrink"):
        side = np.sqrt(clip.mask.sum(axis=(1, 2)))
        assert (side[-1] / side[0] if clip.motion == "grow" else side[0] / side[-1]) >= 1.5, clip.row.key
        said = " ".join(clip.row.captions)
        assert not any(f"{word} {clip.thing['colour']}" in said for word in ("small", "medium-sized", "large"))


def test_a_still_clip_has_equal_frames_and_all_of_them(clips: list[Seen]) -> None:
    for clip in of_motion(clips, "still"):
        assert len(clip.frames) == 16
        assert (clip.frames == clip.frames[0]).all()


def test_the_middle_of_an_object_has_its_colour(clips: list[Seen]) -> None:
    for clip in clips:
        x, y = clip.path[:, 0].astype(int), clip.path[:, 1].astype(int)
        colours = [tuple(pixel) for pixel in clip.frames[np.arange(16), y, x]]
        assert colours[0] == RGB[clip.thing["colour"]], clip.row.key
        assert colours[-1] == RGB[clip.thing.get("colour_to", clip.thing["colour"])]
        assert (len(set(colours)) > 1) == (clip.motion == "change-colour")


def test_speed_words_never_overlap(clips: list[Seen]) -> None:
    ranges: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        speed = clip.thing["speed"]
        if speed is None:
            assert clip.motion in ("still", "change-colour")
        elif clip.motion.startswith("rotate"):
            ranges["turn"][speed].append(abs(clip.path[-1, 3] - clip.path[0, 3]))
        elif clip.motion in ("grow", "shrink"):
            ranges["growth"][speed].append(abs(math.log(clip.path[-1, 2] / clip.path[0, 2])))
        else:
            ranges["move"][speed].append(np.hypot(*np.diff(clip.path[:, :2], axis=0).T).mean())
    for kind in ("turn", "growth", "move"):
        slow, normal, fast = (ranges[kind][word] for word in ("slow", "normal", "fast"))
        assert 1.05 * max(slow) < min(normal), kind
        assert 1.05 * max(normal) < min(fast), kind


def test_size_words_never_overlap(clips: list[Seen]) -> None:
    radii = defaultdict(list)
    for clip in clips:
        radii[clip.thing["size"]].append(clip.thing["radius_px"])
    assert 1.1 * max(radii["small"]) < min(radii["medium"])
    assert 1.1 * max(radii["medium"]) < min(radii["large"])


@pytest.mark.parametrize("shape", members(Shape))
@pytest.mark.parametrize("angle", [0.0, 17.0, -100.0])
def test_coverage_agrees_with_another_rasteriser(shape: str, angle: float) -> None:
    path = np.array([[31.3, 30.8, 9.2, angle]])
    covered, corner = coverage(shape, path)
    mine = np.zeros((64, 64))
    x, y = corner[0]
    mine[y : y + covered.shape[1], x : x + covered.shape[2]] = covered[0]
    fine = Image.new("L", (1024, 1024))
    ImageDraw.Draw(fine).polygon([(16 * px, 16 * py) for px, py in corners(shape, *path[0])], fill=255)
    theirs = np.asarray(fine.resize((64, 64), Image.Resampling.BOX)) / 255
    assert abs(mine - theirs).max() < 0.4  # a sharp corner's pixel is the farthest off
    assert abs(mine - theirs).sum() < 0.05 * theirs.sum()


def corners(shape: str, x: float, y: float, radius: float, angle: float) -> list[tuple[float, float]]:
    """The outline by plain trigonometry, clockwise from the top."""
    spec = {
        "circle": (90, [1.0]),
        "square": (4, [1.24]),
        "triangle": (3, [1.2]),
        "star": (10, [1.1, 0.55]),
    }
    n, radii = spec[shape]
    first = 45.0 if shape == "square" else 0.0
    found = []
    for k in range(n):
        a = math.radians(angle + first + 360 * k / n)
        r = radius * radii[k % len(radii)]
        found.append((x + r * math.sin(a), y - r * math.cos(a)))
    return found


def test_shapes_fill_their_boxes_differently() -> None:
    fill = {}
    for shape in members(Shape):
        covered, _ = coverage(shape, np.array([[32.0, 32.0, 9.2, 0.0]]))
        solid = covered[0] > 0.5
        box = np.ptp(np.flatnonzero(solid.any(0))) + 1, np.ptp(np.flatnonzero(solid.any(1))) + 1
        fill[shape] = solid.sum() / (box[0] * box[1])
    assert fill["square"] > 0.97 > 0.85 > fill["circle"] > 0.74 > 0.6 > fill["triangle"] > 0.5 > fill["star"]


def test_a_gif_returns_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    paths = [np.array([[20.0 + 2 * f, 20.0, 6.0, 0.0] for f in range(9)]), np.tile([40.0, 50.0, 7.0, 30.0], (9, 1))]
    paints = np.arange(30, dtype=np.uint8).reshape(10, 3) * 8
    objects = [Painted("star", paths[0], np.arange(9)), Painted("square", paths[1], np.full(9, 9))]
    for name in ("white", "solid", "dots", "grid", "stripes"):
        drawing = draw(make_background(name, ["red"], 64, rng), objects, paints)
        gif = encode_indexed_gif(drawing.indices, drawing.palette, 10.0)
        assert (decode_gif(gif, 9) == drawing.frames()).all(), name
    noise = rng.integers(0, 256, (5, 33, 47), dtype=np.uint8)
    noise[3] = noise[2]
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    assert (decode_gif(encode_indexed_gif(noise, palette, 12.5), 5) == palette[noise]).all()


def test_colours_are_well_apart_and_off_every_background() -> None:
    names = members(Colour)
    apart = [contrast(RGB[a], RGB[b]) for i, a in enumerate(names) for b in names[:i]]
    assert min(apart) > 35
    rng = np.random.default_rng(0)
    for colour in names:
        for name in ("white", "solid", "dots", "grid", "stripes"):
            tones = make_background(name, [colour, "black", "yellow"], 64, rng).tones
            assert all(contrast(RGB[colour], tone) > 30 for tone in tones)


def test_several_objects_stay_apart_and_are_all_named() -> None:
    drawn = shapes_set(whole_grammar((2, 3)))
    counts: Counter[int] = Counter()
    for index in range(60):
        row = drawn.row("train", index)
        things = row.attributes["objects"]
        counts[len(things)] += 1
        assert len({(thing["shape"], thing["colour"]) for thing in things}) == len(things)
        for caption in row.captions:
            assert all(thing["colour"] in caption and thing["shape"] in caption for thing in things)
        mask = look(row).mask
        for f in (0, 5, 10, 15):
            assert pieces(mask[f]) == len(things), (row.key, f)
    assert set(counts) == {2, 3}


def pieces(mask: np.ndarray) -> int:
    """Connected parts (8 neighbours)."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    count = 0
    while left:
        count += 1
        todo = [left.pop()]
        while todo:
            y, x = todo.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo.extend(near)
    return count


@pytest.mark.parametrize(("resolution", "frames"), [(32, 8), (96, 24), (24, 4)])
def test_another_canvas_or_length_looks_the_same(resolution: int, frames: int) -> None:
    drawn = shapes_set(shapes_params(resolution=resolution, frames=frames))
    for index in range(30):
        clip = look(drawn.row("val", index))
        gone = np.diff(centres(clip.mask)[[0, -1]], axis=0)[0] @ np.asarray(DIRECTIONS[clip.motion])
        low, high = {"slow": (0.16, 0.27), "fast": (0.44, 0.6)}[clip.thing["speed"]]
        assert clip.frames.shape == (frames, resolution, resolution, 3)
        assert low < gone / resolution < high, clip.thing


def test_whole_grammar_covers_its_values(clips: list[Seen]) -> None:
    assert {clip.motion for clip in clips} == set(members(ShapeMotion))
    assert {clip.thing["colour"] for clip in clips} == set(members(Colour))
    assert {clip.row.attributes["background"] for clip in clips} == {"white", "solid", "dots", "grid", "stripes"}
