"""Ctrl-C that lets a step end first, and says so at once."""

from __future__ import annotations

import _thread
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)
_GRACE_SECONDS: Final = 0.5


@contextmanager
def interrupts(stop: Callable[[], None], told: Callable[[int], None]) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM call `stop`; a second one does what it did before.

    Python runs a signal's handler between two of its own instructions, and one call of torch can
    take seconds. So a thread that the system wakes at once calls `told`, in that thread, with 1 for
    the first signal and 2 for the second.

    In other threads than the main one, which get no signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _NUMBERS}
    ended = threading.Event()
    seen: list[int] = []
    calls = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal calls
        calls += 1
        stop()
        # Two signals that came during one call of torch are one call of this.
        if max(calls, len(seen)) < 2:
            return
        ended.set()
        for other in _NUMBERS:
            signal.signal(other, before[other])
        if callable(before[number]):
            before[number](number, frame)
        else:
            signal.raise_signal(number)

    # The system writes the number of each signal into one end as it comes.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watch = threading.Thread(
        target=_watch, args=(reader, told, seen, ended), name="interrupts", daemon=True
    )
    outer = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watch.start()
    for number in _NUMBERS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(outer)
        for number in _NUMBERS:
            signal.signal(number, before[number])
        writer.close()
        watch.join()
        reader.close()


def _watch(
    reader: socket.socket, told: Callable[[int], None], seen: list[int], ended: threading.Event
) -> None:
    while numbers := reader.recv(64):
        for number in numbers:
            if number in _NUMBERS and len(seen) < 2:
                seen.append(number)
                told(len(seen))
                # The handler may have run just before the second signal was seen here.
                if len(seen) == 2 and not ended.wait(_GRACE_SECONDS):
                    _thread.interrupt_main(signal.Signals(number))
