"""From an engine's thread to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """What one thread puts in, a coroutine takes out; all that is there at a time.

    What is in it is bounded by who fills it: a row's tokens.

    Args:
        loop: Where the coroutine runs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[T] = deque()
        self._is_waking = False
        self._there = asyncio.Event()

    def put(self, item: T) -> None:
        """From any one thread."""
        self._items.append(item)
        if not self._is_waking:
            self._is_waking = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        self._there.set()

    async def take(self) -> list[T]:
        """At least one, as soon as there is one."""
        while not self._items:
            self._there.clear()
            if self._items:
                break
            await self._there.wait()
        taken = []
        while self._items:
            taken.append(self._items.popleft())
        return taken
