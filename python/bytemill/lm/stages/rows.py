"""Rows of conversations: ids and targets, (T,) each, of which those that are not learnt are -1.

A row holds one conversation ("single"), or those that fit it best ("best-fit"), and is padded; or
rows are cut from one stream of all conversations ("stream"). Each is a `Rows`, so that
`bytemill.lm.batches.stream.loader.StreamLoader` makes batches of them, and mixes others in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.stages.conversations import Conversations, Encoded, check_number

Packing = Literal["single", "best-fit", "stream"]
PACKINGS: Final[tuple[Packing, ...]] = get_args(Packing)
BUFFER: Final = 128
"""Conversations among which "best-fit" looks for what fits."""

Row = npt.NDArray[np.int64]


class NothingToLearnError(ValueError):
    """In no conversation is there anything that counts."""


class At(NamedTuple):
    """Where the rows are."""

    number: int
    """Conversations that were taken from the sequence."""
    waiting: tuple[int, ...]
    """The numbers of those that have not come yet, of best-fit; of the one that is in the middle
    of its ids, of a stream."""
    offset: int
    """Ids of that one that were given."""
    n_cut: int
    """Conversations that were too long for a row, so far."""
    n_dropped: int
    """Conversations in which there is nothing to learn, so far: they are left out."""


class ConversationRows(ABC):
    """An endless sequence of rows.

    No row is padding alone, and each has a target that counts.

    Args:
        conversations: What they are made of; the longest has T + 1 ids.
        context_length: Ids in a row, T.
        pad_id: Stands behind the last conversation of a row.

    Raises:
        ValueError: `context_length` is below 1.
    """

    packing: Packing

    def __init__(self, conversations: Conversations, context_length: int, pad_id: int) -> None:
        if context_length < 1:
            raise ValueError(f"context_length={context_length}: it must be at least 1")
        self.conversations, self.context_length = conversations, context_length
        self._pad_id = pad_id
        self._at = At(0, (), 0, 0, 0)

    @property
    def at(self) -> At:
        """Where it is."""
        return self._at

    @abstractmethod
    def fill(self, x: Row, y: Row) -> None:
        """Writes the next row: ids and targets, (T,) each.

        Raises:
            NothingToLearnError: There is nothing to learn in any conversation.
            ValueError: An item is damaged.
        """

    def skip(self) -> None:
        """Goes past the next row."""
        x, y = np.empty((2, self.context_length), np.int64)
        self.fill(x, y)

    def snapshot(self) -> At:
        """Where it is; what it does later does not change it."""
        return self._at

    def to_json(self, snapshot: At) -> dict[str, Any]:
        """A snapshot as JSON data."""
        at = {**snapshot._asdict(), "waiting": list(snapshot.waiting)}
        return {"packing": self.packing, **self.conversations.settings(), "at": at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where a snapshot was taken.

        Raises:
            ValueError: The state is damaged, or of other conversations or settings.
        """
        ours = self.to_json(self._at)
        if set(state) != set(ours) or not isinstance(state["at"], dict):
            raise ValueError("the state is not one of rows of conversations")
        for name in set(ours) - {"at"}:
            if state[name] != ours[name]:
                hint = "resume with the tasks and settings of the run that saved it"
                if name == "content":
                    hint += "; items of its files or words were edited, added or taken away"
                raise ValueError(
                    f"the state of the rows has {name}={state[name]!r}, and these have "
                    f"{ours[name]!r}: {hint}"
                )
        found = state["at"]
        if set(found) != set(At._fields) or not isinstance(found["waiting"], list):
            raise ValueError("the state of the rows is damaged")
        waiting = tuple(check_number("waiting", number) for number in found["waiting"])
        numbers = {n: check_number(n, found[n]) for n in found if n != "waiting"}
        at = At(waiting=waiting, **numbers)
        if any(number >= at.number for number in waiting):
            raise ValueError("the state of the rows is damaged")
        self._at = at
        self._restored()

    def close(self) -> None:  # noqa: B027
        """There are no threads."""

    def _restored(self) -> None:  # noqa: B027
        """The place has changed."""

    def _take(self) -> tuple[int, Encoded]:
        """The next conversation in which there is something to learn, and its number."""
        for _ in range(self.conversations.enough):
            number = self._at.number
            found = self.conversations.encoded(number)
            n_cut = self._at.n_cut + found.is_cut
            self._at = self._at._replace(number=number + 1, n_cut=n_cut)
            if found.counts[1:].any():
                return number, found
            self._at = self._at._replace(n_dropped=self._at.n_dropped + 1)
        raise NothingToLearnError(
            "there is nothing to learn in any conversation: none has an assistant's message within "
            f"its first {self.conversations.max_tokens} tokens; use longer rows, by context_length="
        )

    def _write(self, x: Row, y: Row, parts: list[Encoded]) -> None:
        """Whole conversations behind one another, and padding."""
        length = self.context_length + 1
        ids, targets = np.full(length, self._pad_id), np.full(length, IGNORED)
        at = 0
        for part in parts:
            end = at + len(part.ids)
            ids[at:end] = part.ids
            targets[at:end] = np.where(part.counts, part.ids, IGNORED)
            if at:
                targets[at] = IGNORED  # no conversation's beginning follows from another one
            at = end
        x[:], y[:] = ids[:-1], targets[1:]


