"""`Task`: what is asked and how an answer is judged; and tasks made of tasks.

A new task is a file of its own with a subclass of `Task`: its items, and `judge`.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from bytemill.chat.conversation import Conversation, Message

Kind = Literal["generative", "categorical"]

SHUFFLE_SEED: Final = 42
"""Of a mixture, as in nanochat."""
_LOOKED_AT: Final = 64
"""Items that are made to know a task by, where all of them are known by what they are made of."""


@dataclass(frozen=True)
class Item:
    """One question with its answer."""

    conversation: Conversation
    """It ends with the assistant's answer, which is left out when it is asked."""
    answer: Any
    """What `Task.judge` compares with: a letter of a categorical task."""
    letters: tuple[str, ...] = ()
    """Of a categorical task: the answers there are to choose from."""
    more: dict[str, Any] = field(default_factory=dict)
    """What else judging needs."""


class Task(ABC):
    """A sequence of items. Those of a generated task depend on its seed and their number alone."""

    name: str
    kind: Kind = "generative"
    baseline: float = 0.0
    """The share of right answers that guessing reaches."""

    @abstractmethod
    def __len__(self) -> int:
        """How many items there are."""

    @abstractmethod
    def item(self, index: int) -> Item:
        """The item of a number from 0 up to the length."""

    @abstractmethod
    def judge(self, item: Item, reply: Message) -> float:
        """How good a reply is: 1 for right, 0 for wrong, or a share between."""

    def content(self, indices: Sequence[int] | None = None) -> str:
        """A hash of what items are: question, answer and what else judging needs.

        It is all that a run which goes on knows its task by: where the items are, or what the task
        is called, does not matter. All of them are made for it; a task that knows them by less work
        says so itself.

        Args:
            indices: The items' numbers, in the order that counts; None for all.

        Raises:
            ValueError: An item is damaged.
        """
        return items_content(self, indices)

    def __getitem__(self, index: int) -> Item:
        """The item of a number; negative ones count from the end."""
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"item {index} of {self.name}: there are {n}")
        return self.item(index % n)

    def __iter__(self) -> Iterator[Item]:
        """All items in turn."""
        return (self.item(index) for index in range(len(self)))


def judged(task: Task, item: Item, reply: Message) -> float:
    """How good a reply is, as a task's judge says.

    Raises:
        ValueError: It says something that is not a finite number.
    """
    score = float(task.judge(item, reply))
    if not math.isfinite(score):
        raise ValueError(
            f"the judge of {task.name} gave {score} to {reply.text[:40]!r}: it must give a finite "
            "number, 1 for right and 0 for wrong"
        )
    return score


class Numbers(Sequence[int]):
    """Numbers that are worked out when they are asked for.

    Args:
        n: How many there are.
        at: The one at a place from 0 up to n.
    """

    def __init__(self, n: int, at: Callable[[int], int]) -> None:
        self._n, self._at = n, at

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, place: Any) -> Any:
        if not 0 <= place < self._n:
            raise IndexError(place)
        return self._at(place)


def item_digest(item: Item) -> bytes:
    """A hash of an item, 32 bytes. Of what is no JSON in its `more`, the type alone counts."""
    whole = [item.conversation.to_dict(), str(item.answer), item.letters, item.more]
    text = json.dumps(whole, skipkeys=True, default=lambda value: type(value).__name__)
    return hashlib.sha256(text.encode()).digest()


def items_content(task: Task, indices: Sequence[int] | None = None) -> str:
    """A hash of a task's items, for which each is made: those of these numbers, or all."""
    digest = hashlib.sha256()
    for index in range(len(task)) if indices is None else indices:
        digest.update(item_digest(task.item(index)))
    return digest.hexdigest()


