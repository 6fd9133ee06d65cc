"""Progress of a long loop: tqdm's bar on a terminal; elsewhere (logs, queue workers, CI) a log line a minute."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

from tqdm import tqdm

log = logging.getLogger("t2v")

LINE_EVERY_S = 60.0
LINE = "{desc}: {n_fmt} of {total_fmt}{unit} ({percentage:.0f} %), {rate_noinv_fmt}, {remaining} left{postfix}"


class Progress(tqdm):
    """tqdm, with all its arguments."""

    def __init__(self, *args: Any, unit: str = "clip", **options: Any) -> None:
        if not sys.stderr.isatty():
            unit = unit if unit == "B" else f" {unit}s"
            lines = {"mininterval": LINE_EVERY_S, "maxinterval": LINE_EVERY_S, "delay": LINE_EVERY_S, "miniters": 1}
            options |= {"file": _LogLines(), "bar_format": LINE, "leave": False, **lines}
        super().__init__(*args, unit=unit, **options)


class _LogLines(io.StringIO):
    """A file whose lines go to the log."""

    def write(self, text: str) -> int:
        if text.strip():
            log.info("%s", " ".join(text.split()))
        return len(text)
