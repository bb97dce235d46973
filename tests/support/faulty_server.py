"""A server on the loopback interface that fails in the ways that servers do."""

import contextlib
import hashlib
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SILENCE_SECONDS = 300


class FaultyServer(ThreadingHTTPServer):
    """Serves `files`; `faults` are, by path, what to do wrong with the next requests, in order.

    A fault is a status code, or: "short" (half of the body, then the end), "silent" (half of it,
    then nothing until the server ends), "no_range" (Range is ignored), "lying_range" (another part
    than was asked for, called the right one), "extra" (more than was said).
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[object]] = defaultdict(list)
        self.headers: dict[str, dict[str, str]] = defaultdict(dict)
        self.redirects: dict[str, str] = {}
        self.after_fault: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.has_etags = True
        self.ended = threading.Event()
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that goes away is not an error here."""


class _Handler(BaseHTTPRequestHandler):
    server: FaultyServer

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, path = self.server, self.path
        server.requests[path] += 1
        server.seen.append((path, dict(self.headers)))
        fault = server.faults[path].pop(0) if server.faults[path] else None
        if path in server.redirects:
            self._head(302, {"Location": server.redirects[path], "Content-Length": "0"})
            return
        body = server.files.get(path)
        if body is None:
            self._head(404, {"Content-Length": "0"})
            return
        if isinstance(fault, int):
            self._head(fault, {"Content-Length": "0"})
            return
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        headers = {"ETag": etag} if server.has_etags else {}
        if wanted and fault != "no_range" and if_range in (None, etag):
            first = int(wanted[1])
            if first >= len(body):
                self._head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            part = body[first - 1 : -1] if fault == "lying_range" else body[first:]
            self._head(206, {**headers, "Content-Length": str(len(part))})
        else:
            part = body
            self._head(200, {**headers, "Content-Length": str(len(part))})
        if fault in ("short", "silent"):
            part = part[: len(part) // 2]
        if path in server.after_fault and fault is not None:
            server.files[path] = server.after_fault.pop(path)
        for at in range(0, len(part), 1 << 16):
            self.wfile.write(part[at : at + (1 << 16)])
            server.sent += len(part[at : at + (1 << 16)])
        if fault == "silent":
            self.wfile.flush()
            server.ended.wait(SILENCE_SECONDS)

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in {**headers, **self.server.headers[self.path]}.items():
            self.send_header(name, value)
        self.end_headers()


@contextlib.contextmanager
def serving() -> Iterator[FaultyServer]:
    """A server while the block runs."""
    with FaultyServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def wait_until(condition, seconds=120.0):
    """Waits for something that another thread or process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
