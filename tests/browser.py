"""Chromium without a window, driven over its debugging pipe: pages, taps, scripts and screenshots."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

PUT_AT_3_AND_4 = """import os, sys
os.dup2(int(sys.argv[1]), 3), os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])"""


class Page:
    """A tab. `events` holds what the browser reported since the last `open`: console messages, exceptions, requests."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._count, self._session = to_browser, from_browser, 0, ""
        self._read_ahead = b""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._read_ahead:
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has gone"
            self._read_ahead += more
        message, _, self._read_ahead = self._read_ahead.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, path: Path, *, width: int, height: int = 844, touch: bool = False) -> None:
        """Load a file in a viewport of (width, height) px, and wait for all of it."""
        self.events.clear()
        mobile = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.send("Emulation.setDeviceMetricsOverride", **mobile)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        done = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def tap(self, selector: str) -> None:
        """A finger on the middle of an element."""
        script = f"""(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();
            return [b.x + b.width / 2, b.y + b.height / 2]; }})()"""
        x, y = self.run(script)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def settle(self) -> None:
        """Wait until the page has stood still for a quarter of a second."""
        self.run("""new Promise((done) => { let last = NaN, still = 0; const look = () => {
            still = scrollY === last ? still + 1 : 0; last = scrollY;
            still > 15 ? done() : requestAnimationFrame(look); }; look(); })""")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the viewport, or of the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


def _above(lowest: int, descriptor: int) -> int:
    """The same file under a number that the browser's own 3 and 4 cannot hit."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest + 1)
    os.close(descriptor)
    return moved


@contextmanager
def browser_page(folder: Path) -> Iterator[Page]:
    """A fresh browser with its profile in `folder`; ended with all its children."""
    assert BROWSER is not None
    (browser_reads, we_write), (we_read, browser_writes) = ([_above(9, end) for end in os.pipe()] for _ in range(2))
    ends = (str(browser_reads), str(browser_writes))
    with (folder / "browser.log").open("wb") as log:
        browser = subprocess.Popen(
            [sys.executable, "-c", PUT_AT_3_AND_4, *ends, BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
            stdout=log,
            stderr=log,
            pass_fds=(browser_reads, browser_writes),
            start_new_session=True,
        )
    os.close(browser_reads)
    os.close(browser_writes)
    try:
        yield Page(we_write, we_read)
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
        os.close(we_write)
        os.close(we_read)
