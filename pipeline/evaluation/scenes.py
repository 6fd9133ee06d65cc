"""Accuracy by kind of scene (one thing, two, several, relations, counts …), each beside what it must not be.

Keys are `counts.seen.joint`, `counts.held_out.joint` and so on. Beside each: the oracle's own score on the real clips
(`oracle_joint`), the same samples held against the opposite caption (`swapped`: the relation exchanged, one more or
less, the order turned round) and against other captions of the kind (`shuffled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.evaluation.scoring import EvaluatedPrompts, Oracle, share_row
from pipeline.evaluation.shares import attribute_shares, flat_scores
from pipeline.evaluation.shuffle_control import derangement
from pipeline.judge.oracles.score_reading import Scores
from pipeline.judge.oracles.world.score import kind_of, swapped


def scene_metrics(
    judge: Oracle,
    evaluated: EvaluatedPrompts,
    real: Sequence[Scores] | None,  # of the prompts' own clips, where they are known
    seed: int,
) -> dict[str, Any]:
    """Metrics of one set of prompts by kind of scene."""
    metrics: dict[str, Any] = {}
    for name, rows in _rows_by_kind(evaluated).items():
        prefix = f"{name}.{evaluated.prompts.kind}"
        scores = [evaluated.scores[row] for row in rows]
        metrics |= flat_scores(prefix, scores)
        metrics[f"{prefix}.clips"] = len(rows)
        metrics[f"{prefix}.failures"] = sum(not each["joint"] for each in scores)
        if real is not None:
            metrics[f"{prefix}.oracle_joint"] = _joint([real[row] for row in rows])
        metrics |= {f"{prefix}.{control}": share for control, share in _controls(judge, evaluated, rows, seed).items()}
        for number, clips in _by_count(evaluated, rows).items():
            metrics[f"{prefix}.exact_{number}"] = attribute_shares(clips)["count"].value
    return metrics


def scene_table(evaluated: EvaluatedPrompts) -> list[dict[str, Any]]:
    """Rows of the accuracy table: an attribute's share by kind of scene, and that of each number of things."""
    table = []
    for name, rows in _rows_by_kind(evaluated).items():
        kind, scores = f"{name}.{evaluated.prompts.kind}", [evaluated.scores[row] for row in rows]
        table += [share_row(kind, attribute, "all", scores) for attribute in attribute_shares(scores)]
        for number, clips in _by_count(evaluated, rows).items():
            table.append(share_row(kind, "count", str(number), clips))
    return table


def _rows_by_kind(evaluated: EvaluatedPrompts) -> dict[str, list[int]]:
    """Rows of the prompts by kind of scene, in order."""
    found: dict[str, list[int]] = {}
    for row, attributes in enumerate(evaluated.prompts.attributes):
        found.setdefault(kind_of(attributes), []).append(row)
    return found


def _controls(judge: Oracle, evaluated: EvaluatedPrompts, rows: Sequence[int], seed: int) -> dict[str, float]:
    """Shares of the clips that fit the opposite of their captions, and another clip's caption."""
    wanted = [evaluated.prompts.attributes[row] for row in rows]
    readings = [evaluated.readings[row] for row in rows]
    controls: dict[str, list[dict[str, Any]]] = {"swapped": [each for each in map(swapped, wanted) if each]}
    if len(rows) > 1:
        controls["shuffled"] = [wanted[place] for place in derangement(len(rows), seed)]
    return {
        name: _joint([judge.score_reading(*pair) for pair in zip(readings, others, strict=True)])
        for name, others in controls.items()
        if others
    }


def _joint(scores: Sequence[Scores]) -> float:
    return attribute_shares(scores)["joint"].value


def _by_count(evaluated: EvaluatedPrompts, rows: Sequence[int]) -> dict[int, list[Scores]]:
    """Scores by the number that captions count to, ascending; empty of other kinds."""
    counted: dict[int, list[Scores]] = {}
    for row in rows:
        if (number := evaluated.prompts.attributes[row].get("count")) is not None:
            counted.setdefault(number, []).append(evaluated.scores[row])
    return dict(sorted(counted.items()))
