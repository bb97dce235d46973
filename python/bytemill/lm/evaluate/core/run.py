"""Asks a model all of CORE, and keeps what it answered as it goes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

from bytemill.lm.evaluate.core.items import TASKS, CoreTask, Item, find, read_items
from bytemill.lm.evaluate.core.prompts import Encode, question
from bytemill.lm.evaluate.core.results import CoreResult, TaskResult
from bytemill.lm.evaluate.core.score import Computing, score
from bytemill.lm.evaluate.kept import Kept, Row, answered
from bytemill.lm.evaluate.ranks import ALONE, Ranks
from bytemill.lm.model.transformer import Transformer

Progress = Callable[[str, int, int], object]

_BLOCK: Final = 512
"""Items at a time: few-shot rows are long."""


def run_core(
    model: Transformer,
    encode: Encode,
    bos_id: int | None,
    data: Path,
    *,
    tasks: Sequence[CoreTask] = TASKS,
    max_items: int | None = None,
    batch_size: int = 32,
    computing: Computing = nullcontext,
    keep: Path | None = None,
    identity: str = "",
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> CoreResult:
    """Asks the tasks whose items are at hand.

    Args:
        model: In evaluation mode.
        encode: Text to ids, as ordinary text (`Tokenizer.encode_ordinary`).
        bos_id: What each row begins with.
        data: A folder with the tasks' files, anywhere below it.
        tasks: Which ones.
        max_items: The first so many of each task, in CORE's order; None for all.
        batch_size: Rows at a time. It changes speed and memory only.
        computing: Makes the context to compute in, such as autocast.
        keep: A folder for a file of JSON lines for each task, with the answer to each item. What is
            there already, for the same items and `identity`, is not asked again.
        identity: What else decides the answers: the model's name, step, and the like.
        ranks: The processes that share the items; all call this with the same arguments, and get
            the same result. What rank 0 keeps does not depend on their number.
        progress: Called with a task, the items done and how many there are.

    Raises:
        FileNotFoundError: No task's file is there.
        ValueError: A file is not what CORE's is; `max_items` is below 1.
    """
    if max_items is not None and max_items < 1:
        raise ValueError(f"max_items={max_items}: it must be at least 1")
    results = []
    for task in tasks:
        with ranks.all_or_none():
            path = find(data, task)
            items = [] if path is None else read_items(path, task)
        if path is None:
            continue
        began = time.perf_counter()
        content = _content(task, items)
        n = len(items) if max_items is None else min(max_items, len(items))
        rows = answered(
            n,
            partial(_ask, model, encode, bos_id, task, items, batch_size, computing, ranks),
            Kept(
                None if keep is None else keep / f"{task.name}.jsonl",
                {"task": task.name, "items": content, "of": identity},
            ),
            block=_BLOCK,
            ranks=ranks,
            progress=None if progress is None else partial(progress, task.name),
        )
        results.append(
            TaskResult(
                task,
                tuple(bool(row["right"]) for row in rows),
                sum(bool(row["cropped"]) for row in rows),
                time.perf_counter() - began,
                content,
            )
        )
    if not results:
        names = ", ".join(f"{task.file}.jsonl" for task in tasks[:3])
        raise FileNotFoundError(
            f"{data}: none of CORE's files is there, such as {names}; give the folder of an "
            "evaluation bundle"
        )
    return CoreResult(tuple(results))


def _ask(
    model: Transformer,
    encode: Encode,
    bos_id: int | None,
    task: CoreTask,
    items: list[Item],
    batch_size: int,
    computing: Computing,
    ranks: Ranks,
    todo: list[int],
) -> Iterator[Row]:
    """This rank's share of the answers to some items."""
    context = model.config.context_length
    questions = [question(task, items, i, encode, bos_id, context) for i in todo]
    scores = score(
        model,
        questions,
        batch_size=batch_size,
        computing=computing,
        rank=ranks.rank,
        size=ranks.size,
    )
    for which, found in scores:
        yield {
            "item": todo[which],
            "choice": found.choice,
            "gold": questions[which].gold,
            "right": found.is_right,
            "losses": found.losses,
            "cropped": questions[which].is_cropped,
        }


def _content(task: CoreTask, items: list[Item]) -> str:
    content = json.dumps([task.name, task.shots, task.delimiter, items], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
