"""Ctrl-C: the program stops where it is and says so within a second; a second one ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bytemill.cli.console.streams import tell
from bytemill.signals import handled, replaceable

# A program that stops faster than this says only how it ended.
PATIENCE_S = 0.5

_pressed = False


def was_pressed() -> bool:
    """Whether Ctrl-C came within `answered`.

    Code that was interrupted may turn KeyboardInterrupt into an error of its own; some modules do
    while they are imported.
    """
    return _pressed


def check() -> None:
    """Raises KeyboardInterrupt if Ctrl-C came; after imports, which may have swallowed it."""
    if _pressed:
        raise KeyboardInterrupt


@contextmanager
def answered() -> Iterator[None]:
    """Within the block Ctrl-C raises KeyboardInterrupt, once; the next one ends the process.

    Nothing is done in other threads than the main one, which get no signals, nor where Ctrl-C is
    ignored, as a shell has it for what runs in the background.
    """
    global _pressed
    _pressed = False
    if replaceable(signal.SIGINT) != {signal.SIGINT: signal.default_int_handler}:
        yield
        return
    timer = threading.Timer(PATIENCE_S, _say)
    timer.daemon = True

    def handle(number: int, frame: FrameType | None) -> None:
        global _pressed
        _pressed = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        timer.start()
        raise KeyboardInterrupt

    with handled(handle, signal.SIGINT):
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def held() -> Iterator[None]:
    """Lets Ctrl-C pass by for a moment, so that what is being written is written whole."""
    with handled(signal.SIG_IGN, signal.SIGINT):
        yield


def _say() -> None:
    tell("stopping; press Ctrl-C again to end at once")
