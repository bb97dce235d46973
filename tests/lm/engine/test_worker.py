"""Engines in threads: workers that finish, are cancelled, chosen and left behind."""

import os
import subprocess
import sys
import threading

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.engine.engine import Engine, EngineSettings
from bytemill.lm.engine.rows import Row, TextMachine
from bytemill.lm.engine.worker import Pool, Worker
from bytemill.lm.generate.text import generate
from tests.support.engine_rows import N_VOCAB, Asked
from tests.support.faulty_server import wait_until
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import ROOT


def test_workers_finish_what_they_have_begun(plain):
    workers = [Worker(Engine(plain, N_VOCAB, EngineSettings(max_rows=4))) for _ in range(2)]
    pool = Pool(workers)
    asked = [Asked(TextMachine([1, seed], 30), {"temperature": 1.0}, seed) for seed in range(12)]
    for one in asked[:2]:  # one for each, however slowly the others come
        pool.submit([one.row])
    pool.start()
    threads = [
        threading.Thread(target=lambda part=part: [pool.submit([one.row]) for one in part])
        for part in (asked[2:7], asked[7:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.close()
    assert not pool.is_alive
    for seed, one in enumerate(asked):
        (alone,) = generate(plain, [[1, seed]], max_new_tokens=30, seed=seed)
        assert one.ids == alone
    assert all(worker.engine.counts.new_tokens for worker in workers)


def test_closing_without_patience_cancels(plain):
    pool = Pool([Worker(Engine(plain, N_VOCAB))])
    begun, ends = threading.Event(), []

    def hold(token):
        begun.set()
        wait_until(lambda: row.is_cancelled)
        return True

    row = Row(TextMachine([1], 60), on_token=hold, on_end=ends.append)
    pool.submit([row])
    pool.start()
    assert begun.wait(300)
    assert not pool.close(patience=0.0)
    assert [end.finish for end in ends] == ["cancelled"]


def test_a_worker_is_chosen_by_what_it_knows(plain):
    workers = [Worker(Engine(plain, N_VOCAB)) for _ in range(2)]
    pool = Pool(workers)
    pool.start()
    ended = threading.Event()
    workers[1].submit([Row(TextMachine([3] * 20, 2), on_end=lambda end: ended.set())])
    assert ended.wait(300)
    row = Row(TextMachine([3] * 25, 1))
    pool.submit([row])
    pool.close()
    assert row.reused == 20 and workers[1].engine.counts.new_tokens == 3


LEFT = """
import sys, threading
from bytemill.lm.engine.engine import Engine
from bytemill.lm.engine.rows import Row, TextMachine
from bytemill.lm.engine.worker import Worker
from bytemill.lm.generate.sampling import Sampling
from bytemill.lm.generate.weights import DecodingWeights
from tests.support.models import small_model

began = threading.Event()

def take(token):
    began.set()
    return True

model = small_model("gpt", vocab_size=300, context_length=512).eval()
worker = Worker(Engine(DecodingWeights(model), 300))
worker.start()
worker.submit([Row(TextMachine([1], 500), Sampling(), seed=1, on_token=take)])
sys.exit(7 if began.wait(200) else 1)
"""


def test_a_program_may_end_while_rows_run():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", LEFT], cwd=ROOT, env=environment, capture_output=True, timeout=300
    )
    assert ended.returncode == 7, ended.stderr
