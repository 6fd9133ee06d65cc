"""Prompt-following on own clips with labels: what the judge's readers say of samples, their ceiling and a control.

The ceiling is what the readers do on real clips that are held back (`oracle_on_real`, from the judge); the control is
the same samples held against other prompts' labels (`caption_shuffle`), once and as the exact mean over all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.scoring import EvaluatedPrompts
from pipeline.evaluation.shares import Share, wilson_share
from pipeline.evaluation.shuffle_control import derangement
from pipeline.judge.judge import Judge
from pipeline.judge.label_readers import Label, label_shares, score_label
from pipeline.judge.oracles.score_reading import Scores

MOST_VALUES = 20  # of an attribute that has a row for each in the table


def label_metrics(judge: Judge, evaluated: Sequence[EvaluatedPrompts], seed: int) -> dict[str, Any]:
    """Accuracy by kind of prompt and attribute, the readers' ceiling, and the control on the first kind."""
    metrics: dict[str, Any] = {}
    for each in evaluated:
        kind = each.prompts.kind
        for name, share in _shares(each.scores).items():
            metrics |= {f"{kind}.{name}": share.value, f"{kind}.{name}_low": share.low}
            metrics[f"{kind}.{name}_high"] = share.high
        metrics[f"{kind}.clips"] = sum(map(bool, each.scores))
        metrics[f"{kind}.unread"] = each.scores.count({})
        metrics[f"{kind}.failures"] = sum(scores.get("joint") is False for scores in each.scores)
    metrics |= {key: value for key, value in judge.card.metrics.items() if key.startswith("oracle_")}
    return metrics | label_control(evaluated[0], judge.card.in_play, seed)


def label_control(evaluated: EvaluatedPrompts, in_play: Mapping[str, Sequence[str]], seed: int) -> dict[str, float]:
    """Metrics `caption_shuffle.*` of the clips that can be scored; none for fewer than two."""
    rows = [row for row, scores in enumerate(evaluated.scores) if scores]
    if len(rows) < 2:
        return {}
    read = [evaluated.labels[row] for row in rows]
    wanted = [evaluated.prompts.attributes[row] for row in rows]
    others = [wanted[place] for place in derangement(len(rows), seed)]
    once = [score_label(*pair, in_play) for pair in zip(read, others, strict=True)]
    shuffled = {f"caption_shuffle.{name}": share.value for name, share in _shares(once).items()}
    return shuffled | {f"caption_shuffle.{name}_chance": value for name, value in _chance(read, wanted, in_play)}


def _chance(
    read: Sequence[Label], wanted: Sequence[Mapping[str, Any]], in_play: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, float]]:
    """The mean over all pairs of a clip with another one's labels, by attribute and jointly."""
    for called, names in {**{name: (name,) for name in in_play}, "joint": tuple(in_play)}.items():
        asked = [{name: str(each[name]) for name in names if name in each} for each in wanted]
        rows = [row for row, each in enumerate(asked) if each]
        if len(rows) < 2:
            continue
        right = 0
        for wish, count in Counter(tuple(asked[row].items()) for row in rows).items():
            right += count * sum(all(read[row][name] == value for name, value in wish) for row in rows)
        right -= sum(all(read[row][name] == value for name, value in asked[row].items()) for row in rows)
        yield called, right / (len(rows) * (len(rows) - 1))


def label_table(evaluated: EvaluatedPrompts) -> list[dict[str, Any]]:
    """A row per attribute ("all") and, where it has few, per value of it that the prompts ask for."""
    rows = [_row(evaluated, name, "all", share) for name, share in _shares(evaluated.scores).items()]
    for name in {name: None for scores in evaluated.scores for name in scores if name != "joint"}:
        by_value: dict[str, list[Scores]] = {}
        for scores, wanted in zip(evaluated.scores, evaluated.prompts.attributes, strict=True):
            if name in scores:
                by_value.setdefault(str(wanted[name]), []).append({name: scores[name]})
        if len(by_value) <= MOST_VALUES:
            rows += [_row(evaluated, name, value, _shares(by_value[value])[name]) for value in sorted(by_value)]
    return rows


def joint_share(judge: Judge, frames: np.ndarray, attributes: Sequence[Mapping[str, Any]]) -> Share | None:
    """The share of these clips (N, F, H, W, 3) that show all that was asked; None where none can be scored."""
    read = judge.read_labels(frames)
    scores = [score_label(*pair, judge.card.in_play) for pair in zip(read, attributes, strict=True)]
    return _shares(scores).get("joint")


def _shares(scores: Sequence[Scores]) -> dict[str, Share]:
    return {name: wilson_share(right, clips) for name, (right, clips) in label_shares(scores).items()}


def _row(evaluated: EvaluatedPrompts, name: str, value: str, share: Share) -> dict[str, Any]:
    counts = {"right": share.right, "clips": share.clips, "share": share.value, "low": share.low, "high": share.high}
    return {"kind": evaluated.prompts.kind, "attribute": name, "value": value, **counts}
