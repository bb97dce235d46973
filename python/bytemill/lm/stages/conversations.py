"""Conversations to train on: which come in which order, as ids and mask, and where a run is."""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bytemill._arguments import check_integer
from bytemill.chat.conversation import Conversation
from bytemill.chat.render import Renderer
from bytemill.tasks.task import Task, scaled

_BLOCK: Final = 1024
"""Draws that are made at a time."""
_MOST_TRIED: Final = 200_000


@dataclass(frozen=True)
class Share:
    """A task, and how much of it there is."""

    task: Task
    repeats: int = 1
    """How often each of its items comes in an epoch."""
    weight: float | None = None
    """Its share of the conversations, beside the others' weights; None: all of it is used."""


@dataclass(frozen=True)
class Encoded:
    """A conversation as ids, and which of them are to be learnt; as long as each other."""

    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.bool_]
    is_cut: bool
    """Whether it was longer than it may be."""


class Conversations:
    """An endless sequence of conversations of tasks; number n depends on the seed and n alone.

    Without weights, an epoch has each item of each task as often as it is repeated, in an order of
    its own. With weights, the task is drawn for each conversation, and each task's own items come
    in such epochs.

    Args:
        shares: The tasks: all with weights, or none.
        renderer: Makes ids of them.
        max_tokens: Ids of a conversation at most; a longer one is cut at its end. None cuts none.
        mask: Whether only what the assistant writes is to be learnt; or else all.
        seed: Decides the order.

    Raises:
        ValueError: There is no task; one has no items; some have weights and others not, or they
            are not numbers above 0.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        renderer: Renderer,
        max_tokens: int | None,
        *,
        mask: bool,
        seed: int = 0,
    ) -> None:
        self.shares, self.max_tokens, self.mask = tuple(shares), max_tokens, mask
        self._renderer, self._seed = renderer, seed
        if not shares:
            raise ValueError("there is no task to train on; give at least one")
        for share in shares:
            if not len(share.task):
                raise ValueError(f"the task {share.task.name} has no items; leave it out")
        weights = [share.weight for share in shares if share.weight is not None]
        if weights and len(weights) < len(shares):
            raise ValueError(
                "some tasks have weights and others not; give all of them one, or none"
            )
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise ValueError(f"weights={weights}: each must be a number above 0")
        parts = scaled(weights) if weights else []
        self._weights = [part / math.fsum(parts) for part in parts]
        self._ends = list(accumulate(len(share.task) * share.repeats for share in shares))
        self._orders: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
        self._drawn: tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None

    @cached_property
    def content(self) -> str:
        """A hash of all conversations that there are, and of the tasks' names."""
        known = [[share.task.name, share.task.content()] for share in self.shares]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    @property
    def epoch(self) -> int | None:
        """How many conversations there are in an epoch; None with weights."""
        return None if self._weights else self._ends[-1]

    @property
    def enough(self) -> int:
        """How many hold every item, from wherever one begins; drawn by weight, all but surely."""
        if not self._weights:
            return 2 * self._ends[-1]
        shares = zip(self.shares, self._weights, strict=True)
        longest = max(len(share.task) / weight for share, weight in shares if weight)
        return min(math.ceil(64 * longest), _MOST_TRIED)

    def place(self, number: int) -> tuple[int, int]:
        """The task that conversation `number` is of, and the number of its item there."""
        if not self._weights:
            at, position = divmod(number, self._ends[-1])
            index = int(self._order(-1, at, self._ends[-1])[position])
            which = bisect_right(self._ends, index)
            before = self._ends[which - 1] if which else 0
            return which, (index - before) % len(self.shares[which].task)
        block, offset = divmod(number, _BLOCK)
        drawn, earlier = self._draws(block)
        task = int(drawn[offset])
        n = len(self.shares[task].task)
        at, position = divmod(int(earlier[task] + (drawn[:offset] == task).sum()), n)
        return task, int(self._order(task, at, n)[position])

    def conversation(self, number: int) -> Conversation:
        """Conversation `number`, from 0."""
        which, index = self.place(number)
        return self.shares[which].task[index].conversation

    def encoded(self, number: int) -> Encoded:
        """Conversation `number` as ids.

        Raises:
            ValueError: The item is damaged; the message says where it is.
        """
        rendered = self._renderer.render(self.conversation(number), self.max_tokens)
        mask = np.array(rendered.mask, np.bool_)
        if not self.mask:
            mask[:] = True
        return Encoded(np.array(rendered.ids, np.int64), mask, rendered.cut is not None)

    def settings(self) -> dict[str, Any]:
        """What the sequence depends on, as JSON data."""
        return {
            "content": self.content,
            "max_tokens": self.max_tokens,
            "mask": self.mask,
            "seed": self._seed,
            "repeats": [share.repeats for share in self.shares],
            "weights": self._weights,
        }

    def _order(self, task: int, epoch: int, n: int) -> npt.NDArray[np.int64]:
        """The order of an epoch of a task, or of all (-1)."""
        kept = self._orders.get((task, epoch))
        if kept is None:
            random = np.random.default_rng([self._seed, task + 1, epoch])
            kept = random.permutation(n)
            # The one before is looked at again when a buffer is filled anew.
            self._orders = {
                key: order
                for key, order in self._orders.items()
                if key[0] != task or key[1] == epoch - 1
            }
            self._orders[task, epoch] = kept
        return kept

    def _draws(self, block: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The tasks of a block's conversations, and how many of each came before the block."""
        if self._drawn is None or self._drawn[0] > block:
            self._drawn = 0, self._draw(0), np.zeros(len(self.shares), np.int64)
        at, which, before = self._drawn
        while at < block:
            before = before + np.bincount(which, minlength=len(self.shares))
            at += 1
            which = self._draw(at)
        self._drawn = at, which, before
        return which, before

    def _draw(self, block: int) -> npt.NDArray[np.int64]:
        random = np.random.default_rng([self._seed, 0, block])
        return random.choice(len(self.shares), _BLOCK, p=self._weights)


def check_number(name: str, value: Any) -> int:
    """A number of conversations from a saved state; ValueError if it is none."""
    if check_integer(name, value) < 0:
        raise ValueError(f"the rows' state has {name}={value}: it must be at least 0")
    return int(value)
