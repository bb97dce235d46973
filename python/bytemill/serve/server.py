"""`Server`: the application on a socket."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import uvicorn

from bytemill.serve.app import ServeSettings, make_app
from bytemill.serve.assistant import Assistant
from bytemill.serve.protocol import GuardedProtocol
from bytemill.signals import handled

_LOCAL = ("localhost", "127.0.0.1", "[::1]")


class Server:
    """Serves an assistant until it is stopped; running answers finish then.

    Args:
        assistant: What answers.
        settings: How. Without `hosts`, a server that only this machine reaches goes by its local
            names.
        host: The address to listen at.
        port: 0 takes one that is free.

    Raises:
        OSError: The port is in use, or may not be used, or there is no such address.
    """

    def __init__(
        self,
        assistant: Assistant,
        settings: ServeSettings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
    ) -> None:
        settings = ServeSettings() if settings is None else settings
        self._socket = _bound(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        if settings.hosts is None and is_local(host):
            settings = replace(settings, hosts=_LOCAL)
        limits = settings.limits
        protocol = type("Protocol", (GuardedProtocol,), {"header_seconds": limits.header_seconds})
        self._server = _Uvicorn(
            uvicorn.Config(
                make_app(assistant, settings),
                http=protocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=limits.header_bytes,
                limit_concurrency=limits.connections,
                timeout_keep_alive=int(limits.header_seconds) or 1,
                timeout_graceful_shutdown=int(settings.patience) + 1,
            )
        )

    @property
    def url(self) -> str:
        """Where it is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def run(self) -> None:
        """Serves until `stop`, or SIGINT or SIGTERM where they arrive."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Ends `run`, once running answers have finished; from any thread."""
        self._server.should_exit = True

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[str]:
        """Serves in a thread within the block; yields where."""
        thread = threading.Thread(target=self.run, name="serve", daemon=True)
        thread.start()
        try:
            yield self.url
        finally:
            self.stop()
            thread.join()


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signals again in the end; here that is how a server ends."""
        with handled(self.handle_exit, signal.SIGINT, signal.SIGTERM):
            yield


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise ValueError(f"port={port}: it must be from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(1024)  # from now on clients may connect, and wait
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} is in use: stop what uses it, or name another with --port"
            raise OSError(error.errno, why, None) from None
        raise OSError(error.errno, f"{host}, port {port}: {error.strerror or error}") from None
    return made


def is_local(host: str) -> bool:
    """Whether an address is one that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
