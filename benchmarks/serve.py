"""A server under load: many streams, time to the first token, later turns, health, abuse.

    python -m benchmarks.serve

The model has the demo's shape (4 layers of width 256, a vocabulary of 4,096, 5 million parameters)
and random weights; it is served at a free port. Clients are threads of this process, so that the
figures include theirs. Answers are sampled with seeds and as long as asked. What clients read is
compared with the engine's own text for the seed. The exit status is 1 if anything is not equal,
failed, or left a row behind.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.lm_models import ours
from benchmarks.report import table
from bytemill import Tokenizer
from bytemill.chat import SPECIAL_TOKENS, Conversation, Renderer
from bytemill.lm.engine.engine import Engine, EngineSettings
from bytemill.lm.engine.rows import Row, TextMachine
from bytemill.lm.engine.worker import Pool, Worker
from bytemill.lm.generate.replies import replies
from bytemill.lm.generate.sampling import Sampling
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.serve.assistant import Assistant
from bytemill.serve.server import Server

SHAPE = {"vocab_size": 4096, "context_length": 1024, "d_model": 256, "n_layer": 4, "n_head": 4}
_TEXT = "the of and to in a is that for it as was with be by on not he his but at are this"
WORDS = _TEXT.split()
CHAT = "/v1/chat/completions"


class Bench:
    """A served model, and its clients."""

    def __init__(self, rows: int) -> None:
        tokenizer = _tokenizer()
        self.renderer, self.n_vocab = Renderer(tokenizer), tokenizer.n_vocab
        model = ours("gpt", SHAPE)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():  # the preset begins with layers that add nothing
            for weight in model.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.02)
            # It never ends by itself, so that answers have the length asked for.
            model.lm_head.weight[list(self.renderer.special.values())] = 0
        self.weights = DecodingWeights(model.eval().requires_grad_(False))
        self.engine = Engine(
            self.weights, tokenizer.n_vocab, EngineSettings(max_rows=rows, max_waiting=1024)
        )
        self._assistant = Assistant("bench", Pool([Worker(self.engine)]), tokenizer)
        self.port = 0

    @contextmanager
    def served(self) -> Iterator[None]:
        """Within the block it is served."""
        server = Server(self._assistant, port=0)
        self.port = server.port
        with server.in_thread():
            yield

    def ask(self, body: dict[str, Any]) -> tuple[str, list[float], dict[str, Any]]:
        """Streams an answer: its text, when each piece of it came, its usage."""
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", CHAT, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text, times, usage = "", list[float](), dict[str, Any]()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {response.read()[:200]!r}")
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                if piece := choice["delta"].get("content"):
                    text += piece
                    times.append(time.perf_counter())
        connection.close()
        return text, times, usage

    def prompt(self, body: dict[str, Any]) -> list[int]:
        """A request's conversation as ids."""
        return self.renderer.prompt(Conversation.of(body["messages"]))

    def alone(self, body: dict[str, Any]) -> str:
        """The engine's own text."""
        (reply,) = replies(
            self.weights, self.renderer, [self.prompt(body)], max_new_tokens=body["max_tokens"],
            temperature=body["temperature"], top_k=50, seed=body["seed"],
        )  # fmt: skip
        return reply.message.text


