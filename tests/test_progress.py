"""A bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from pipeline.runtime import progress
from pipeline.runtime.progress import Progress


class Clock:
    """tqdm's clock, set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("tqdm.std.time", made)
    return made


def test_without_a_terminal_a_line_a_minute(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Progress(total=1000, desc="shapes", unit="clip", initial=100) as bar:
        for _ in range(90):
            clock.now += 2.0
            bar.update(10)
    assert caplog.messages == [
        "shapes: 400 of 1000 clips (40 %), 5.00 clips/s, 02:00 left",
        "shapes: 700 of 1000 clips (70 %), 5.00 clips/s, 01:00 left",
        "shapes: 1000 of 1000 clips (100 %), 5.00 clips/s, 00:00 left",
    ]


def test_a_short_loop_says_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in Progress(range(50), desc="read"):
        clock.now += 1.0
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(total=2, desc="shapes") as bar:
        bar.update(2)
    assert "shapes: 100%|" in terminal.getvalue()
    assert caplog.messages == []
    assert progress.LINE_EVERY_S == 60
