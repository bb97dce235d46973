"""Children that are killed at their work, and what they do."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import torch

from bytemill import Counts, Tokenizer, files
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.optim.groups import OptimConfig, build_optimizers
from tests.soak.expected import SPECIAL
from tests.support.lm_runs import tiny_model

Action = Callable[..., None]
SHARDS = {"separator": SPECIAL[0], "shard_tokens": 4000, "validation_fraction": 0.25,
          "num_threads": 2}  # fmt: skip


class Victim:
    """A process with one thread that forks children to be killed at their work."""

    def __init__(self) -> None:
        self._mine, theirs = Pipe()
        self._lock = threading.Lock()
        if os.fork() == 0:
            self._mine.close()  # or the end of this process would not be seen
            self._serve(theirs)
        theirs.close()

    def _serve(self, pipe) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            try:
                action, arguments, delay, limit = pipe.recv()
            except EOFError:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                status = 1
                with contextlib.suppress(BaseException):
                    if limit is not None:
                        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                    action(*arguments)
                    status = 0
                os._exit(status)
            until = time.monotonic() + delay
            while time.monotonic() < until and not os.waitid(
                os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
            ):
                time.sleep(0.0005)
            os.kill(pid, signal.SIGKILL)
            pipe.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def run(self, action: Action, arguments: tuple, delay: float, limit: int | None = None) -> int:
        """Lets a function run for so many seconds: -9 if it was killed, 1 if it raised, or 0."""
        with self._lock:
            self._mine.send((action, arguments, delay, limit))
            return self._mine.recv()


# What is done in children, and by the soak itself, too


def save_tokenizer(fingerprint_from: Path, folder: Path) -> None:
    Tokenizer.load(fingerprint_from).save(folder)


def save_counts(items: list, path: Path) -> None:
    Counts.from_items("gpt2", SPECIAL, items).save(path)


def encode_shards(tokenizer: Path, text: Path, out: Path) -> None:
    Tokenizer.load(tokenizer).encode_files(text, out, **SHARDS)


def save_checkpoint(run: Path, step: int) -> None:
    model, optimizers = trained(step)
    store = CheckpointStore(run)
    store.clean()
    store.save(step, model, optimizers, model_config=model.config.to_dict())


def trained(step: int):
    """A model that is known by its step, with optimizers that have a state."""
    model = tiny_model(seed=step, vocab_size=40 + step)
    optimizers = build_optimizers(model, OptimConfig())
    x = torch.arange(16).view(2, 8)
    model.loss(x, x.roll(1)).backward()
    for optimizer in optimizers:
        optimizer.step()
    return model, optimizers


def write_megabyte(path: Path) -> None:
    files.write_bytes(path, b"x" * 1_000_000)
