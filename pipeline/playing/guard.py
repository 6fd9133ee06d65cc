"""A guard between a browser and gradio: no path from the page reaches the file system, no other host is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'"
)
CLOSED = ("/upload", "/file=", "/file/", "/proxy=", "/stream/", "/component_server", "/deep_link", "/custom_component")


def guard(app: ASGIApp) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An ASGI app that answers this machine's own name only, closes gradio's file doors and sets the page's policy."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        asked = dict(scope["headers"]).get(b"host", b"").decode("latin-1").rsplit(":", 1)[0]
        path = scope["path"].removeprefix("/gradio_api")
        if asked not in (HOST, "localhost") or path.startswith(CLOSED):
            await PlainTextResponse("not here", 404)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await app(scope, receive, send_with_policy)

    return guarded
