"""Where batches come from, and how a run that goes on finds its place in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast, runtime_checkable

import torch

from bytemill.lm.batches.rows import count_rows, share_of, take_rows, to_device


class Source(Protocol):
    """Batches, one after another, without end.

    One may have two methods more. `next_share(rank: int, size: int)` gives one rank's rows of the
    next batch and moves all ranks' place on alike, as `bytemill.lm.batches.rows.share_of` cuts it:
    several processes call it instead of `next_batch`, and need not make each other's rows. And
    `close()` is called when the run ends, however it ends.
    """

    def next_batch(self) -> Any:
        """The next batch: tensors whose first dimension is its rows, or tuples, lists or dicts of
        such."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch begins; fit for JSON."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where `state_dict` was taken; ValueError if it is not of these batches."""
        ...


class Again:
    """The batches of an iterable, begun again whenever they end.

    Args:
        batches: A list or another sequence; or an iterable with `state_dict` and `load_state_dict`,
            which tells after each batch where the next one begins.

    Raises:
        TypeError: It is neither: there would be no way to go on from a checkpoint.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._has_state = hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")
        self._is_sequence = hasattr(batches, "__len__") and hasattr(batches, "__getitem__")
        if not isinstance(batches, Iterable) or not (self._has_state or self._is_sequence):
            raise TypeError(
                f"batches of type {type(batches).__name__} cannot be gone on with: give a list, or "
                "an iterable that has state_dict() and load_state_dict(state)"
            )
        self._batches: Any = batches
        self._at = 0
        self._iterator: Iterator[Any] | None = None

    def next_batch(self) -> Any:
        """The next one.

        Raises:
            ValueError: There is none, even from the beginning.
        """
        if not self._has_state:
            if not len(self._batches):
                raise ValueError("there are no batches")
            self._at += 1
            return self._batches[(self._at - 1) % len(self._batches)]
        for _ in range(2):
            if self._iterator is None:
                self._iterator = iter(self._batches)
            for batch in self._iterator:
                return batch
            self._iterator = None
        raise ValueError(
            "the batches have ended and do not begin again; let their __iter__ give a new iterator "
            "each time, or ask for fewer steps"
        )

    def state_dict(self) -> dict[str, Any]:
        """As `Source` says."""
        if self._has_state:
            return dict(self._batches.state_dict())
        return {"at": self._at, "length": len(self._batches)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `Source` says."""
        if self._has_state:
            self._batches.load_state_dict(state)
            self._iterator = None
            return
        length = len(self._batches)
        if state.get("length") != length:
            raise ValueError(
                f"the run began with {state.get('length')} batches and these are {length}; resume "
                "with the same ones"
            )
        self._at = int(state["at"])


@runtime_checkable
class Shared(Source, Protocol):
    """A source that makes a rank's rows by themselves."""

    def next_share(self, rank: int, size: int) -> Any:
        """As `Source` says."""
        ...


class OnDevice:
    """Batches, moved to a device."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self._source, self._device = source, device
        self.state_dict = source.state_dict
        self.load_state_dict = source.load_state_dict

    def next_batch(self) -> Any:
        """The next one."""
        return to_device(self._source.next_batch(), self._device)

    def next_share(self, rank: int, size: int) -> Any:
        """A rank's rows of the next one; the others are not moved."""
        if isinstance(self._source, Shared):
            share = self._source.next_share(rank, size)
        else:
            batch = self._source.next_batch()
            rows = share_of(count_rows(batch), rank, size)
            share = take_rows(batch, rows.start, rows.stop)
        return to_device(share, self._device)

    def close(self) -> None:
        """Closes what it moves."""
        close(self._source)


def close(source: Source) -> None:
    """Calls the source's `close`, if it has one."""
    method = getattr(source, "close", None)
    if method is not None:
        method()


def as_source(batches: Source | Iterable[Any]) -> Source:
    """What has `next_batch` as it is, and another iterable as `Again`."""
    if isinstance(batches, Iterable) and not hasattr(batches, "next_batch"):
        return Again(batches)
    return cast("Source", batches)
