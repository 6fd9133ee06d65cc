"""Charts as inline SVG, drawn by matplotlib: lines over a numeric axis, and shares with intervals over named rows.

One unit is one CSS pixel on a phone of 390 px, so that text keeps its size there. Colours become the page's CSS
variables (`--c0`, `--c1` … one a column of the report), so that light and dark both hold. The same numbers give the
same bytes.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from pipeline.data.frames import even_indices

WIDTH, HEIGHT = 324, 200  # px of a line chart
ROW, BAND = 14, 11  # px, of a row of the dot chart: besides its dots, and each dot
MAX_POINTS = 200  # of a line; more are thinned evenly
LEAST_GAP = 0.08  # of the width, between two labels of the x axis
COLOURS = ("#2a5bd7", "#b4560f", "#0d7f72", "#8a3ba8")
VARIABLES = {colour: f"var(--c{index})" for index, colour in enumerate(COLOURS)}
INK, SOFT, LINE = "#1b1d22", "#5c6068", "#e2dfd8"
VARIABLES |= {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)"}
STYLE = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 1.0,
    "text.color": SOFT,
    "xtick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.color": LINE,
    "ytick.labelcolor": SOFT,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 2 / 72,
    "figure.constrained_layout.w_pad": 2 / 72,
}


@dataclass(frozen=True)
class Line:
    """One line: y by x, with a 95 % interval where there is one. `colour` is the index of its column."""

    name: str
    colour: int
    y: pd.Series  # indexed by x, in order
    low: pd.Series | None = None
    high: pd.Series | None = None


@dataclass(frozen=True)
class Dot:
    """One measured share with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    colour: int


@dataclass(frozen=True)
class DotRow:
    """A named row of dots; `marks` are reference values: (name, value)."""

    name: str
    dots: tuple[Dot, ...]
    marks: tuple[tuple[str, float], ...] = ()


def line_chart(
    title: str,
    x_label: str,
    lines: Sequence[Line],
    *,
    log_y: bool = False,
    mark: tuple[str, float] | None = None,  # a name and an x, drawn as an upright line
) -> Markup:
    """Lines with axes, ready for hover; empty where no line has a point that the axis can show."""
    shown = [_drawable(line, log_y) for line in lines]
    shown = [line for line in shown if len(line.y)]
    if not shown:
        return Markup("")
    with _figure(WIDTH, HEIGHT, title) as figure:
        axes = figure.subplots()
        few = all(len(line.y) <= 12 for line in shown)
        for line in shown:
            style: dict[str, Any] = {"color": COLOURS[line.colour % len(COLOURS)], "marker": "o" if few else None}
            spread = None
            if line.low is not None and line.high is not None:
                spread = [line.y - line.low, line.high - line.y]
            axes.errorbar(line.y.index, line.y, yerr=spread, capsize=2, elinewidth=1.0, **style)
        axes.set(xlabel=x_label)
        axes.grid(axis="y")
        _scale_axes(axes, shown, log_y=log_y, few=few)
        if mark is not None:
            axes.axvline(mark[1], color=SOFT, linewidth=1.0, linestyle=(0, (3, 3)), zorder=0)
            place = ("data", "axes fraction")
            axes.annotate(mark[0], (mark[1], 1.0), (0, 2), place, textcoords="offset points", ha="center", va="bottom")
        body = _body(figure)
        return _framed(figure, title, [(line.name, line.colour) for line in shown], body, _hover(axes, x_label, shown))


