"""Attributes that a caption leaves out: are the clips whole, and are the values that the model chose spread?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from pipeline.report.figures import Dot, DotRow, dot_chart
from pipeline.report.gather import ModelResult


@dataclass(frozen=True)
class UnsaidRow:
    """A row of the table: a metric of each model, beside another of the first one where there is one."""

    name: str
    key: str
    how: str
    style: str = "percent"
    beside: str | None = None


ROWS = (
    UnsaidRow("Clean", "unsaid.clean", "one steady object with all that is said and some value of all that is not"),
    UnsaidRow("Blank", "blank_share", "of all evaluated clips, whatever their captions say: nothing in any frame"),
    UnsaidRow("Blank in part", "part_blank_share", "the same: nothing in some frames"),
)


def unsaid_rows(models: Sequence[ModelResult]) -> list[UnsaidRow]:
    """Rows that at least one model has: the whole, then three for each attribute left out."""
    keys = dict.fromkeys(key for model in models for key in model.metrics)
    if "unsaid.clean" not in keys:
        return []
    rows = [row for row in ROWS if row.key in keys]
    for name in [key.split(".")[1] for key in keys if key.startswith("unsaid.") and key.endswith(".clear")]:
        stem, words = f"unsaid.{name}", name.replace("_", " ").capitalize()
        rows += [
            UnsaidRow(f"{words} left out: clear", f"{stem}.clear", "clips with a value that the oracle can name"),
            UnsaidRow(f"{words}: least", f"{stem}.least_ratio", "rarest value, over its share in real clips", "number"),
            UnsaidRow(
                f"{words}: most", f"{stem}.most_ratio", "commonest value, over its share in real clips", "number"
            ),
            UnsaidRow(
                f"{words}: agreement",
                f"{stem}.agreement",
                "how often two seeds of one caption give the same value",
                beside=f"{stem}.agreement_real",
            ),
        ]
    return rows


def unsaid_charts(models: Sequence[ModelResult]) -> list[Markup]:
    """For each attribute left out, how often each value was chosen, beside its share in real clips."""
    tables = [model.tables["unsaid"].assign(column=c) for c, model in enumerate(models) if "unsaid" in model.tables]
    if not tables:
        return []
    table = pd.concat(tables).astype({"value": str})
    charts = []
    for attribute, of_attribute in table.groupby("attribute", sort=False):
        rows = []
        for value, part in of_attribute.groupby("value", sort=False):
            shares = part["share"].astype(float).tolist()
            dots = tuple(
                Dot(models[column].label, share, share, share, column)
                for column, share in zip(part["column"].astype(int), shares, strict=True)
            )
            rows.append(DotRow(str(value), dots, (("real clips", float(part["real_share"].iloc[0])),)))
        charts.append(dot_chart(f"{str(attribute).replace('_', ' ').capitalize()}, left out", rows))
    return charts
