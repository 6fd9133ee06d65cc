"""The corruption ladder: each rung lowers what it breaks, more with each step, and spares what it should spare."""

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pipeline.judge.ladder import CORRUPTIONS, STRENGTHS, Clip, climb
from pipeline.judge.oracles.shapes import read_shapes, score
from tests.test_oracles import a_set

SLACK = 0.15  # two standard errors of a share of CLIPS clips
CLIPS = 24


@cache
def ladder() -> dict[str, Any]:
    # No circles: a blurred circle is still one, while blur makes one of every other shape.
    made = a_set(shapes=("square", "triangle", "star"), backgrounds=("white", "grid"), sizes=("medium", "large"))
    rows = [made.row("val", 5 * index) for index in range(CLIPS)]
    in_play = made.description()["attributes"]
    return climb(
        np.stack([row.frames() for row in rows]),
        [row.attributes for row in rows],
        CORRUPTIONS["shapes"],
        lambda frames, truth: score(read_shapes(frames), truth, in_play),
    )


@pytest.mark.slow
def test_real_clips_stand_at_the_foot_of_the_ladder():
    assert min(ladder()["real"].values()) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", [corruption.name for corruption in CORRUPTIONS["shapes"]])
def test_a_corruption_breaks_what_it_should_and_spares_the_rest(name):
    rungs = [rung for rung in ladder()["rungs"] if rung["corruption"] == name]
    assert [rung["strength"] for rung in rungs] == list(STRENGTHS)
    for attribute in rungs[0]["breaks"]:
        steps = [ladder()["real"][attribute], *(rung["right"][attribute] for rung in rungs)]
        assert steps[-1] <= 0.25, (attribute, steps)
        assert all(after <= before + SLACK for before, after in pairwise(steps)), (attribute, steps)
    for attribute in rungs[0]["spares"]:
        steps = [rung["right"][attribute] for rung in rungs]
        assert min(steps) >= ladder()["real"][attribute] - SLACK, (attribute, steps)


@pytest.mark.parametrize("name", [corruption.name for corruption in CORRUPTIONS["shapes"]])
def test_corruptions_keep_the_clip_and_leave_the_original_alone(name):
    made = a_set()
    clips = [Clip(row.frames(), row.attributes, n) for n, row in enumerate(made.row("val", k) for k in (0, 9))]
    corruption = next(one for one in CORRUPTIONS["shapes"] if one.name == name)
    before = clips[0].frames.copy()
    spoilt = corruption.spoil(clips[0], clips[1], 1.0)
    assert spoilt.shape == before.shape
    assert spoilt.dtype == np.uint8
    assert (spoilt != before).any()
    np.testing.assert_array_equal(clips[0].frames, before)
    np.testing.assert_array_equal(corruption.spoil(clips[0], clips[1], 1.0), spoilt)