def known_content(task: Task, known_by: object, indices: Sequence[int] | None = None) -> str:
    """A hash of a task's items, which something decides that is quickly told.

    Some of the items are made, too: they show whether the code that makes them is still the same.

    Args:
        task: The task.
        known_by: What decides all items, as JSON data.
        indices: As for `Task.content`.
    """
    indices = range(len(task)) if indices is None else indices
    n = len(indices)
    looked_at = [
        indices[at] for at in sorted({i * (n - 1) // (_LOOKED_AT - 1) for i in range(_LOOKED_AT)})
    ] if n else []  # fmt: skip
    digest = hashlib.sha256(json.dumps([known_by, n, looked_at]).encode())
    for index in looked_at:
        digest.update(item_digest(task.item(index)))
    return digest.hexdigest()


def scaled(weights: Sequence[float]) -> list[float]:
    """Weights of 0 and more by a power of two, which changes no digit, so that the greatest is
    between a half and 1 and their sum is a number."""
    exponent = math.frexp(max(weights))[1]
    return [math.ldexp(weight, -exponent) for weight in weights]


def checked_size(size: int) -> int:
    """How many items a task is to have; ValueError if that is negative."""
    if size < 0:
        raise ValueError(f"size={size}: it must not be negative")
    return size


class Slice(Task):
    """A view of some items of a task.

    Args:
        task: What to take them of.
        start, stop, step: As in a slice of a list.

    Raises:
        ValueError: The step is 0.
    """

    def __init__(
        self, task: Task, start: int | None = None, stop: int | None = None, step: int = 1
    ) -> None:
        self._task = task
        self._indices = range(len(task))[start:stop:step]
        self.name, self.kind, self.baseline = task.name, task.kind, task.baseline

    def __len__(self) -> int:
        """How many items there are."""
        return len(self._indices)

    def item(self, index: int) -> Item:
        """The item of a number."""
        return self._task.item(self._indices[index])

    def content(self, indices: Sequence[int] | None = None) -> str:
        """As the task knows these items."""
        if indices is None:
            return self._task.content(self._indices)
        at, own = indices.__getitem__, self._indices
        return self._task.content(Numbers(len(indices), lambda place: own[at(place)]))

    def judge(self, item: Item, reply: Message) -> float:
        """As the task does."""
        return self._task.judge(item, reply)


class _Several(Task):
    """Items of several tasks; each is judged by its own."""

    def __init__(self, tasks: Sequence[Task], name: str) -> None:
        if not tasks:
            raise ValueError(f"a {name} of no tasks; give at least one")
        self.tasks, self.name = tuple(tasks), name

    @abstractmethod
    def place(self, index: int) -> tuple[int, int]:
        """The number of the task that an item is of, and the item's number there."""

    def item(self, index: int) -> Item:
        """The item of a number; "tasks" in its `more` leads to its own task, outermost first."""
        which, inner = self.place(index)
        item = self.tasks[which].item(inner)
        path = (which, *item.more.get("tasks", ()))
        return replace(item, more={**item.more, "tasks": path})

    def content(self, indices: Sequence[int] | None = None) -> str:
        """As the tasks know their own of these items, and in which order they come."""
        places = [self.place(i) for i in (range(len(self)) if indices is None else indices)]
        digest = hashlib.sha256(json.dumps([which for which, _ in places]).encode())
        for number, task in enumerate(self.tasks):
            own = [inner for which, inner in places if which == number]
            digest.update(task.content(own).encode())
        return digest.hexdigest()

    def judge(self, item: Item, reply: Message) -> float:
        """As the item's own task does."""
        which, *inner = item.more["tasks"]
        task: Task = self.tasks[which]
        return task.judge(replace(item, more={**item.more, "tasks": tuple(inner)}), reply)


class Chain(_Several):
    """Tasks one after another, for a curriculum."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks, "sequence")

    def __len__(self) -> int:
        """All items of all tasks."""
        return sum(map(len, self.tasks))

    def place(self, index: int) -> tuple[int, int]:
        """The first task's items come first."""
        for which, task in enumerate(self.tasks):
            if index < len(task):
                return which, index
            index -= len(task)
        raise IndexError(index)


class Mixture(_Several):
    """All items of all tasks, shuffled once; a task that is listed twice comes twice."""

    def __init__(self, tasks: Sequence[Task], seed: int = SHUFFLE_SEED) -> None:
        super().__init__(tasks, "mixture")
        self._places = [
            (which, index) for which, task in enumerate(self.tasks) for index in range(len(task))
        ]
        random.Random(seed).shuffle(self._places)

    def __len__(self) -> int:
        """All items of all tasks."""
        return len(self._places)

    def place(self, index: int) -> tuple[int, int]:
        """Anywhere."""
        return self._places[index]


class Weighted(_Several):
    """Items drawn from tasks by weight, as many as are wanted; each task's own in their order.

    Args:
        tasks: What to draw from. A task that is used up begins again.
        weights: The share of each; they are divided by their sum.
        size: How many items there are.
        seed: Decides which task each item is of.

    Raises:
        ValueError: Not one weight for each task, a negative one, or all 0; a task without items.
    """

    def __init__(
        self, tasks: Sequence[Task], weights: Sequence[float], size: int, seed: int = SHUFFLE_SEED
    ) -> None:
        super().__init__(tasks, "mixture")
        if len(weights) != len(tasks):
            raise ValueError(f"{len(weights)} weights for {len(tasks)} tasks; give one for each")
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ValueError(f"weights={list(weights)}: they are at least 0, and one is above")
        weights = scaled(weights)
        for task, weight in zip(tasks, weights, strict=True):
            if weight and not len(task):
                raise ValueError(f"the task {task.name} has no items; leave it out")
        drawn = random.Random(seed).choices(range(len(tasks)), weights, k=checked_size(size))
        before = [0] * len(tasks)
        self._places = []
        for which in drawn:
            self._places.append((which, before[which] % len(tasks[which])))
            before[which] += 1

    def __len__(self) -> int:
        """As many as were asked for."""
        return len(self._places)

    def place(self, index: int) -> tuple[int, int]:
        """As drawn."""
        return self._places[index]