_MOST_TRIED: Final = 100_000


class SingleRows(ConversationRows):
    """One conversation a row, padded."""

    packing = "single"

    def fill(self, x: Row, y: Row) -> None:
        """Writes the next one."""
        self._write(x, y, [self._take()[1]])


class BestFitRows(ConversationRows):
    """Several conversations a row, whole and each from its beginning, then padding.

    A row begins with the conversation that has waited longest; then comes the longest of those
    that wait which fits, until none does. Of equally long ones the one that has waited longer goes
    first. So none waits for more than `BUFFER` rows.
    """

    packing = "best-fit"

    def __init__(self, conversations: Conversations, context_length: int, pad_id: int) -> None:
        super().__init__(conversations, context_length, pad_id)
        self._waiting: dict[int, Encoded] = {}

    def fill(self, x: Row, y: Row) -> None:
        """Writes the next one."""
        while len(self._waiting) < BUFFER:
            number, found = self._take()
            self._waiting[number] = found
        room = self.context_length + 1
        parts: list[Encoded] = []
        chosen: int | None = next(iter(self._waiting))
        while chosen is not None:
            parts.append(self._waiting.pop(chosen))
            room -= len(parts[-1].ids)
            fitting = (n for n, one in self._waiting.items() if len(one.ids) <= room)
            chosen = max(fitting, key=lambda n: len(self._waiting[n].ids), default=None)
        self._at = self._at._replace(waiting=tuple(self._waiting))
        self._write(x, y, parts)

    def _restored(self) -> None:
        self._waiting = {number: self.conversations.encoded(number) for number in self._at.waiting}


class StreamOfRows(ConversationRows):
    """All conversations behind one another, cut into rows of T; no id is lost or padding.

    A row's last target is the next row's first id. Rows without a target that counts, which a mask
    can make, are passed over.
    """

    packing = "stream"

    def __init__(self, conversations: Conversations, context_length: int, pad_id: int) -> None:
        super().__init__(conversations, context_length, pad_id)
        self._open: tuple[int, Encoded] | None = None

    def fill(self, x: Row, y: Row) -> None:
        """Writes the next one."""
        for _ in range(_MOST_TRIED):
            self._cut(x, y)
            if (y != IGNORED).any():
                return
        raise NothingToLearnError(
            "there is nothing to learn in any row; use longer ones, by context_length="
        )

    def _cut(self, x: Row, y: Row) -> None:
        length = self.context_length
        # One id more than the row has: its last target, which is the next row's first id.
        filled = 0
        while filled <= length:
            if self._open is None:
                self._open = self._take()
            one, offset = self._open[1], self._at.offset
            end = min(filled + len(one.ids) - offset, length + 1)
            ids = one.ids[offset : offset + end - filled]
            targets = np.where(one.counts[offset : offset + end - filled], ids, IGNORED)
            x[filled : min(end, length)] = ids[: length - filled]
            y[max(filled - 1, 0) : end - 1] = targets[filled == 0 :]
            offset += min(end, length) - filled
            if offset == len(one.ids):
                self._open, offset = None, 0
            self._at = self._at._replace(offset=offset)
            filled = end
        self._at = self._at._replace(waiting=(self._open[0],) if self._open else ())

    def _restored(self) -> None:
        self._open = None
        for number in self._at.waiting:
            self._open = number, self.conversations.encoded(number)
        length = len(self._open[1].ids) if self._open else 1
        if len(self._at.waiting) > 1 or self._at.offset >= length:
            raise ValueError("the state of the rows is damaged")


_KINDS: Final[dict[Packing, type[ConversationRows]]] = {
    "single": SingleRows,
    "best-fit": BestFitRows,
    "stream": StreamOfRows,
}


def rows_of(
    packing: Packing, conversations: Conversations, context_length: int, pad_id: int
) -> ConversationRows:
    """Rows of a kind."""
    return _KINDS[packing](conversations, context_length, pad_id)
