"""Accuracy by attribute, read from the pixels, and how far the oracle that reads them can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from pipeline.report.figures import Dot, DotRow, dot_chart
from pipeline.report.gather import ModelResult
from pipeline.report.samples import KINDS

HELD = 0.1  # of a share: what a corruption spares may lose no more than this


@dataclass(frozen=True)
class Accuracy:
    """Rows and columns of the accuracy table."""

    kinds: list[tuple[str, str]]
    attributes: list[str]
    charts: list[Markup]


@dataclass(frozen=True)
class LadderRow:
    """A corruption at one strength: (share right, mark) an attribute; a mark is fell | stayed | held | lost | none."""

    corruption: str
    strength: str
    shares: list[tuple[float, str]]


@dataclass(frozen=True)
class Ladder:
    """The corruption ladder as a table."""

    attributes: list[str]
    rows: list[LadderRow]
    clips: int


def accuracy(models: Sequence[ModelResult]) -> Accuracy | None:
    """The accuracy table; None where nothing was read from pixels."""
    keys = dict.fromkeys(key for model in models for key in model.metrics)
    kinds = [(kind, name) for kind, name in KINDS.items() if f"{kind}.joint" in keys]
    if not kinds:
        return None
    found = [key.removesuffix("_low").partition(".")[2] for key in keys if key.endswith("_low")]
    attributes = [name for name in dict.fromkeys(found) if f"{kinds[0][0]}.{name}" in keys and name != "joint"]
    return Accuracy(kinds, [*attributes, "joint"], list(_value_charts(models)))


def _value_charts(models: Sequence[ModelResult]) -> Iterator[Markup]:
    """For each attribute, a dot per value (each motion, each colour), on seen prompts."""
    tables = [model.tables["accuracy"].assign(column=c) for c, model in enumerate(models) if "accuracy" in model.tables]
    if not tables:
        return
    table = pd.concat(tables).astype({"value": str})
    table = table[(table["kind"] == "seen") & (table["value"] != "all")]
    for attribute, of_attribute in table.groupby("attribute", sort=False):
        rows = [DotRow(str(value), _dots(models, part)) for value, part in of_attribute.groupby("value", sort=False)]
        yield dot_chart(f"{str(attribute).replace('_', ' ').capitalize()}, seen prompts", rows)


def _dots(models: Sequence[ModelResult], table: pd.DataFrame) -> tuple[Dot, ...]:
    measured = zip(table["column"].astype(int), table[["share", "low", "high"]].to_numpy(float).tolist(), strict=True)
    return tuple(Dot(models[column].label, share, low, high, column) for column, (share, low, high) in measured)


def ladder(tree: Mapping[str, Any]) -> Ladder | None:
    """The corruption ladder; None where there is none.

    What a corruption breaks must have fallen at its full strength, what it spares must hold at each.
    """
    if not tree:
        return None
    real: Mapping[str, float] = tree["real"]
    full = {rung["corruption"]: rung["strength"] for rung in tree["rungs"]}  # the last of each is its strongest
    rows = [LadderRow("none", "real clips", [(float(share), "") for share in real.values()])]
    for rung in tree["rungs"]:
        shares = []
        for name, before in real.items():
            share, mark = float(rung["right"][name]), ""
            if name in rung["breaks"] and rung["strength"] == full[rung["corruption"]]:
                mark = "fell" if share < before - HELD else "stayed"
            elif name in rung["spares"]:
                mark = "held" if share >= before - HELD else "lost"
            shares.append((share, mark))
        rows.append(LadderRow(rung["corruption"], f"{rung['strength']:g}", shares))
    return Ladder(list(real), rows, int(tree["clips"]))
