"""uvicorn's HTTP/1.1, with an end to waiting for headers, and a way to cut a connection off."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

_open: weakref.WeakValueDictionary[tuple[str, int], GuardedProtocol] = weakref.WeakValueDictionary()


class GuardedProtocol(H11Protocol):
    """Closes connections whose request's headers do not come in time."""

    header_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection."""
        super().connection_made(transport)
        if self.client is not None:
            _open[self.client] = self
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:  # the next request's first bytes
            self._wait()

    def cut(self) -> None:
        """Ends the connection at once, with whatever was still to be sent."""
        cast("Any", self.transport).abort()

    def _wait(self) -> None:
        self._stop()
        self._timer = self.loop.call_later(self.header_seconds, self._late)

    def _late(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def cut(client: object) -> None:
    """Ends the connection of an ASGI scope's `client`."""
    if isinstance(client, (tuple, list)):
        protocol = _open.get(cast("tuple[str, int]", tuple(client)))
        if protocol is not None:
            protocol.cut()
