"""Shares of clips that are right, with Wilson intervals, and means: the scores of single clips as metric keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from pipeline.judge.oracles.score_reading import Scores


@dataclass(frozen=True)
class Share:
    """`right` of `clips`, with the 95 % Wilson interval."""

    right: int
    clips: int
    value: float
    low: float
    high: float


def wilson_share(right: int, clips: int) -> Share:
    """Wilson's score interval (1927): honest near 0 and 1 and for few clips. Raises ValueError for none."""
    if clips == 0:
        raise ValueError(f"{right} right of {clips} clips: a share needs at least one clip")
    interval = binomtest(right, clips).proportion_ci(method="wilson")
    return Share(right, clips, right / clips, float(interval.low), float(interval.high))


def attribute_shares(scores: Sequence[Scores]) -> dict[str, Share]:
    """Of each bool that every clip has a score for."""
    names = [name for name in scores[0] if all(isinstance(clip.get(name), bool) for clip in scores)]
    return {name: wilson_share(sum(bool(clip[name]) for clip in scores), len(scores)) for name in names}


def float_means(scores: Sequence[Scores]) -> dict[str, float]:
    """Of each float, over the clips that have it."""
    names = dict.fromkeys(name for clip in scores for name, value in clip.items() if not isinstance(value, bool))
    return {name: float(np.mean([clip[name] for clip in scores if name in clip])) for name in names}


def flat_scores(prefix: str, scores: Sequence[Scores], *, intervals: bool = True) -> dict[str, float]:
    """Metric keys of a set of scores: `prefix.colour`, `prefix.colour_low`, `prefix.speed_error` …"""
    flat: dict[str, float] = {}
    for name, share in attribute_shares(scores).items():
        flat |= flat_share(f"{prefix}.{name}", share) if intervals else {f"{prefix}.{name}": share.value}
    return flat | {f"{prefix}.{name}": value for name, value in float_means(scores).items()}


def flat_share(key: str, share: Share) -> dict[str, float]:
    """Metric keys of a share with its interval."""
    return {key: share.value, f"{key}_low": share.low, f"{key}_high": share.high}
