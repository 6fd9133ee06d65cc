"""Charts as inline SVG: lines over a numeric axis, and dots with whiskers over named rows.

Colours come from the page's CSS by class (`c0`, `c1` … one a column of the report), so that light and dark both hold.
Each line chart carries its points as JSON for the page's hover; each dot has a `<title>`, which needs no script.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH = 520  # px of the viewBox; the page scales it
HEIGHT = 260
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 12, 40
ROW = 34  # px, height of a row of dots
LABEL = 150  # px, room for the row names
MAX_POINTS = 400  # of a line; more are thinned evenly


@dataclass(frozen=True)
class Series:
    """One line: points (x, y) in order; `colour` is the index of its column."""

    name: str
    points: tuple[tuple[float, float], ...]
    colour: int
    dashed: bool = False


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


def line_chart(title: str, x_label: str, y_label: str, series: Sequence[Series], *, log_y: bool = False) -> Markup:
    """SVG of lines with axes, ready for hover. Points whose y a log axis cannot show are left out."""
    drawn = [_drawable(line, log_y) for line in series]
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return Markup("")
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points]
    x_axis = Axis(*_padded(min(xs), max(xs), 0.0), LEFT, WIDTH - RIGHT)
    y_axis = Axis(*_y_range(ys, log_y), HEIGHT - BOTTOM, TOP, log=log_y)
    parts = [*_grid(x_axis, y_axis, x_label, y_label)]
    for line in drawn:
        path = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline class="line c{line.colour}{" dashed" if line.dashed else ""}" points="{path}"/>')
        if len(line.points) <= 12:
            parts += [
                f'<circle class="dot c{line.colour}" cx="{x_axis.place(x):.1f}" cy="{y_axis.place(y):.1f}" r="3"/>'
                for x, y in line.points
            ]
    hover = {
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "x": [x_axis.low, x_axis.high],
        "label": x_label,
        "series": [{"name": line.name, "colour": line.colour, "points": line.points} for line in drawn],
    }
    return _svg(title, WIDTH, HEIGHT, parts, hover, [(line.name, line.colour) for line in drawn])


def dot_chart(title: str, rows: Sequence[DotRow]) -> Markup:
    """SVG of shares from 0 to 1, one row a name, whiskers for intervals, ticks for reference values."""
    height = ROW * len(rows) + 28
    axis = Axis(0.0, 1.0, LABEL, WIDTH - 30)
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = axis.place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 22}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 6}" text-anchor="middle">{tick:.0%}</text>')
    for index, row in enumerate(rows):
        parts += _dot_row(row, axis, 4 + ROW * index)
    names = {dot.name: dot.colour for row in rows for dot in row.dots}
    return _svg(title, WIDTH, height, parts, None, list(names.items()))


def _dot_row(row: DotRow, axis: Axis, top: float) -> list[str]:
    middle = top + ROW / 2
    parts = [f'<text class="row" x="{LABEL - 14}" y="{middle + 4:.1f}" text-anchor="end">{escape(row.name)}</text>']
    for name, value in row.marks:
        x = axis.place(value)
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 5:.1f}" y2="{top + ROW - 5:.1f}">'
            f"<title>{escape(name)}: {value:.1%}</title></line>"
        )
    step = min(11.0, (ROW - 12) / max(1, len(row.dots)))
    for index, dot in enumerate(row.dots):
        y = middle + step * (index - (len(row.dots) - 1) / 2)
        text = f"{dot.name}, {row.name}: {dot.value:.1%} ({dot.low:.1%} to {dot.high:.1%})"
        parts.append(
            f'<g class="c{dot.colour}"><title>{escape(text)}</title>'
            f'<line class="whisker" x1="{axis.place(dot.low):.1f}" x2="{axis.place(dot.high):.1f}"'
            f' y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle class="dot" cx="{axis.place(dot.value):.1f}" cy="{y:.1f}" r="4.5"/></g>'
        )
    return parts


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values inside the axis: powers of ten, with 2 and 5 between where there are few; or 4 to 7 steps."""
        if not self.log:
            return _linear_ticks(self.low, self.high)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 3 else (1,)
        return [m * 10.0**e for e in decades for m in steps if self.low <= m * 10.0**e <= self.high]


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _drawable(line: Series, log_y: bool) -> Series:
    kept = [(x, y) for x, y in line.points if math.isfinite(y) and (y > 0.0 or not log_y)]
    if len(kept) > MAX_POINTS:
        stride = (len(kept) - 1) / (MAX_POINTS - 1)
        kept = [kept[round(k * stride)] for k in range(MAX_POINTS)]
    return Series(line.name, tuple(kept), line.colour, line.dashed)


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    if high <= low:
        return low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    room = (high - low) * share
    return low - room, high + room


def _y_range(values: Sequence[float], log: bool) -> tuple[float, float]:
    if log:
        low, high = min(values), max(values)
        return low / 1.15, high * 1.15
    if min(values) >= 0.0 and max(values) <= 1.0 and max(values) > 0.3:
        return 0.0, 1.0  # shares keep one scale from chart to chart
    low, high = _padded(min(values), max(values), 0.06)
    return (0.0 if min(values) >= 0.0 and min(values) < 0.5 * max(values) else low), high


def _grid(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> list[str]:
    parts = []
    for tick in y_axis.ticks():
        y = y_axis.place(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    places = [x_axis.place(tick) for tick in x_axis.ticks()]
    crowded = any(b - a < 34 for a, b in pairwise(places))
    for index, (tick, x) in enumerate(zip(x_axis.ticks(), places, strict=True)):
        if not (crowded and index % 2):
            y = HEIGHT - BOTTOM + 17
            parts.append(f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{short(tick)}</text>')
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="axis" transform="rotate(-90 10 {middle})" x="10" y="{middle}" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return parts


def short(value: float) -> str:
    """A number as a person would write it on an axis."""
    if value and abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"


def _svg(
    title: str,
    width: int,
    height: float,
    parts: Sequence[str],
    hover: dict[str, object] | None,
    names: Sequence[tuple[str, int]],
) -> Markup:
    data = f' data-hover="{escape(json.dumps(hover))}" tabindex="0"' if hover else ""
    legend = "".join(f'<span class="key c{colour}">{escape(name)}</span>' for name, colour in names)
    return Markup(
        f'<figure class="chart"><figcaption><strong>{escape(title)}</strong>'
        f'<span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {width} {height:g}" role="img" aria-label="{escape(title)}"{data}>'
        f"{''.join(parts)}</svg></figure>"
    )