def dot_chart(title: str, rows: Sequence[DotRow]) -> Markup:
    """Shares from 0 to 1, one row a name, whiskers for intervals, dashes for reference values."""
    band = max(len(row.dots) for row in rows) * BAND + ROW
    height = band * len(rows) + 24
    with _figure(WIDTH, height, title) as figure:
        axes = figure.subplots()
        for place, row in enumerate(rows):
            for _, value in row.marks:
                axes.vlines(value, place - 0.35, place + 0.35, color=SOFT, linewidth=1.5, linestyle=(0, (2, 2)))
            for number, dot in enumerate(row.dots):
                y = place + (number - (len(row.dots) - 1) / 2) * BAND / band
                colour = COLOURS[dot.colour % len(COLOURS)]
                axes.hlines(y, dot.low, dot.high, color=colour, linewidth=2.5, alpha=0.5)
                axes.plot(dot.value, y, "o", color=colour, markersize=7)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5))
        axes.set_yticks(range(len(rows)), [row.name for row in rows], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_visible(False)
        names = {dot.name: dot.colour for row in rows for dot in row.dots}
        return _framed(figure, title, list(names.items()), _body(figure))


def short(value: float) -> str:
    """A number as a person would write it on an axis."""
    if value and abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"


def _drawable(line: Line, log_y: bool) -> Line:
    y = line.y[np.isfinite(line.y) & ((line.y > 0.0) | (not log_y))]
    if len(y) > MAX_POINTS:
        y = y.iloc[even_indices(len(y), MAX_POINTS)]
    if line.low is None or line.high is None:
        return Line(line.name, line.colour, y)
    return Line(line.name, line.colour, y, line.low[y.index], line.high[y.index])


def _scale_axes(axes: Axes, lines: Sequence[Line], *, log_y: bool, few: bool) -> None:
    low, high = (function([function(line.y) for line in lines]) for function in (min, max))
    if few:
        axes.set_xticks(_apart(sorted({x for line in lines for x in line.y.index})))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,)))
        axes.yaxis.set_minor_locator(LogLocator(subs=()))
    elif low >= 0.0 and 0.3 < high <= 1.0:
        axes.set_ylim(0.0, 1.04)  # shares keep one scale from chart to chart
    elif 0.0 <= low < 0.5 * high:
        axes.set_ylim(bottom=0.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _apart(places: Sequence[float]) -> list[float]:
    """Those of the sorted places whose labels do not run into each other."""
    kept = list(places[:1])
    for place in places[1:]:
        if place - kept[-1] >= LEAST_GAP * (places[-1] - places[0]):
            kept.append(place)
    return kept


def _hover(axes: Axes, x_label: str, lines: Sequence[Line]) -> dict[str, Any]:
    """Values that the page's script shows at the nearest x: its place in px, and each line's value there."""
    table = pd.concat([line.y.groupby(level=0).last() for line in lines], axis=1).sort_index()
    places = axes.transData.transform([(x, 1.0) for x in table.index])[:, 0]
    box = axes.get_window_extent()
    values = [[None if pd.isna(y) else float(f"{y:.4g}") for y in table.iloc[:, k]] for k in range(len(lines))]
    return {
        "label": x_label,
        "top": round(axes.figure.bbox.height - box.y1, 1),
        "bottom": round(axes.figure.bbox.height - box.y0, 1),
        "px": [round(float(place), 1) for place in places],
        "x": [float(x) for x in table.index],
        "lines": [{"name": line.name, "y": found} for line, found in zip(lines, values, strict=True)],
    }


@contextmanager
def _figure(width: float, height: float, salt: str) -> Iterator[Figure]:
    """A figure of (width, height) px under the report's style; `salt` makes its ids its own."""
    style: Any = {**STYLE, "svg.hashsalt": salt}
    with mpl.rc_context(style):
        yield Figure(figsize=(width / 72, height / 72), dpi=72)


def _body(figure: Figure) -> str:
    """The inside of the figure's <svg>: no metadata, no style of its own, no ids that nothing points to."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    body = file.getvalue().partition("<svg ")[2].partition(">")[2]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|\n\s*", " ", body, flags=re.DOTALL)
    body = re.sub(r' id="[\w.]+_\d+"|font-family: [^;]*; | transform="rotate\(-0 [^)]*\)"', "", body)
    body = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, variable)
    return body


def _framed(
    figure: Figure, title: str, names: Sequence[tuple[str, int]], body: str, hover: dict[str, Any] | None = None
) -> Markup:
    """A <figure> with title, legend and picture."""
    data = f' data-hover="{escape(json.dumps(hover))}" tabindex="0"' if hover else ""
    legend = "".join(f'<span class="key c{colour}">{escape(name)}</span>' for name, colour in names)
    width, height = (72 * side for side in figure.get_size_inches())
    return Markup(
        f'<figure class="chart"><figcaption><strong>{escape(title)}</strong>'
        f'<span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}"{data}>{body}</figure>'
    )
