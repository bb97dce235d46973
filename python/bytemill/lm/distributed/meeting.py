"""How the processes of one start find each other, and none of a start before.

torchrun keeps its store when it starts processes anew, with what the dead ones wrote in it:
addresses that nobody answers at. Nor is there a number by which the starts could be told apart, as
each node counts its own. So each process asks by a random name and takes part in what rank 0
answers to it: a name that is known only since this start is answered by a rank 0 that lives.
"""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from typing import Any, Final

import torch.distributed as dist

from bytemill.lm.distributed.place import Place

MEETING: Final = timedelta(minutes=10)
"""How long processes wait for each other."""
_PAUSE_SECONDS: Final = 0.05
_NAME: Final = "bytemill"


def meet(place: Place, within: timedelta = MEETING) -> Any:
    """A store that the processes of this start share and no other has; they have all come.

    Args:
        place: Which process this is; the environment says where they meet.
        within: How long to wait for the others.

    Raises:
        RuntimeError: They have not come, or the store cannot be reached.
    """
    found = dist.rendezvous("env://", place.rank, place.size, timeout=within)  # type: ignore[attr-defined]
    store, _, _ = next(found)
    return agreed(store, place.rank, place.size, within)


def agreed(store: Any, rank: int, size: int, within: timedelta) -> Any:
    """The same, given where they meet."""
    deadline = time.monotonic() + within.total_seconds()
    if rank == 0:
        start = secrets.token_hex(8)
        absent = set(range(1, size))
        while absent:
            # A rank that was started anew while this one waits asks by another name.
            for other in absent:
                if store.check([f"{_NAME}/ask/{other}"]):
                    store.set(f"{_NAME}/answer/{_text(store, f'{_NAME}/ask/{other}')}", start)
            absent -= {other for other in absent if store.check([f"{_NAME}/{start}/{other}"])}
            _wait(deadline, f"rank {', '.join(map(str, sorted(absent)))}")
    else:
        name = secrets.token_hex(8)
        store.set(f"{_NAME}/ask/{rank}", name)
        while not store.check([f"{_NAME}/answer/{name}"]):
            _wait(deadline, "rank 0")
        start = _text(store, f"{_NAME}/answer/{name}")
        store.set(f"{_NAME}/{start}/{rank}", "here")
    return dist.PrefixStore(f"{_NAME}/{start}", store)  # type: ignore[attr-defined]


def _text(store: Any, name: str) -> str:
    return str(store.get(name).decode())


def _wait(deadline: float, missing: str) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(f"{missing} did not come")
    time.sleep(_PAUSE_SECONDS)
