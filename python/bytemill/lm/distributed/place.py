"""Which of several processes this one is, as torchrun says in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_BOTH: Final = ("RANK", "WORLD_SIZE")
_MEETING: Final = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """This process among those of a run."""

    rank: int = 0
    """From 0 to `size` - 1, over all nodes."""
    size: int = 1
    """How many processes there are."""
    local_rank: int = 0
    """Among those of this node; the GPU that it takes."""
    local_size: int = 1
    """How many processes this node has."""
    restarts: int = 0
    """How often torchrun has started the run anew after a failure."""

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Place:
        """What the environment says; the only process of all where it says nothing.

        The variables are those of torchrun, which other launchers set too: RANK, WORLD_SIZE,
        MASTER_ADDR and MASTER_PORT, LOCAL_RANK and LOCAL_WORLD_SIZE, TORCHELASTIC_RESTART_COUNT.

        Raises:
            ValueError: One is missing or not a number, or numbers do not go together.
        """
        there = [name for name in _BOTH if name in environment]
        if not there:
            return cls()
        needed = _BOTH if environment.get("WORLD_SIZE") == "1" else _BOTH + _MEETING
        if missing := [name for name in needed if not environment.get(name)]:
            raise ValueError(
                f"{there[0]} is set and {missing[0]} is not; start the processes with torchrun, "
                "which sets both, or unset it to train in one process"
            )
        rank, size = _number(environment, "RANK", 0), _number(environment, "WORLD_SIZE", 1)
        result = cls(
            rank=rank,
            size=size,
            local_rank=_number(environment, "LOCAL_RANK", rank),
            local_size=_number(environment, "LOCAL_WORLD_SIZE", size),
            restarts=_number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
        )
        if result.size < 1:
            raise ValueError(f"WORLD_SIZE={result.size}: there is at least one process")
        if not 0 <= result.rank < result.size:
            raise ValueError(
                f"RANK={result.rank}: with WORLD_SIZE={result.size} ranks go from 0 to "
                f"{result.size - 1}"
            )
        return result


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise ValueError(f"{name}={text!r}: it must be a whole number, as torchrun sets it")
    return int(text)
