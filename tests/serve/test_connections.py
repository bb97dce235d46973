"""Clients that go, stall or come in crowds; servers that stop."""

import contextlib
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bytemill.serve.app import ServeSettings
from bytemill.serve.limits import Limits
from bytemill.serve.server import Server
from tests.support.serving import PATIENT, Steps, endless_weights, events, served, until

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "hi"}]
LONG = {"messages": USER, "max_tokens": 4000, "temperature": 1}


@pytest.fixture(scope="module")
def endless():
    return endless_weights()


@pytest.fixture(scope="module")
def slow(endless):
    """A server of a model that does not stop by itself."""
    with served(endless, max_rows=2, max_waiting=1, chunk=8) as made:
        made.steps = Steps(made.engines[0])
        yield made


@pytest.fixture
def unhurried(slow):
    """Its answers take minutes: a test that is stopped for a while finds them where they were."""
    slow.steps.pause = 0.05
    yield slow
    slow.steps.pause = 0.0


@pytest.fixture(autouse=True)
def idle_again(slow):
    """No row is left behind by any test."""
    yield
    slow.steps.pause = 0.0
    slow.steps.go.set()
    until(lambda: not slow.engines[0].is_busy)
    until(lambda: json.loads(slow.get("/stats")[2])["open_answers"] == 0)


