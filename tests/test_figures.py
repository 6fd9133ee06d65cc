"""Charts: what they leave out, what they say to a pointer, and that they are the same bytes each time."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from pipeline.report import curves, figures
from pipeline.report.gather import ModelResult, Run

CURVE = pd.Series([0.6, 0.9, 0.92], index=[1.0, 2.0, 3.0])


def hover(chart: str) -> dict[str, Any]:
    found = re.search(r'data-hover="([^"]+)"', chart)
    assert found is not None
    return json.loads(html.unescape(found[1]))


def texts(chart: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart)


def test_points_that_a_log_axis_cannot_show_are_left_out() -> None:
    y = pd.Series([1.0, 0.0, 0.01, float("nan")], index=[1.0, 2.0, 3.0, 4.0])
    assert hover(figures.line_chart("Loss", "step", [figures.Line("a", 0, y)], log_y=True))["x"] == [1.0, 3.0]
    assert figures.line_chart("Loss", "step", [figures.Line("a", 0, y[:0])]) == ""


def test_a_pointer_is_told_each_line_at_the_place_where_it_is_drawn() -> None:
    other = pd.Series([0.2], index=[3.0])
    chart = figures.line_chart("Share", "x", [figures.Line("a", 0, CURVE), figures.Line("b", 1, other)])
    told = hover(chart)
    assert told["lines"] == [{"name": "a", "y": [0.6, 0.9, 0.92]}, {"name": "b", "y": [None, None, 0.2]}]
    path = re.search(r'd="M ([\d.]+) [\d.]+ +L ([\d.]+) [\d.]+ +L ([\d.]+) [\d.]+ *"[^>]*var\(--c0\)', chart)
    assert path is not None
    assert told["px"] == pytest.approx([float(x) for x in path.groups()], abs=0.2)


def test_a_chart_is_the_same_bytes_without_a_date_and_lives_in_a_page() -> None:
    def draw() -> str:
        return figures.line_chart("A < b", "x", [figures.Line("<i>", 0, CURVE, CURVE - 0.1, CURVE + 0.01)])

    assert draw() == draw()
    body = draw().replace("xlink:href", "href")
    ElementTree.fromstring(body)  # well formed, names escaped
    assert not re.search(r"<style|<metadata|#[0-9a-f]{6}\b|DejaVu|20\d\d-\d\d", body)
    ids = set(re.findall(r' id="([^"]+)"', body))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', body)) == ids


def test_charts_of_one_page_have_ids_of_their_own() -> None:
    charts = [figures.line_chart(title, "x", [figures.Line("a", 0, CURVE)]) for title in ("One", "Two")]
    ids = [set(re.findall(r' id="([^"]+)"', chart)) for chart in charts]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_text_is_as_large_as_a_phone_needs() -> None:
    chart = figures.line_chart("One", "x", [figures.Line("a", 0, CURVE)])
    assert figures.WIDTH <= 324  # px of a chart on a screen of 390 px: nothing is scaled down
    assert {float(size) for size in re.findall(r"font-size: ([\d.]+)px", chart)} == {11.0}


def test_shares_keep_one_scale_and_labels_do_not_run_into_each_other() -> None:
    y = pd.Series([0.5, 0.4, 0.4, 0.3], index=[0.1, 0.9, 0.95, 0.99])
    shown = texts(figures.line_chart("One", "t", [figures.Line("a", 0, y)]))
    assert {"0", "1"} <= set(shown)
    assert "0.9" in shown
    assert "0.95" not in shown


def test_the_default_is_marked_and_intervals_are_drawn() -> None:
    table = pd.DataFrame({"value": [1.0, 2.0, 3.0], "joint": [0.6, 0.9, 0.92], "distance": [5.0, 4.0, 3.0]})
    table = table.assign(low=table["joint"] - 0.1, high=table["joint"] + 0.05, seconds_per_clip=0.1)
    model = ModelResult("U-Net", "unet", {"seen.clips": 600}, (), {"guidance": table}, {})
    params = {"sampling": {"guidance_scale": 2.0}, "evaluate": {"curve_prompts": 96}}
    run = Run("this run", params, {}, (model,), {})
    charts = curves.sampling_charts([run])
    titles = [re.search("<strong>([^<]+)", chart)[1] for chart in charts]  # type: ignore[index]
    assert titles == ["All right by guidance scale", "Fréchet distance by guidance scale"]
    assert all("default" in texts(chart) for chart in charts)
    assert "Each point is of 96 clips" in curves.sampling_note([run])
    whiskers = [len(re.findall(r"var\(--c0\)", chart)) for chart in charts]
    assert whiskers[0] > whiskers[1]


def test_validation_is_the_mean_over_noise_levels() -> None:
    table = pd.DataFrame({"step": [5, 5, 10, 10], "t": [0.1, 0.9, 0.1, 0.9], "loss": [1.0, 3.0, 1.0, None]})
    model = ModelResult("U-Net", "unet", {}, (), {}, {"val": table})
    (chart,) = curves.learning_charts([model])
    assert "Validation: loss, U-Net" in chart
    assert hover(chart)["lines"][0]["y"] == [2.0, 1.0]


def test_many_points_are_thinned_with_both_ends_kept() -> None:
    y = pd.Series(range(1, 6001), index=range(6000), dtype=float)
    told = hover(figures.line_chart("One", "x", [figures.Line("a", 0, y)]))
    assert (len(told["x"]), told["x"][0], told["x"][-1]) == (figures.MAX_POINTS, 0.0, 5999.0)
