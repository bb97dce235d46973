"""Ctrl-C, and the signals of preemption, that let a step end first; and an answer at once."""

from __future__ import annotations

import _thread
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from bytemill.signals import handled, replaceable

_PRESSES: Final = (signal.SIGINT, signal.SIGTERM)
# A closing terminal and clusters send these, often more than once: they ask to save, and a second
# one asks for nothing more. (Windows has neither.)
_REQUESTS: Final = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
_GRACE_SECONDS: Final = 0.5


@contextmanager
def interrupts(stop: Callable[[], None], told: Callable[[int], None]) -> Iterator[None]:
    """Within the block Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 call `stop`; a second of the first two
    does what it did before. A signal that is ignored, as nohup has SIGHUP, stays so.

    Python runs a signal's handler between two of its own instructions, and one call of torch can
    take seconds. So a thread that the system wakes at once calls `told`, in that thread, with 1 for
    the first signal and 2 for the second.

    In other threads than the main one, which get no signals, nothing is done. A signal that C code
    handles, as in a program that embeds Python, is left to it.
    """
    before = {
        number: handler
        for number, handler in replaceable(*_PRESSES, *_REQUESTS).items()
        if number in _PRESSES or handler != signal.SIG_IGN
    }
    if not before:
        yield
        return
    ended = threading.Event()
    seen: list[int] = []
    calls = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal calls
        stop()
        if number in _REQUESTS:
            return
        calls += 1
        # Two signals that came during one call of torch are one call of this.
        if max(calls, len(seen)) < 2:
            return
        ended.set()
        for other in _PRESSES:
            if other in before:
                signal.signal(other, before[other])
        usual = before[number]
        if callable(usual):
            usual(number, frame)
        else:
            signal.raise_signal(number)

    # The system writes the number of each signal into one end as it comes.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watch = threading.Thread(
        target=_watch,
        args=(reader, frozenset(before), told, seen, ended),
        name="interrupts",
        daemon=True,
    )
    outer = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watch.start()
    try:
        with handled(handle, *before):
            try:
                yield
            finally:
                ended.set()
                signal.set_wakeup_fd(outer)
    finally:
        writer.close()
        watch.join()
        reader.close()


def _watch(
    reader: socket.socket,
    ours: Collection[int],
    told: Callable[[int], None],
    seen: list[int],
    ended: threading.Event,
) -> None:
    requested = False
    while numbers := reader.recv(64):
        # The numbers of signals that are left to others come, too.
        for number in filter(ours.__contains__, numbers):
            if number in _REQUESTS and not requested and not seen:
                requested = True
                told(1)
            if number in _PRESSES and len(seen) < 2:
                seen.append(number)
                told(len(seen))
                # The handler may have run just before the second signal was seen here.
                if len(seen) == 2 and not ended.wait(_GRACE_SECONDS):
                    _thread.interrupt_main(signal.Signals(number))