@pytest.mark.parametrize("streams", [True, False])
def test_a_closed_connection_frees_its_row(unhurried, streams):
    slow = unhurried
    counts = slow.engines[0].counts
    before = counts.cancelled
    body = json.dumps({**LONG, "stream": streams}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    made = slow.raw(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    if streams:
        assert made.recv(100).startswith(b"HTTP/1.1 200")
    until(lambda: slow.engines[0].n_active == 1)
    made.close()
    until(lambda: counts.cancelled == before + 1)
    assert slow.engines[0].n_active == 0


def test_a_full_queue_says_when_to_come_again(unhurried):
    slow = unhurried
    open_streams = [slow.stream(CHAT, **LONG) for _ in range(2)]
    until(lambda: slow.engines[0].n_active == 2)
    third = threading.Thread(target=lambda: slow.post(CHAT, {**LONG, "max_tokens": 1}))
    third.start()  # it waits
    until(lambda: slow.engines[0].n_waiting == 1)
    status, headers, data = slow.post(CHAT, LONG)
    assert (status, data["error"]["code"]) == (429, "queue_full")
    assert data["error"]["type"] == "rate_limit_error" and int(headers["retry-after"]) >= 1
    # Of several choices all begin, or none.
    assert slow.post(CHAT, {**LONG, "n": 3})[0] == 429
    assert slow.get("/health")[0] == 200
    for connection, _ in open_streams:
        connection.close()
    third.join(300)
    assert not third.is_alive()


def test_a_client_that_does_not_read_is_cut_off(endless):
    """What is not read fills buffers; at last the row's client is given up."""
    settings = ServeSettings(replace(PATIENT, write_seconds=1.0))
    with served(endless, settings) as client:
        _does_not_read(client)


def _does_not_read(slow):
    closed = json.loads(slow.get("/stats")[2])["closed_early"]
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    made.settimeout(300)
    made.connect(("127.0.0.1", slow.port))
    fields = {**LONG, "stream": True, "logprobs": True, "top_logprobs": 20}
    body = json.dumps(fields).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    made.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    until(lambda: json.loads(slow.get("/stats")[2])["closed_early"] == closed + 1)
    data = b""
    with contextlib.suppress(OSError), made:
        while part := made.recv(1 << 16):
            data += part
    assert data.startswith(b"HTTP/1.1 200") and b"[DONE]" not in data


def test_headers_and_bodies_that_never_end(endless):
    """They are closed after a second; none of them keeps others waiting."""
    limits = Limits(header_seconds=1.0, body_seconds=1.0)
    with served(endless, ServeSettings(limits)) as client:
        _never_ending(client)


def _never_ending(client):
    """Whoever asks here may be too late himself, and asks again."""
    never = client.raw(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")
    silent = client.raw(b"")
    until(lambda: client.get("/health")[0] == 200)
    assert read_all(never) == read_all(silent) == b""

    def is_kept():
        kept = client.raw(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return read_all(kept).count(b"HTTP/1.1 200") == 1

    def is_late():
        body = client.raw(
            f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        return read_all(body).startswith(b"HTTP/1.1 408")

    until(is_kept)
    until(is_late)


def test_headers_without_measure(slow):
    flood = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(1000))
    made = slow.raw(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    with made:
        answer = b""
        try:
            made.sendall(flood)
            answer = made.recv(100)
        except OSError:  # closed while it was sending
            pass
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 431")
    for request in (b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n"):
        assert read_all(slow.raw(request + b"\r\n\r\n")).startswith((b"HTTP/1.1 400", b""))
    assert slow.get("/health")[0] == 200


def read_all(made):
    with made:
        parts = []
        while part := made.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def test_oversized_bodies(slow):
    big = b'{"messages": "' + b"a" * (1 << 20) + b'"}'
    # What was declared is refused before it is read, so that sending it may fail.
    made = slow.raw(
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(big)}\r\n\r\n".encode()
    )
    assert read_all(made).startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    made = slow.raw(
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n".encode()
    )
    with made:
        try:
            for _ in range(40):
                made.sendall(chunk)
            answer = made.recv(100)
        except OSError:
            answer = b""
    assert answer[:12] in (b"", b"HTTP/1.1 413")
    assert slow.get("/health")[0] == 200


def test_health_answers_during_a_long_prompt(slow):
    """A prompt is read in chunks, in the engine's thread."""
    words = "low new the " * 600
    engine, seen = slow.engines[0], []
    step = slow.steps._step

    def steps():
        step()
        seen.append(engine._reading and engine._reading.held)
        if len(seen) == 3:
            slow.steps.go.clear()  # until others have been answered

    slow.steps._step = steps
    thread = threading.Thread(
        target=lambda: slow.post(
            CHAT, {"messages": [{"role": "user", "content": words}], "max_tokens": 1}
        )
    )
    thread.start()
    until(lambda: len(seen) == 3)
    assert engine.is_busy and seen[0] < seen[1] < seen[2]
    assert slow.get("/health")[0] == slow.get("/health")[0] == 200
    slow.steps.go.set()
    thread.join(300)
    slow.steps._step = step
    assert not thread.is_alive() and len(seen) > 100


def test_stopping_lets_answers_finish(endless):
    with served(endless) as client:
        connection, response = client.stream(CHAT, **{**LONG, "max_tokens": 400, "seed": 1})
        found = events(response)
        next(found)
        client.server.stop()
        rest = list(found)
        connection.close()
        assert rest[-1] == "[DONE]"
        finish = json.loads(rest[-2])["choices"][0]["finish_reason"]
        assert finish == "length"
    assert client.engines[0].counts.length == 1 and not client.assistant.pool.is_alive
    with pytest.raises(OSError):
        client.get("/health")


def test_stopping_has_an_end(endless):
    settings = ServeSettings(PATIENT, patience=0.0)
    with served(endless, settings) as client:
        Steps(client.engines[0]).pause = 0.05
        connection, response = client.stream(CHAT, **LONG)
        next(events(response))
        client.server.stop()
        until(lambda: not client.assistant.pool.is_alive)
        connection.close()
    assert client.engines[0].counts.cancelled == 1


def test_several_engines_share_the_work(endless):
    with served(endless, n_engines=2, max_rows=1, max_waiting=0) as client:
        steps = [Steps(engine) for engine in client.engines]
        for one in steps:
            one.go.clear()  # the first is not done before the second comes

        def answer(_):
            connection, response = client.stream(CHAT, **{**LONG, "max_tokens": 30})
            with contextlib.closing(connection):
                return list(events(response))[-1]

        with ThreadPoolExecutor(2) as threads:
            answers = threads.map(answer, range(2))
            until(lambda: sum(engine.is_busy for engine in client.engines) == 2)
            for one in steps:
                one.go.set()
            assert list(answers) == ["[DONE]"] * 2
        assert [engine.counts.new_tokens for engine in client.engines] == [30, 30]


def test_a_port_in_use(slow):
    with pytest.raises(OSError, match=f"port {slow.port} is in use"):
        Server(slow.assistant, port=slow.port)
    with pytest.raises(ValueError, match="port=65536"):
        Server(slow.assistant, port=65536)
    with pytest.raises(OSError, match=r"192\.0\.2\.1, port 0"):
        Server(slow.assistant, host="192.0.2.1", port=0)
