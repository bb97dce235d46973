"""Servers of small models on a free port, and clients that misbehave."""

import contextlib
import http.client
import json
import socket
import threading
import time

from bytemill.chat import Renderer
from bytemill.lm.engine.engine import Engine, EngineSettings
from bytemill.lm.engine.worker import Pool, Worker
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.serve.app import ServeSettings
from bytemill.serve.assistant import Assistant
from bytemill.serve.limits import Limits
from bytemill.serve.server import Server
from tests.support.callers import calling_model
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model

TOKENIZER = chat_tokenizer()
RENDERER = Renderer(TOKENIZER)
CONTEXT = 256
# A busy machine may stop a client for seconds at any place.
PATIENT = Limits(header_seconds=300.0, body_seconds=300.0, write_seconds=300.0)


def calling_weights():
    """Of a model that calls the calculator and ends its messages."""
    return DecodingWeights(calling_model(RENDERER, CONTEXT))


def endless_weights(context_length=4096):
    """Of a model that never ends a message."""
    model = small_model("gpt", vocab_size=TOKENIZER.n_vocab, context_length=context_length)
    special = list(RENDERER.special.values())
    model.lm_head.weight.data[special] = 0.0
    # Softcapped at 15, which is where the letters a to z are.
    model.lm_head.weight.data[list(range(97, 123))] *= 5
    return DecodingWeights(model.eval().requires_grad_(False))


@contextlib.contextmanager
def served(weights, settings=None, *, n_engines=1, tokenizer=TOKENIZER, name="toy", **engine):
    """A server within the block: its `Client`, with `.assistant` and `.server`."""
    engines = [
        Engine(weights, tokenizer.n_vocab, EngineSettings(**engine)) for _ in range(n_engines)
    ]
    assistant = Assistant(name, Pool([Worker(engine) for engine in engines]), tokenizer)
    settings = settings or ServeSettings(PATIENT, patience=300.0)
    server = Server(assistant, settings, port=0)
    with server.in_thread():
        client = Client(server.port)
        client.assistant, client.server, client.engines = assistant, server, engines
        until(lambda: client.get("/health")[0] == 200)
        yield client


class Steps:
    """An engine's steps, which a test may slow down (`pause`, in seconds) or hold (`go`)."""

    def __init__(self, engine):
        self._step, self.pause, self.go = engine.step, 0.0, threading.Event()
        self.go.set()
        engine.step = self

    def __call__(self):
        self.go.wait(300)
        time.sleep(self.pause)
        self._step()


class Client:
    """Asks on connections of its own."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, body, **headers):
        """Status, headers and the JSON of the answer."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        status, found, data = self.ask("POST", path, body, headers)
        return status, found, json.loads(data)

    def ask(self, method, path, body=None, headers=None):
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def chat(self, content="hello", **fields):
        messages = fields.pop("messages", [{"role": "user", "content": content}])
        return self.post("/v1/chat/completions", {"messages": messages, **fields})

    def stream(self, path, **fields):
        """The connection, and the response whose events `events` reads."""
        connection = self.connection()
        body = json.dumps({"stream": True, **fields})
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def raw(self, data):
        """A socket after it has sent some bytes."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        made.sendall(data)
        return made


def events(response):
    """The data of a response's server-sent events."""
    for line in response:
        if line.startswith(b"data: "):
            yield line[6:].strip().decode()


def until(holds, seconds=180):
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if holds():
                return
        time.sleep(0.01)
    raise AssertionError("it did not come to hold")
