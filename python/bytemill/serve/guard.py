"""What every request passes: host, origin and key; and the headers of every response."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bytemill.serve.errors import ApiError
from bytemill.serve.metrics import Metrics
from bytemill.serve.shapes import dumped

OPEN_PATHS: Final = ("/", "/health", "/favicon.ico")
"""What is shown without a key: nothing of the model."""
_COUNTED: Final = (
    "/", "/health", "/stats", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/completions",
)  # fmt: skip
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class Guard:
    """Refuses what has no business here, and counts.

    Args:
        app: What is behind it.
        metrics: Where requests are counted.
        key: What clients must send as `Authorization: Bearer KEY`; None for nothing.
        hosts: The names by which the server may be called; None, or "*" among
            them, for any. With names a page of
            another site cannot reach it by a name of its own (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, key: str | None, hosts: Collection[str] | None
    ) -> None:
        self._app, self._metrics = app, metrics
        names = None if hosts is None or "*" in hosts else hosts
        self._hosts = None if names is None else {host.lower() for host in names}
        # Of one length whatever is sent, so that comparing takes one time.
        self._key = None if key is None else _digest(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        path = scope["path"]
        counted = path if path in _COUNTED else "other"

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests[counted, message["status"]] += 1
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(path, Headers(scope=scope))
        except ApiError as error:
            await refuse(error, watched)
            return
        await self._app(scope, receive, watched)

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise ApiError(421, f"the server is not called {host[:100]!r}", code="unknown_host")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise ApiError(403, f"pages of {origin[:100]!r} may not ask", code="foreign_origin")
        if self._key is None or path in OPEN_PATHS:
            return
        kind, _, key = headers.get("authorization", "").partition(" ")
        # Headers are Latin-1; the key may be any text.
        given = _digest(key.strip().encode("latin-1", "replace"))
        if not hmac.compare_digest(given, self._key) or kind.lower() != "bearer":
            raise ApiError(
                401,
                "a key is needed: Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


async def refuse(error: ApiError, send: Send) -> None:
    """Sends an error."""
    body = dumped(error.to_dict())
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **error.headers,
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _name(host: str) -> str:
    """A host without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
