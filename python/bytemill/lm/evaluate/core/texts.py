"""CORE's items as texts, for whoever looks for them elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bytemill.lm.evaluate.core.items import TASKS, CoreTask, find, read_items
from bytemill.lm.evaluate.core.prompts import solved


def core_texts(data: Path, tasks: Sequence[CoreTask] = TASKS) -> Iterator[tuple[str, int, str]]:
    """A task's name, an item's number in CORE's order, and the item with its right answer.

    Tasks that ask the same file, such as hellaswag with and without solved items before it, come
    once.

    Raises:
        FileNotFoundError: No task's file is there.
        ValueError: A file is not what CORE's is.
    """
    seen = set()
    for task in tasks:
        path = find(data, task)
        if path is None or path in seen:
            continue
        seen.add(path)
        for number, item in enumerate(read_items(path, task)):
            yield task.name, number, solved(task, item)
    if not seen:
        raise FileNotFoundError(
            f"{data}: none of CORE's files is there, such as {tasks[0].file}.jsonl; give the "
            "folder of an evaluation bundle"
        )
