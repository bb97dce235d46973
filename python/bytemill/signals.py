"""Handlers of signals for the length of a block."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int


def replaceable(*numbers: int) -> dict[int, Handler]:
    """The handlers of those signals whose handler can be taken away and put back.

    A handler that C code installed before Python began, as where a program embeds it, is known to
    Python as None, which it cannot put back. Threads other than the main one can change none.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in found.items() if handler is not None}


@contextmanager
def handled(handler: Handler, *numbers: int) -> Iterator[None]:
    """Within the block signals have this handler, where theirs is `replaceable`; others keep it."""
    before = replaceable(*numbers)
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
