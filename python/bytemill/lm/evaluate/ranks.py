"""What an evaluation needs of the other processes, if there are any."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, TypeVar

_T = TypeVar("_T")


class Ranks(Protocol):
    """The processes that share an evaluation; `bytemill.lm.distributed.group.Group` is one."""

    @property
    def rank(self) -> int:
        """Which one this is, from 0. Only 0 reads and writes what is kept."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def gather(self, value: _T) -> list[_T]:
        """What each gives, in their order, on all of them."""
        ...

    def all_or_none(self) -> AbstractContextManager[None]:
        """If the block raises on one of them, it does on all."""
        ...


class Alone:
    """One process."""

    rank: Final = 0
    size: Final = 1

    def gather(self, value: _T) -> list[_T]:
        """The value."""
        return [value]

    def all_or_none(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()


ALONE: Final = Alone()
