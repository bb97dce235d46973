"""Tasks as a stage is told them: names and files with slices, repeats and weights; and what of them
is kept for validation.

    smoltalk; mmlu*3; gsm8k*4; arc-easy; arc-challenge; smoltalk[:10000]; own.jsonl
    0.48=spelling; 0.25=counting; 0.2=arithmetic; 0.07=identity
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bytemill.chat.conversation import Message
from bytemill.lm.stages.conversations import Share
from bytemill.tasks.arithmetic import Arithmetic
from bytemill.tasks.identity import Identity
from bytemill.tasks.messages import Messages
from bytemill.tasks.named import NAMED, Sources
from bytemill.tasks.smoltalk import SmolTalk
from bytemill.tasks.task import Item, Numbers, Slice, Task
from bytemill.tasks.words import Counting, Spelling

GENERATED_ITEMS: Final = 10_000
"""Of a generated task, where it is not drawn by weight; a slice takes other ones."""
_ENDLESS: Final = 1_000_000
_MOST_REPEATS: Final = 1000
"""The order of an epoch is in memory."""

GENERATED: Final[dict[str, Callable[[Sources], Task]]] = {
    "identity": lambda _: Identity(size=_ENDLESS),
    "spelling": lambda s: Spelling(s.words, size=_ENDLESS),
    "counting": lambda s: Counting(s.words, size=_ENDLESS),
    "arithmetic": lambda _: Arithmetic(size=_ENDLESS),
    "arithmetic-3": lambda _: Arithmetic(3, size=_ENDLESS),
    "arithmetic-4": lambda _: Arithmetic(4, size=_ENDLESS),
}
PUBLISHED: Final[dict[str, Callable[[Sources], Task]]] = {
    "smoltalk": lambda s: SmolTalk(s.data / "smol-smoltalk", "train"),
    **{name: NAMED[name] for name in ("mmlu", "gsm8k", "arc-easy", "arc-challenge")},
}
"""Those that are read from files; `Sources.split` is "train"."""
NAMES: Final = (*PUBLISHED, *GENERATED)

_ENTRY: Final = re.compile(
    r"""(?:(?P<weight>[0-9.eE+-]+)\s*=\s*)?    # 0.25=
        (?P<name>.+?)\s*
        (?:\[(?P<slice>[^\[\]]*)\])?\s*        # [:10000]
        (?:\*\s*(?P<repeats>[0-9]+))?          # *3
        $""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Mixture:
    """The tasks of a stage, each in two parts."""

    train: tuple[Share, ...]
    val: tuple[Share, ...]
    """What is not trained on; tasks of a few items have none."""
    names: tuple[str, ...]
    """What those of `train` are called."""
    val_names: tuple[str, ...]
    bad: list[str] = field(default_factory=list)
    """Lines that are not conversations, and were passed over."""


def mixture(text: str, sources: Sources, *, skip_bad: bool = False) -> Mixture:
    """The tasks that a text names.

    Entries stand between semicolons: a task's name or the path of JSON lines of conversations;
    perhaps with a slice of its items, [start:stop:step]; how often each of them comes in an epoch,
    *3; or, before it, its weight, 0.2=. Of each task a hundredth of the items (a twentieth of less
    than 2,000) is for validation.

    Args:
        text: The entries.
        sources: Where the tasks get what they ask; its split must be "train".
        skip_bad: Pass over lines of files that are not conversations.

    Raises:
        FileNotFoundError: A file is not there; the message says how to get it.
        ValueError: An entry is wrong, or names a test split; the message names it.
    """
    train, val = [], []
    names, val_names = [], []
    bad: list[str] = []
    for entry in text.split(";"):
        if not entry.strip():
            continue
        weight, name, items, repeats = _parsed(entry.strip())
        task = _task(name, sources, bad.append if skip_bad else None)
        # Before it is sliced: what one entry keeps for validation, another does not train on.
        every = _every(len(task))
        kept = Slice(task, every - 1, None, every) if every else None
        task = Without(task, every) if every else task
        if items is None and name in GENERATED and weight is None:
            items = None, GENERATED_ITEMS, 1
        task = task if items is None else Slice(task, *items)
        if not len(task):
            raise ValueError(f"tasks={entry.strip()!r}: it has no items")
        train.append(Share(task, repeats, weight))
        if kept is not None:
            # As much of it as there is of the task in training.
            val.append(Share(kept, 1, weight or float(repeats * len(task))))
            val_names.append(name)
        names.append(name)
    if not train:
        raise ValueError(f"tasks={text!r}: it names no task; there are {', '.join(NAMES)}")
    return Mixture(tuple(train), tuple(val), tuple(names), tuple(val_names), bad)


