"""A Kaggle on 127.0.0.1 for the real client: `KAGGLE_API_ENVIRONMENT=LOCALHOST` and HTTP_PROXY lead it here.

Each data set answers its downloads from a list, one entry a request, the last one again and again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

MODIFIED = "Mon, 02 Mar 2020 10:00:00 GMT"


@dataclass(frozen=True)
class Answer:
    """How one GET of a data set's zip is answered."""

    status: int = 200
    body: bytes | None = None  # None: the data set's own
    cut_at: int | None = None  # the connection ends when this many bytes of the file have gone out
    stall_at: int | None = None  # … or hangs
    declared: int | None = None  # a Content-Length that is not the body's
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class DataSet:
    body: bytes = b""
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    api_status: int = 200  # of the call before the redirect
    api_headers: Mapping[str, str] = field(default_factory=dict)


class FakeKaggle:
    """`with FakeKaggle() as kaggle:` serves `kaggle.sets["owner/name"]`; `kaggle.transfers` lists (slug, Range)."""

    def __init__(self) -> None:
        self.sets: dict[str, DataSet] = {}
        self.transfers: list[tuple[str, str | None]] = []
        self.sent: list[tuple[str, int]] = []  # (slug, body bytes that went out), one per finished answer
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FakeKaggle:
        self.thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def environment(self, home: Path, *, credentials: bool = True) -> dict[str, str]:
        """Variables under which the real client, in a process of its own, talks to this server only."""
        dropped = ("NO_PROXY", "no_proxy", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY")
        environment = {key: value for key, value in os.environ.items() if key not in dropped}
        proxy = f"http://127.0.0.1:{self.server.server_address[1]}"
        environment |= {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "HTTP_PROXY": proxy, "http_proxy": proxy}
        environment |= {"HOME": str(home), "KAGGLE_CONFIG_DIR": str(home / ".kaggle"), "DVC_ROOT": str(home)}
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
        if credentials:
            environment |= {"KAGGLE_USERNAME": "someone", "KAGGLE_KEY": "secret"}
        return environment


def _handler(kaggle: FakeKaggle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            if not self.path.endswith("/datasets.DatasetApiService/DownloadDataset"):
                self._plain(404, b"{}")
                return
            slug = f"{call['ownerSlug']}/{call['datasetSlug']}"
            if call.get("datasetVersionNumber"):
                slug += f"/{call['datasetVersionNumber']}"
            found = kaggle.sets.get(slug)
            if found is None or found.api_status != 200:
                self._plain(found.api_status if found else 404, b"no", found.api_headers if found else {})
                return
            self._plain(302, b"", {"Location": f"http://localhost/storage/{slug}"})

        def do_GET(self) -> None:
            slug = urlsplit(self.path).path.removeprefix("/storage/")
            found, asked = kaggle.sets[slug], self.headers.get("Range")
            kaggle.transfers.append((slug, asked))
            answer = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            body = found.body if answer.body is None else answer.body
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and answer.status == 200 else 0
            self.send_response(206 if start else answer.status)
            usual = {"ETag": '"first"', "Accept-Ranges": "bytes", "Last-Modified": MODIFIED}
            for name, value in ((usual if answer.status == 200 else {}) | dict(answer.headers)).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str((answer.declared or len(body)) - start))
            self.end_headers()
            self._send(slug, body, start, answer)

        def _send(self, slug: str, body: bytes, start: int, answer: Answer) -> None:
            stop = next((at for at in (answer.cut_at, answer.stall_at) if at is not None), len(body))
            try:
                self.wfile.write(body[start:stop])
                self.wfile.flush()
            except OSError:  # the client had seen enough
                return
            kaggle.sent.append((slug, max(0, stop - start)))
            while answer.stall_at is not None and not kaggle.closing.is_set():
                time.sleep(0.02)
            if answer.cut_at is not None:
                self.close_connection = True

        def _plain(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return Handler