def _tokenizer() -> Tokenizer:
    """4,096 ids, of made-up words."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(3000)]
    texts = [" ".join(rng.choices([*made, *WORDS], k=500)) for _ in range(200)]
    return Tokenizer.train(texts, 4096, list(SPECIAL_TOKENS))


def body(rng: random.Random, n_words: int, max_tokens: int, **fields: Any) -> dict[str, Any]:
    """A request."""
    content = " ".join(rng.choices(WORDS, k=n_words))
    messages = [{"role": "user", "content": content}]
    common = {"max_tokens": max_tokens, "temperature": 0.8, "seed": rng.randrange(2**31)}
    return {"messages": messages, **common, **fields}


def streams(bench: Bench, n: int, n_tokens: int) -> tuple[float, float, bool]:
    """n at once: tokens/s of all, p95 of the time to the first token, whether they are equal."""
    rng = random.Random(n)
    with ThreadPoolExecutor(n) as threads:  # what is prepared once for so many rows
        list(threads.map(bench.ask, [body(rng, 50, 8) for _ in range(n)]))
    bodies = [body(rng, 60, n_tokens) for _ in range(n)]
    began = time.perf_counter()
    with ThreadPoolExecutor(n) as threads:
        found = list(threads.map(bench.ask, bodies))
    seconds = time.perf_counter() - began
    new = sum(usage["completion_tokens"] for _, _, usage in found)
    first = sorted(times[0] - began for _, times, _ in found if times)
    equal = [text == bench.alone(b) for b, (text, _, _) in zip(bodies[:4], found, strict=False)]
    return new / seconds, first[int(0.95 * (len(first) - 1))], all(equal)


def arrivals(bench: Bench, n: int, n_probes: int) -> tuple[float, float]:
    """Beside n - 1 streams, answers asked for one after the other: p95 of the time to their first
    token, and four steps' time and the reading of such a prompt, as the engine alone takes it."""
    rng, done = random.Random(n), threading.Event()

    def busy(number: int) -> None:
        own = random.Random(number)
        while not done.is_set():
            bench.ask(body(own, 60, 128))

    with ThreadPoolExecutor(max(1, n - 1)) as threads:
        running = [threads.submit(busy, number) for number in range(n - 1)]
        try:
            while bench.engine.n_active < n - 1 and not any(one.done() for one in running):
                time.sleep(0.01)
            waits = []
            for _ in range(n_probes):
                began = time.perf_counter()
                _, times, _ = bench.ask(body(rng, 60, 2))
                waits.append(times[0] - began)
        finally:
            done.set()
    for one in running:
        one.result()
    waits.sort()
    prefill, step = alone(bench, n)
    return waits[int(0.95 * (n_probes - 1))], prefill + 4 * step


def alone(bench: Bench, n: int) -> tuple[float, float]:
    """Seconds of an engine without a server: for one prompt, and for a step of n rows."""
    rng = random.Random(7)
    engine = Engine(bench.weights, bench.n_vocab, EngineSettings(max_rows=n, prefix_bytes=0))

    def submit(count: int, limit: int) -> None:
        prompts = [bench.prompt(body(rng, 60, 1)) for _ in range(count)]
        engine.submit([Row(TextMachine(ids, limit), Sampling(0.8, 50)) for ids in prompts])

    prefills, steps = [], []
    for _ in range(9):
        submit(1, 1)
        began = time.perf_counter()
        engine.step()
        prefills.append(time.perf_counter() - began)
    submit(n, 100)
    while engine.n_waiting or not engine.n_active:
        engine.step()
    for _ in range(30):
        began = time.perf_counter()
        engine.step()
        steps.append(time.perf_counter() - began)
    return sorted(prefills)[4], sorted(steps)[15]


def one_after_the_other(bench: Bench, n: int, n_tokens: int) -> float:
    """Tokens/s of a client that waits for each answer: a server without batching."""
    rng = random.Random(n)
    bodies = [body(rng, 60, n_tokens) for _ in range(n)]
    began = time.perf_counter()
    new = sum(int(bench.ask(b)[2]["completion_tokens"]) for b in bodies)
    return new / (time.perf_counter() - began)


def tenth_turn(bench: Bench) -> tuple[int, int]:
    """Of a conversation's tenth turn: prompt tokens, and those that had to be read."""
    messages: list[dict[str, str]] = []
    usage: dict[str, Any] = {}
    for turn in range(10):
        messages.append({"role": "user", "content": "and then of the"})
        text, _, usage = bench.ask(
            {"messages": messages, "max_tokens": 20, "temperature": 0.8, "seed": turn}
        )
        messages.append({"role": "assistant", "content": text})
    n = usage["prompt_tokens"]
    return n, n - usage["prompt_tokens_details"]["cached_tokens"]


def health(bench: Bench, n_prompts: int) -> list[float]:
    """Seconds that /health takes while prompts of a whole context are read."""
    rng = random.Random(3)
    done = threading.Event()

    def load() -> None:
        try:
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda _: bench.ask(body(rng, 700, 2)), range(n_prompts)))
        finally:
            done.set()

    thread = threading.Thread(target=load)
    thread.start()
    found = []
    while not done.is_set():
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=60)
        connection.request("GET", "/health")
        connection.getresponse().read()
        connection.close()
        found.append(time.perf_counter() - began)
    thread.join()
    return sorted(found)


