"""`bytemill serve` as a user starts and stops it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from tests.support.chat_runs import make_chat_run
from tests.support.programs import ROOT, call, command, is_one_line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_chat_run(tmp_path_factory.mktemp("serve") / "talker")


@contextlib.contextmanager
def started(words):
    process = subprocess.Popen(
        words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell may have set Ctrl-C to be ignored by what it runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=300)


def ask(url, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_stops_when_told(run, number):
    words = command("serve", run, "--port", 0, "--device", "cpu", "--threads", 1)
    if number == signal.SIGTERM:
        words = [sys.executable, "-m", "scripts.chat_web", *words[4:]]
    with started(words) as process:
        line = process.stdout.readline()
        url = re.fullmatch(r"talker at (http://127\.0\.0\.1:\d+)/\n", line)[1]
        fields = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "seed": 1}
        answer = ask(url, "/v1/chat/completions", fields)
        assert (answer["model"], answer["usage"]["completion_tokens"]) == ("talker", 3)
        assert ask(url, "/v1/chat/completions", fields)["choices"] == answer["choices"]
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out, err) == (0, "", "stopped\n")


def test_what_cannot_be_served(run, capsys, tmp_path, monkeypatch):
    # Whatever is not refused ends at once.
    monkeypatch.setattr("bytemill.serve.server.Server.run", lambda self: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = call(capsys, "serve", run, "--port", port, "--device", "cpu")
        assert status == 2
        is_one_line(err, f"port {port} is in use", "--port")
    (tmp_path / "empty").write_text("")
    for words, expected in (
        ([tmp_path / "nowhere"], "no checkpoint is there"),
        ([run, "--rows", 0], "--rows 0"),
        ([run, "--waiting", -1], "-1"),
        ([run, "--chunk", 0], "--chunk 0"),
        ([run, "--port", 70000, "--device", "cpu"], "--port 70000"),
        ([run, "--temperature", 3], "--temperature 3"),
        ([run, "--key-file", tmp_path / "empty"], "it is empty"),
        ([run, "--key-file", tmp_path / "none"], "No such file"),
        ([run, "--log", tmp_path / "no" / "log"], "No such file"),
    ):
        status, _, err = call(capsys, "serve", *words)
        assert status == 2, words
        is_one_line(err, expected)
    weights = next((run / "checkpoints").rglob("model.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    try:
        status, _, err = call(capsys, "serve", run, "--device", "cpu")
    finally:
        weights.write_bytes(whole)
    assert status == 2
    is_one_line(err, weights.name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [name for name in sys.modules if name.startswith("bytemill.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "bytemill.cli.serving.serve", raising=False)
    status, _, err = call(capsys, "serve", run)
    assert status == 2
    is_one_line(err, "bytemill[lm,serve]")