class Without(Task):
    """A task without every so many-th of its items.

    Args:
        task: What to take them of.
        every: Items every - 1, 2 * every - 1, ... are left out; at least 2.
    """

    def __init__(self, task: Task, every: int) -> None:
        self._task, self._every = task, every
        self.name, self.kind, self.baseline = task.name, task.kind, task.baseline

    def __len__(self) -> int:
        """How many items are left."""
        return len(self._task) - len(self._task) // self._every

    def item(self, index: int) -> Item:
        """The item of a number."""
        return self._task.item(self._number(index))

    def content(self, indices: Sequence[int] | None = None) -> str:
        """As the task knows these items."""
        if indices is None:
            return self._task.content(Numbers(len(self), self._number))
        at = indices.__getitem__
        return self._task.content(Numbers(len(indices), lambda place: self._number(at(place))))

    def _number(self, index: int) -> int:
        return index + index // (self._every - 1)

    def judge(self, item: Item, reply: Message) -> float:
        """As the task does."""
        return self._task.judge(item, reply)


def placed_tasks(text: str) -> str:
    """The same with whole paths to files, which stay right in another working folder; an entry that
    `mixture` refuses is left for it to refuse."""
    return "; ".join(_placed(entry.strip()) for entry in text.split(";") if entry.strip())


def _placed(entry: str) -> str:
    found = _ENTRY.fullmatch(entry)
    if found is None or found["name"] in NAMES or not _is_file(found["name"]):
        return entry
    start, end = found.span("name")
    return f"{entry[:start]}{Path(found['name']).absolute()}{entry[end:]}"


def _is_file(name: str) -> bool:
    """Whether it stands for files, and not for a task."""
    return Path(name).exists() or any(sign in name for sign in "/\\*?") or ".json" in name


def _every(n: int) -> int | None:
    """Of how many items one is for validation; None if there are too few."""
    if n < 20:
        return None
    return 100 if n >= 2000 else 20


def _parsed(entry: str) -> tuple[float | None, str, tuple[int | None, int | None, int] | None, int]:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(f"tasks={entry!r}: it is not like name, name[:1000], name*3 or 0.2=name")
    weight = None
    if found["weight"] is not None:
        try:
            weight = float(found["weight"])
        except ValueError:
            raise ValueError(f"tasks={entry!r}: {found['weight']!r} is not a weight") from None
        if not 0 < weight < float("inf"):
            raise ValueError(f"tasks={entry!r}: a weight is a number above 0")
    repeats = int(found["repeats"] or 1)
    if not 1 <= repeats <= _MOST_REPEATS:
        raise ValueError(
            f"tasks={entry!r}: *{repeats}: each item comes at least once in an epoch, and at most "
            f"{_MOST_REPEATS:,} times; epochs= goes through all of them more often"
        )
    if weight is not None and found["repeats"]:
        raise ValueError(f"tasks={entry!r}: it has a weight and repeats; give one of them")
    return weight, found["name"], _bounds(entry, found["slice"]), repeats


def _bounds(entry: str, text: str | None) -> tuple[int | None, int | None, int] | None:
    if text is None:
        return None
    try:
        parts = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError:
        parts = []
    if not 2 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] == 0):
        raise ValueError(f"tasks={entry!r}: a slice is [start:stop] or [start:stop:step]")
    step = parts[2] if len(parts) == 3 else None
    return parts[0], parts[1], step or 1


def _task(name: str, sources: Sources, on_bad: Callable[[str], None] | None) -> Task:
    if name in GENERATED:
        if name in ("spelling", "counting") and not sources.words:
            raise ValueError(
                f"tasks={name!r}: it needs words, and the tokenizer has none of 3 to 12 letters; "
                "give a text that has, by words="
            )
        return GENERATED[name](sources)
    if name in PUBLISHED:
        return PUBLISHED[name](sources)
    if _is_file(name):
        if Path(name).is_dir() and (Path(name) / "config.json").is_file():
            raise ValueError(f"tasks={name!r}: it is a run's folder, whose data replay= takes")
        return Messages(name, on_bad=on_bad)
    raise ValueError(_refusal(name))


def _refusal(name: str) -> str:
    known = ", ".join(NAMES)
    if name in NAMED or name.lower().endswith(("test", "validation")):
        return (
            f"tasks={name!r}: it is for the final table only: nothing is trained or chosen by it; "
            f"the tasks to train on are {known}"
        )
    return (
        f"tasks={name!r}: it is neither a task nor a file; the tasks are {known}, and one's own "
        'are files like chats.jsonl, with {"messages": [...]} in each line'
    )
