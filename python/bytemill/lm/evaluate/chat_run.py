"""Asks an assistant a whole task, and keeps what it answered as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from bytemill.chat.conversation import Message
from bytemill.chat.render import Renderer
from bytemill.lm.evaluate.chat import Answer, Computing, TaskScore, ask, score_task
from bytemill.lm.evaluate.kept import Kept, Row, answered
from bytemill.lm.evaluate.ranks import ALONE, Ranks
from bytemill.lm.model.transformer import Transformer
from bytemill.tasks.task import Task, items_content

_BATCHES: Final = 4
"""Of each process, between two times that answers are kept."""


@dataclass(frozen=True)
class TaskRun:
    """A task that was asked."""

    score: TaskScore
    seconds: float
    """That the asking took this time; what had been kept took none."""
    content: str
    """A hash of all of the task's items."""


def run_task(
    model: Transformer,
    renderer: Renderer,
    task: Task,
    *,
    max_items: int | None = None,
    batch_size: int = 16,
    max_new_tokens: int = 512,
    computing: Computing = nullcontext,
    dtype: torch.dtype | None = None,
    keep: Path | None = None,
    identity: str = "",
    ranks: Ranks = ALONE,
    progress: Callable[[int, int], object] | None = None,
) -> TaskRun:
    """Asks a task's items, and judges the answers; see `ask`.

    Args:
        model, renderer, task, batch_size, max_new_tokens, computing, dtype: As for `ask`.
        max_items: The first so many; None for all.
        keep: A file of JSON lines for the answers. What is there already, to the same items and for
            the same `identity` and `max_new_tokens`, is not asked again.
        identity: What else decides the answers: the model's weights, the tokenizer, the dtype.
        ranks: The processes that share the items; all call this with the same arguments, and get
            the same result.
        progress: Called with the items done and how many there are.

    Raises:
        ValueError: The task has no items; `max_items` is below 1; as `ask`.
    """
    if max_items is not None and max_items < 1:
        raise ValueError(f"max_items={max_items}: it must be at least 1")
    began = time.perf_counter()
    n = len(task) if max_items is None else min(max_items, len(task))
    with ranks.all_or_none():
        content = items_content(task)

    def share(todo: list[int]) -> Iterator[Row]:
        found = ask(
            model,
            renderer,
            task,
            indices=todo,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            computing=computing,
            dtype=dtype,
            rank=ranks.rank,
            size=ranks.size,
        )
        for answer in found:
            yield {
                "item": answer.index,
                "reply": answer.reply.to_dict()["content"],
                "answer": str(task[answer.index].answer),
                "score": answer.score,
                "finished": answer.is_finished,
                "asked": answer.is_asked,
            }

    head = {"task": task.name, "items": content, "of": identity, "max_new_tokens": max_new_tokens}
    rows = answered(
        n,
        share,
        Kept(keep, head),
        block=max(batch_size, 1) * _BATCHES * ranks.size,
        ranks=ranks,
        progress=progress,
    )
    answers = [
        Answer(
            row["item"],
            Message.of({"role": "assistant", "content": row["reply"]}),
            row["score"],
            row["finished"],
            row["asked"],
        )
        for row in rows
    ]
    return TaskRun(score_task(task, answers), time.perf_counter() - began, content)
