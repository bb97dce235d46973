"""Signs of life: each rank gives one a second, and one that gives none any more is found.

A process that is killed closes its connections, and collectives that wait for it fail at once; one
that is frozen, or whose machine is gone, does not. So each rank writes a counter to the store that
the processes met at, and watches the counter of the rank after its own. Whoever finds one that
stands still tells all others, through the store.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

BEAT_SECONDS: Final = 1.0
LOST_SECONDS: Final = 20.0
"""A rank that has given no sign of life for so long is lost; less may be a busy machine."""
_STOP_SECONDS: Final = 60.0
"""How long the end of a run waits for the store to answer a last time."""
_GRACE_SECONDS: Final = 5.0
"""What the main thread gets to end by itself, before the process is ended."""


class Heartbeat:
    """A thread that gives signs of life and watches for another's.

    Args:
        store: Where the processes met; a `torch.distributed.Store`.
        rank: This process.
        size: How many there are.
        on_lost: Told once, in the thread, what has happened; None ends the process.
    """

    def __init__(
        self, store: Any, rank: int, size: int, on_lost: Callable[[str], None] | None = None
    ) -> None:
        # A connection of its own: one that waits in the main thread would hold this one up.
        self._store = store.clone() if hasattr(store, "clone") else store
        self._rank, self._size = rank, size
        self._on_lost = on_lost or _end
        self._ended = threading.Event()
        self._beats = 0
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to watch: all ranks have a `Heartbeat` now."""
        self._thread.start()

    def stop(self) -> None:
        """Watches no more: the run is over."""
        self._ended.set()
        if self._thread.is_alive():
            # A store on a busy machine may take long to answer, and an interpreter that ends under
            # a thread that waits for it aborts.
            self._thread.join(timeout=_STOP_SECONDS)

    def failed(self, message: str) -> None:
        """Tells the others why this rank ends."""
        try:
            if self._failure() is None:
                self._store.set("failed", message)
        except RuntimeError:  # the store is gone, and with it those who would read
            return

    def why(self) -> str:
        """Which rank is lost, once a collective has failed; takes up to three beats to find out."""
        deadline = time.monotonic() + 3 * BEAT_SECONDS
        try:
            before = [self._counter(rank) for rank in range(self._size)]
            while time.monotonic() < deadline:
                if (failure := self._failure()) is not None:
                    return failure
                time.sleep(BEAT_SECONDS / 4)
            lost = [
                rank
                for rank in range(self._size)
                if rank != self._rank and self._counter(rank) == before[rank]
            ]
        except RuntimeError:
            return "the process that the others met at has ended"
        if not lost:
            return "the connection to another rank has broken"
        ranks = ", ".join(map(str, lost))
        return f"rank {ranks} has died" if len(lost) == 1 else f"ranks {ranks} have died"

    def _run(self) -> None:
        watched = (self._rank + 1) % self._size
        last, seen = "", time.monotonic()
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self._beat()
                if (failure := self._failure()) is not None:
                    self._lost(failure)
                    return
                counter = self._counter(watched)
            except RuntimeError:
                self._lost("the process that the others met at has ended")
                return
            if counter != last:
                last, seen = counter, time.monotonic()
            elif time.monotonic() - seen > LOST_SECONDS:
                message = f"rank {watched} has given no sign of life for {LOST_SECONDS:.0f} s"
                self.failed(message)
                self._lost(message)
                return

    def _lost(self, message: str) -> None:
        # Where connections have closed, the main thread has an error of its own by now.
        if not self._ended.wait(_GRACE_SECONDS):
            self._on_lost(message)

    def _beat(self) -> None:
        self._beats += 1
        self._store.set(f"beat/{self._rank}", str(self._beats))

    def _counter(self, rank: int) -> str:
        return str(self._store.get(f"beat/{rank}").decode())

    def _failure(self) -> str | None:
        """What the first rank that failed has said."""
        key = "failed"
        return str(self._store.get(key).decode()) if self._store.check([key]) else None


def _end(message: str) -> None:
    """Ends the process: a thread that waits in a collective cannot be woken."""
    logging.getLogger("bytemill").critical("the run has ended: %s", message)
    os._exit(1)
