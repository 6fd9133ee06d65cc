"""Shares, controls and keys of scores, against published values, brute force and exact cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.params import load_params
from pipeline.evaluation.scoring import speed_between_real
from pipeline.evaluation.shares import wilson_share
from pipeline.evaluation.shuffle_control import derangement, exact_chance

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("clips", [12, 96, 600, 1000])
def test_an_interval_holds_its_share_to_the_last_bit(clips: int) -> None:
    for right in (0, 1, clips - 1, clips):
        share = wilson_share(right, clips)
        assert share.low <= share.value <= share.high


def test_wilson_against_published_intervals() -> None:
    # Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for (right, clips), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        share = wilson_share(right, clips)
        assert (share.low, share.high) == pytest.approx((low, high), abs=6e-5)
    with pytest.raises(ValueError, match="at least one clip"):
        wilson_share(0, 0)


def test_600_prompts_give_four_points() -> None:
    share = wilson_share(300, load_params(ROOT / "tests/params.yaml").evaluate.prompts)
    assert (share.high - share.low) / 2 < 0.0401


@pytest.mark.parametrize("n", [2, 3, 17])
def test_nothing_keeps_its_place_in_a_derangement(n: int) -> None:
    order = derangement(n, seed=3)
    assert sorted(order) == list(range(n))
    assert (order != np.arange(n)).all()
    assert (order == derangement(n, seed=3)).all()


def test_chance_is_the_mean_over_all_other_prompts() -> None:
    rng = np.random.default_rng(0)
    readings, wanted = rng.integers(0, 4, 40).tolist(), rng.integers(0, 4, 40).tolist()

    def score(reading: int, want: int) -> dict[str, bool | float]:
        return {"joint": reading == want, "parity": reading % 2 == want % 2, "speed_error": 0.5}

    found = exact_chance(readings, wanted, score, reading_key=lambda r: r, wanted_key=lambda w: w)
    pairs = [(i, j) for i in range(40) for j in range(40) if i != j]
    for name in ("joint", "parity"):
        by_hand = np.mean([score(readings[i], wanted[j])[name] for i, j in pairs])
        assert found[name] == pytest.approx(by_hand)
    assert set(found) == {"joint", "parity"}


def test_speeds_are_compared_between_clips_of_the_same_words_only() -> None:
    def clip(motion: str, speed: str | None, *speeds: float) -> dict[str, Any]:
        return {"objects": [{"motion": motion, "speed": speed, "speed_px": each} for each in speeds]}

    alike = [clip("left", "slow", 1.0), clip("left", "slow", 2.0)]
    others = [clip("left", "fast", 9.0), clip("up", "slow", 5.0), clip("still", None, 0.0), clip("left", "slow", 7, 7)]
    assert speed_between_real(alike + others) == {"real_pairs.speed_error": pytest.approx((1.0 / 2.0 + 1.0 / 1.0) / 2)}
    assert speed_between_real(others) == {}