def abuse(bench: Bench, n: int, clients: int) -> dict[str, Any]:
    """n requests of so many clients, a third abandoned, a tenth malformed."""
    whole: list[tuple[dict[str, Any], str]] = []
    refused, failed = [0], list[str]()
    lock = threading.Lock()

    def one(number: int) -> None:
        rng = random.Random(number)
        asked = body(rng, rng.randint(1, 80), rng.randint(4, 40))
        try:
            if number % 10 == 9:
                status = _malformed(bench.port, rng)
                with lock:
                    refused[0] += status in (b"400", b"413", b"")
                    if status not in (b"400", b"413", b""):
                        failed.append(f"malformed: {status!r}")
            elif number % 3 == 0:
                _abandoned(
                    bench.port, {**asked, "max_tokens": 200, "stream": rng.random() < 0.7}, rng
                )
            else:
                text, _, _ = bench.ask(asked)
                with lock:
                    whole.append((asked, text))
        except Exception as error:
            with lock:
                failed.append(f"{number}: {error!r}")

    def burst(first: int, count: int) -> None:
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(one, range(first, first + count)))
        while bench.engine.is_busy:
            time.sleep(0.01)
        gc.collect()

    burst(0, n // 5)  # caches fill
    before = resident()
    burst(n // 5, n - n // 5)
    after = resident()
    unequal = sum(text != bench.alone(asked) for asked, text in whole[:: max(1, len(whole) // 100)])
    counts = bench.engine.counts
    return {
        "requests": n, "whole": len(whole), "refused": refused[0], "cancelled": counts.cancelled,
        "failed": len(failed), "unequal of 100": unequal, "rows left": bench.engine.n_active,
        "memory": f"{before / 1e6:.0f} to {after / 1e6:.0f} MB, {after / before - 1:+.1%}",
        "why": failed[:3],
    }  # fmt: skip


def _sent(port: int, data: bytes, declared: int | None = None) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=600)
    n = len(data) if declared is None else declared
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    made.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % n + data)
    return made


def _malformed(port: int, rng: random.Random) -> bytes:
    """The status of something that is no request."""
    data, declared = rng.choice(
        [(b"{", None), (b"\xff", None), (b"[" * 50_000, None), (b'{"messages": 1}', None),
         (b'{"messages": [], "x": 1}', None), (b"", 1 << 30)]
    )  # fmt: skip
    with _sent(port, data, declared) as made:
        return made.recv(4096)[9:12]


def _abandoned(port: int, asked: dict[str, Any], rng: random.Random) -> None:
    with _sent(port, json.dumps(asked).encode()) as made:
        if rng.random() < 0.5:
            made.recv(200)
        time.sleep(rng.random() * 0.3)


def resident() -> int:
    """This process' memory in bytes; 0 where it is not told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tokens", type=int, default=128, help="of an answer")
    add("--streams", type=int, nargs="+", default=[1, 4, 16, 32])
    add("--beside", type=int, default=16, help="streams, of which one begins again and again")
    add("--arrivals", type=int, default=40, help="how often")
    add("--requests", type=int, default=1000)
    add("--prompts", type=int, default=16, help="long ones, read while /health is asked")
    add("--clients", type=int, default=64)
    add("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    bench = Bench(max(32, *args.streams))
    good = True
    with bench.served():
        streams(bench, 1, 16)  # warm
        rows, one = [], 0.0
        for n in args.streams:
            speed, first, equal = streams(bench, n, args.tokens)
            one, good = one or speed, good and equal
            told = f"{speed:,.0f}", f"{speed / one:.1f}x", f"{1e3 * first:,.0f} ms"
            rows.append([str(n), *told, "yes" if equal else "NO"])
        serial = one_after_the_other(bench, 4, args.tokens)
        print(table(["streams", "tokens/s", "", "first token, p95", "equal"], rows))
        print(f"\none after the other: {serial:,.0f} tokens/s")
        most = args.beside
        wait, due = arrivals(bench, most, args.arrivals)
        print(
            f"first token beside {most - 1} streams: p95 {1e3 * wait:,.0f} ms; four steps and the "
            f"reading of its prompt take {1e3 * due:,.0f} ms"
        )
        n, read = tenth_turn(bench)
        print(f"tenth turn: {n} tokens, {read} of them read")
        waits = health(bench, args.prompts)
        p99 = waits[int(0.99 * (len(waits) - 1))]
        print(
            f"health in prefill: p50 {1e3 * waits[len(waits) // 2]:.1f} ms, p99 {1e3 * p99:.1f} ms"
        )
        found = abuse(bench, args.requests, args.clients)
        print("\n".join(f"{name}: {value}" for name, value in found.items()))
        good = good and not (found["failed"] or found["unequal of 100"] or found["rows left"])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
