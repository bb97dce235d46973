"""`Group`: the processes of a run, and what they say to each other."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bytemill.lm.batches.rows import share_of
from bytemill.lm.distributed.heartbeat import Heartbeat
from bytemill.lm.distributed.meeting import meet
from bytemill.lm.distributed.place import Place
from bytemill.signals import handled

_T = TypeVar("_T")

TIMEOUT: Final = timedelta(minutes=30)
"""Of a collective. Dead ranks are found in seconds, by `Heartbeat`; this is for those that live and
never come, and longer than anything that one rank does alone, such as saving."""
_WORDS: Final = ("gloo", "nccl", "connection", "socket", "broken pipe", "process group")


class RankLostError(ConnectionError):
    """Another process of the run has ended or cannot be reached, so this one cannot go on."""


class FailedElsewhereError(RankLostError):
    """Another rank has failed before the first step, and tells of it itself."""


class Group:
    """The processes of a run that have found each other; made by `joined`.

    Args:
        place: Which of them this is.
        device: What this one computes on.
        heartbeat: None where it is the only one.
    """

    def __init__(self, place: Place, device: torch.device, heartbeat: Heartbeat | None) -> None:
        self.place, self.device = place, device
        self._heartbeat = heartbeat

    @property
    def rank(self) -> int:
        """Which one this is, from 0."""
        return self.place.rank

    @property
    def size(self) -> int:
        """How many there are."""
        return self.place.size

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.place.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.place.size == 1

    def rows(self, n: int) -> range:
        """Which of a batch's `n` rows are this one's, as `share_of` says."""
        return share_of(n, self.rank, self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Adds up a tensor of all ranks, in place; every rank gets the same bits."""
        if not self.is_alone:
            dist.all_reduce(values)
        return values

    def gather(self, value: _T) -> list[_T]:
        """What each rank gives, in their order; it is pickled, and goes to processes of this run
        only."""
        if self.is_alone:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def first(self, number: float) -> float:
        """Rank 0's number, on all of them."""
        if self.is_alone:
            return number
        numbers = torch.tensor([number], dtype=torch.float64)
        dist.broadcast(numbers, 0)
        return float(numbers)

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Checks that all ranks say the same.

        Args:
            facts: By name; fit for pickling and `==`.

        Raises:
            ValueError: They do not; the message names the rank and what it has otherwise. On the
                others it is `FailedElsewhereError`.
        """
        everyone = self.gather(dict(facts))
        first = everyone[0]
        wrong = [
            f"rank {rank} has {name} {_short(theirs.get(name))}, rank 0 {_short(first.get(name))}"
            for rank, theirs in enumerate(everyone)
            for name in sorted(first.keys() | theirs.keys())
            if not _is_same(theirs.get(name), first.get(name))
        ]
        if wrong and not self.is_first:
            raise FailedElsewhereError("the processes do not train the same")
        if wrong:
            more = f"; and {len(wrong) - 4} more" if len(wrong) > 4 else ""
            raise ValueError(
                f"the processes do not train the same: {'; '.join(wrong[:4])}{more}; start all of "
                "them with the same command, files and version of bytemill"
            )

    def lost(self, error: RuntimeError) -> RankLostError | None:
        """What has happened to another rank, if that is why `error` was raised; it takes up to
        three seconds to find out. None for an error of another kind."""
        if self._heartbeat is None or not _is_of_connection(error):
            return None
        return RankLostError(f"rank {self.rank} ends: {self._heartbeat.why()}")

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """If the block raises on one rank, it does on all: `FailedElsewhereError` on those that
        do not tell what was wrong. Where it raises on all of them, rank 0 tells.

        It must hold nothing that waits for the others: who fails does not come to it.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        if self.is_alone:
            if error is not None:
                raise error
            return
        told = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        failed = [rank for rank, text in enumerate(told) if text is not None]
        if not failed:
            return
        if error is not None and self.rank == failed[0]:
            raise error
        text = f"rank {failed[0]} could not begin: {told[failed[0]]}"
        raise FailedElsewhereError(text) from error


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """Finds the other processes; the block is the run. Where there are none, it does nothing.

    CPUs talk by gloo, GPUs by NCCL; what is not a tensor on a GPU goes by gloo in either case.

    Args:
        device: What this process computes on.

    Raises:
        RankLostError: Another one has died, or has not come.
        ValueError: The environment is not right, or the device is one that cannot be shared.
    """
    place = Place.here()
    if place.size == 1:
        yield Group(place, device, None)
        return
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f'device="{device.type}": several processes train on "cpu" or "cuda"; choose one of '
            "them, or start a single process"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    # torch imports this at an optimizer's first step, and its functions keep the processes that
    # there are then as their default, and gloo's threads with them, until the interpreter ends.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        store = meet(place)
        dist.init_process_group(
            backend, store=store, rank=place.rank, world_size=place.size, timeout=TIMEOUT
        )
        heartbeat = Heartbeat(store, place.rank, place.size)
        dist.barrier()
    except RuntimeError as error:
        if dist.is_initialized():
            dist.destroy_process_group()
        raise RankLostError(
            f"rank {place.rank} did not find the other {place.size - 1}: {error}; start all of "
            "them, with the same address and port"
        ) from error
    heartbeat.start()
    group = Group(place, device, heartbeat)
    try:
        yield group
        dist.barrier()  # none goes while another still counts on it
    except BaseException as error:
        lost = None
        if isinstance(error, RuntimeError):
            with _unterminated():
                lost = group.lost(error)
        if lost is not None:
            raise lost from error
        if not isinstance(error, RankLostError):
            heartbeat.failed(f"rank {place.rank} has failed: {type(error).__name__}: {error}")
        raise
    finally:
        heartbeat.stop()
        dist.destroy_process_group()


@contextmanager
def _unterminated() -> Iterator[None]:
    """SIGTERM does nothing: torchrun sends it to those that are left, which are to say why they
    end, and do within seconds."""
    with handled(lambda *_: None, signal.SIGTERM):
        yield


def _is_of_connection(error: RuntimeError) -> bool:
    if isinstance(error, (dist.DistBackendError, dist.DistNetworkError)):
        return True
    return type(error) is RuntimeError and any(word in str(error).lower() for word in _WORDS)


def _is_same(a: Any, b: Any) -> bool:
    """Whether two facts are equal; NaN, which is refused elsewhere, is the same as NaN."""
    return bool(a == b) or (a != a and b != b)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def device_of(name: str, place: Place) -> str:
    """The device's name for a process: "cuda" and "auto" become the GPU of its own number.

    Raises:
        ValueError: All processes of a node would take the same GPU, or it has too few.
    """
    if place.size == 1 or name in ("cpu", "mps"):
        return name
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and count == 0:
        return "cpu"
    if name not in ("auto", "cuda"):
        raise ValueError(f'device={name!r}: with several processes each takes its own; use "cuda"')
    if place.local_size > count:
        raise ValueError(
            f"{place.local_size} processes on this node and {count} GPUs: each needs its own; "
            'start fewer processes, or use device="cpu"'
        )
    return f"cuda:{place.local_rank}"
