"""`bytemill download`: what it prints, how it fails, and how it ends."""

import os
import random
import signal
import subprocess
import sys

import pytest

from tests.support.faulty_server import serving, wait_until
from tests.support.programs import promptly

BODY = random.Random(1).randbytes(400_000)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files["/a_0.txt"] = BODY
        server.files["/a_1.txt"] = BODY[::-1]
        yield server


# It would wait ten minutes for a server that is silent, and the server is for five.
PATIENT = """
import sys
from bytemill.data.download.fetch import Patience
Patience.__init__.__defaults__ = (600.0, *Patience.__init__.__defaults__[1:])
from bytemill.cli.main import main
sys.exit(main())
"""


def command(server, out, *words):
    url = f"{server.url}/a_{{0..1}}.txt"
    return [sys.executable, "-m", "bytemill", "download", url, "--out", str(out), *words]


def test_what_it_prints(server, tmp_path):
    done = subprocess.run(command(server, tmp_path), capture_output=True, text=True)
    assert (done.returncode, promptly(done.stderr)) == (0, "")
    assert "2 files, 800.0 kB" in done.stdout
    assert f"validation     {tmp_path / 'a_1.txt'}" in done.stdout
    again = subprocess.run(command(server, tmp_path), capture_output=True, text=True)
    assert "nothing was missing" in again.stdout


def test_a_file_that_is_not_there(server, tmp_path):
    del server.files["/a_1.txt"]
    done = subprocess.run(command(server, tmp_path), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {server.url}/a_1.txt: the server answered 404")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
def test_ctrl_c_ends_it_within_a_second_and_keeps_what_has_come(server, tmp_path):
    server.faults["/a_0.txt"] = server.faults["/a_1.txt"] = ["silent", "silent"]
    run = subprocess.Popen(
        [sys.executable, "-c", PATIENT, *command(server, tmp_path)[3:]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell may have set Ctrl-C to be ignored by what it runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    wait_until(lambda: server.sent == len(BODY))
    part = tmp_path / ".a_0.txt.part"
    wait_until(lambda: part.exists() and part.stat().st_size)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=200)  # a second is what is promised
    assert run.returncode == 130
    # It may come after a word that it takes a while.
    assert "\ninterrupted: what has come is kept" in f"\n{said}"
    held = part.stat().st_size
    server.faults.clear()
    server.sent = 0
    subprocess.run(command(server, tmp_path), check=True, capture_output=True)
    assert (tmp_path / "a_0.txt").read_bytes() == BODY
    assert server.sent <= 2 * len(BODY) - held
