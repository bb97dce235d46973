"""Asks a model all of CORE, and keeps what it answered as it goes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bytemill.files import write_bytes
from bytemill.lm.evaluate.core.items import TASKS, CoreTask, Item, find, read_items
from bytemill.lm.evaluate.core.prompts import Encode, question
from bytemill.lm.evaluate.core.results import CoreResult, TaskResult
from bytemill.lm.evaluate.core.score import Computing, score
from bytemill.lm.model.transformer import Transformer

Progress = Callable[[str, int, int], object]


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
        progress: Called with a task, the items done and how many there are.

    Raises:
        FileNotFoundError: No task's file is there.
        ValueError: A file is not what CORE's is; `max_items` is below 1.
    """
    if max_items is not None and max_items < 1:
        raise ValueError(f"max_items={max_items}: it must be at least 1")
    results = []
    for task in tasks:
        path = find(data, task)
        if path is None:
            continue
        items = read_items(path, task)
        n = len(items) if max_items is None else min(max_items, len(items))
        results.append(
            _run_task(model, encode, bos_id, task, items, n, batch_size, computing, keep, identity,
                      progress)
        )  # fmt: skip
    if not results:
        names = ", ".join(f"{task.file}.jsonl" for task in tasks[:3])
        raise FileNotFoundError(
            f"{data}: none of CORE's files is there, such as {names}; give the folder of an "
            "evaluation bundle"
        )
    return CoreResult(tuple(results))


def _run_task(
    model: Transformer,
    encode: Encode,
    bos_id: int | None,
    task: CoreTask,
    items: list[Item],
    n: int,
    batch_size: int,
    computing: Computing,
    keep: Path | None,
    identity: str,
    progress: Progress | None,
) -> TaskResult:
    began = time.perf_counter()
    context = model.config.context_length
    kept = _Kept(keep, task, items, identity)
    done = kept.read(n)
    todo = [i for i in range(n) if i not in done]
    # Questions are made for some hundreds at a time: few-shot rows are long.
    for first in range(0, len(todo), 512):
        some = todo[first : first + 512]
        questions = [question(task, items, i, encode, bos_id, context) for i in some]
        for which, found in score(model, questions, batch_size=batch_size, computing=computing):
            done[some[which]] = {
                "item": some[which],
                "choice": found.choice,
                "gold": questions[which].gold,
                "right": found.is_right,
                "losses": found.losses,
                "cropped": questions[which].is_cropped,
            }
            if progress is not None:
                progress(task.name, len(done), n)
        kept.write(done)
    rows = [done[i] for i in range(n)]
    return TaskResult(
        task,
        tuple(bool(row["right"]) for row in rows),
        sum(bool(row["cropped"]) for row in rows),
        time.perf_counter() - began,
    )


class _Kept:
    """A task's answers on disk, under a line that says what they are answers of."""

    def __init__(
        self, folder: Path | None, task: CoreTask, items: list[Item], identity: str
    ) -> None:
        self._path = None if folder is None else folder / f"{task.name}.jsonl"
        content = json.dumps([task.name, task.shots, task.delimiter, items], sort_keys=True)
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        self._head = {"task": task.name, "items": digest, "of": identity}

    def read(self, n: int) -> dict[int, dict[str, Any]]:
        if self._path is None or not self._path.is_file():
            return {}
        try:
            head, *lines = map(json.loads, self._path.read_text(encoding="utf-8").splitlines())
            if head != self._head:
                return {}
            return {line["item"]: line for line in lines if line["item"] < n}
        except (ValueError, KeyError, TypeError):
            return {}  # not ours, or damaged: asked again

    def write(self, done: dict[int, dict[str, Any]]) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(self._head), *(json.dumps(done[i]) for i in sorted(done))]
        write_bytes(self._path, ("\n".join(lines) + "\n").encode())
