"""`Worker`: an engine and the one thread that runs it."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Sequence

from bytemill.lm.engine.engine import Engine
from bytemill.lm.engine.rows import Row


class Worker:
    """Runs an engine in a thread of its own, from `start` on, until it is closed.

    Args:
        engine: The engine; nobody else calls its `step`.
        name: The thread's.
    """

    def __init__(self, engine: Engine, name: str = "engine") -> None:
        self.engine = engine
        self.step_seconds = 0.0
        """How long steps took, smoothed over some twenty of them."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()
        # An interpreter that ends under a thread within torch aborts.
        atexit.register(self.close, 0.0)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, rows: Sequence[Row]) -> None:
        """Takes in rows: see `Engine.submit`."""
        self.engine.submit(rows)

    def close(self, patience: float | None = None) -> bool:
        """Takes no more rows, lets those that are there finish, and ends the thread.

        Args:
            patience: Seconds after which the rows that are left are cancelled; None for no end.

        Returns:
            Whether all of them finished.
        """
        atexit.unregister(self.close)
        self.engine.close()
        if not self._thread.is_alive():
            return True
        self._thread.join(patience)
        if not self._thread.is_alive():
            return True
        self.engine.cancel_all()
        self._thread.join()
        return False

    def _run(self) -> None:
        engine = self.engine
        while True:
            with engine.changed:
                while not engine.is_busy and not engine.is_closed:
                    engine.changed.wait()
                if not engine.is_busy:
                    return
            began = time.perf_counter()
            engine.step()
            self.step_seconds += 0.05 * (time.perf_counter() - began - self.step_seconds)


class Pool:
    """Several workers with the same model, each on a device of its own; at least one."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        if not workers:
            raise ValueError("there is no worker; give at least one")
        self.workers = list(workers)

    def start(self) -> None:
        """Starts them."""
        for worker in self.workers:
            worker.start()

    @property
    def is_alive(self) -> bool:
        """Whether all their threads run."""
        return all(worker.is_alive for worker in self.workers)

    def submit(self, rows: Sequence[Row]) -> None:
        """Takes in rows with one prompt, by the worker that knows most of it or has least to do.

        Raises:
            EngineFull, EngineClosed, ValueError: As `Engine.submit`.
        """
        self._best(rows).submit(rows)

    def _best(self, rows: Sequence[Row]) -> Worker:
        if len(self.workers) == 1 or not rows:
            return self.workers[0]
        prompt = rows[0].machine.prompt

        def cost(worker: Worker) -> float:
            engine = worker.engine
            in_line = (engine.n_active + engine.n_waiting) / engine.settings.max_rows
            # Reading all of a prompt anew is worth a place behind so many rows.
            return in_line - engine.known(prompt) / len(prompt)

        return min(self.workers, key=cost)

    def close(self, patience: float | None = None) -> bool:
        """Closes them all: see `Worker.close`."""
        for worker in self.workers:
            worker.engine.close()
        end = None if patience is None else time.monotonic() + patience
        finished = True
        for worker in self.workers:
            with contextlib.suppress(RuntimeError):  # never started
                left = None if end is None else max(0.0, end - time.monotonic())
                finished &= worker.close(left)
        return finished
