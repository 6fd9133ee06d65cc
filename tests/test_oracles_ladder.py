"""The corruption ladder: each step lowers what it breaks, more with its strength, and spares what it should."""

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pipeline.judge.ladder import CORRUPTIONS, STRENGTHS, TrueClip, run_ladder
from pipeline.judge.oracles.score_reading import score_reading
from pipeline.judge.oracles.shapes import read_shapes
from tests.test_oracles import a_set

SLACK = 0.15  # two standard errors of a share of CLIPS clips
CLIPS = 24


@cache
def ladder() -> dict[str, Any]:
    # No circles: a blurred circle is still one, while blur makes one of every other shape.
    made = a_set(shapes=("square", "triangle", "star"), backgrounds=("white", "grid"), sizes=("medium", "large"))
    rows = [made.row("val", 5 * index) for index in range(CLIPS)]
    in_play = made.description()["attributes"]
    return run_ladder(
        np.stack([row.frames() for row in rows]),
        [row.attributes for row in rows],
        CORRUPTIONS["shapes"],
        lambda frames, truth: score_reading(read_shapes(frames), truth, in_play),
    )


@pytest.mark.slow
def test_real_clips_stand_at_the_foot_of_the_ladder():
    assert min(ladder()["real"].values()) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", [corruption.name for corruption in CORRUPTIONS["shapes"]])
def test_a_corruption_breaks_what_it_should_and_spares_the_rest(name):
    table = [row for row in ladder()["rungs"] if row["corruption"] == name]
    assert [row["strength"] for row in table] == list(STRENGTHS)
    for attribute in table[0]["breaks"]:
        steps = [ladder()["real"][attribute], *(row["right"][attribute] for row in table)]
        assert steps[-1] <= 0.25, (attribute, steps)
        assert all(after <= before + SLACK for before, after in pairwise(steps)), (attribute, steps)
    for attribute in table[0]["spares"]:
        steps = [row["right"][attribute] for row in table]
        assert min(steps) >= ladder()["real"][attribute] - SLACK, (attribute, steps)


@pytest.mark.parametrize("name", [corruption.name for corruption in CORRUPTIONS["shapes"]])
def test_corruptions_keep_the_clip_and_leave_the_original_alone(name):
    made = a_set()
    clips = [TrueClip(row.frames(), row.attributes, n) for n, row in enumerate(made.row("val", k) for k in (0, 9))]
    corruption = next(one for one in CORRUPTIONS["shapes"] if one.name == name)
    before = clips[0].frames.copy()
    corrupted = corruption.corrupt(clips[0], clips[1], 1.0)
    assert corrupted.shape == before.shape
    assert corrupted.dtype == np.uint8
    assert (corrupted != before).any()
    np.testing.assert_array_equal(clips[0].frames, before)
    np.testing.assert_array_equal(corruption.corrupt(clips[0], clips[1], 1.0), corrupted)
