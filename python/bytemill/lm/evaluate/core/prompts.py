"""An item of CORE as rows of token ids, and the span of each that is scored.

- choice: the question with each choice, a row each. Scored is what lies behind the tokens that all
  rows begin with: the row with the lowest mean loss is the answer.
- schema: each context with the same continuation. Scored is what all rows end with.
- continuation: one row. Right is if greedy decoding gives every token of the continuation.

The rules are DCLM's and nanochat's. Where a choice's row is the beginning of another's, as in PIQA,
nothing would be left to score; then the last token that all have in common is scored, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bytemill.lm.evaluate.core.items import CoreTask, Item, shots

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Question:
    """Rows to score."""

    rows: list[list[int]]
    spans: list[tuple[int, int]]
    """Of each row, the ids that are scored: from the first up to the second."""
    gold: int | None
    """The right row; None where the one row has to be continued exactly."""
    is_cropped: bool
    """Whether a row was too long for the model, and lost its beginning."""


def question(
    task: CoreTask,
    items: Sequence[Item],
    index: int,
    encode: Encode,
    bos_id: int | None,
    context_length: int,
) -> Question:
    """An item as rows.

    Args:
        task: The item's.
        items: All of them, in CORE's order.
        index: Which one.
        encode: Text to ids, as ordinary text.
        bos_id: What each row begins with; None for nothing.
        context_length: The most ids of a row; of longer ones the last are kept.

    Raises:
        ValueError: A row has a single id.
    """
    item = items[index]
    before = "".join(f"{solved(task, shot)}\n\n" for shot in shots(items, index, task.shots))
    first = [] if bos_id is None else [bos_id]
    rows: list[list[int]]
    if task.kind == "continuation":
        given = before + item["context"].strip() + task.delimiter
        rows = [[*first, *encode(given + item["continuation"])]]
        start = _common([rows[0], [*first, *encode(given.strip())]])
        spans = [(_inside(start, rows[0]), len(rows[0]))]
        gold = None
    else:
        if task.kind == "choice":
            texts = [item["query"] + task.delimiter + choice for choice in item["choices"]]
        else:
            texts = [c + task.delimiter + item["continuation"] for c in item["context_options"]]
        rows = [[*first, *encode(before + text)] for text in texts]
        gold = int(item["gold"])
        if task.kind == "choice":
            shared = min(_common(rows), min(map(len, rows)) - 1)
            spans = [(_inside(shared, row), len(row)) for row in rows]
        else:
            same = _common([row[::-1] for row in rows])
            spans = [(_inside(len(row) - same, row), len(row)) for row in rows]
    cropped, cut = [], []
    for row, (start, end) in zip(rows, spans, strict=True):
        lost = max(len(row) - context_length, 0)
        cropped.append(row[lost:])
        # A first token that nothing stands before cannot be scored.
        cut.append((max(start - lost, 1), end - lost))
    if any(start >= end for start, end in cut):
        raise ValueError(
            f"item {index} of {task.name} leaves a row of one token, in which nothing stands "
            f"before what is to be scored: the context length is {context_length}; use a model "
            "with a longer one, and a tokenizer with <|bos|>"
        )
    return Question(cropped, cut, gold, cropped != rows)


def solved(task: CoreTask, item: Item) -> str:
    """An item with its answer."""
    if task.kind == "choice":
        return str(item["query"] + task.delimiter + item["choices"][item["gold"]])
    if task.kind == "schema":
        return str(item["context_options"][item["gold"]] + task.delimiter + item["continuation"])
    return str(item["context"].strip() + task.delimiter + item["continuation"])


def _common(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all rows begin with."""
    shortest = min(map(len, rows))
    for i in range(shortest):
        if any(row[i] != rows[0][i] for row in rows):
            return i
    return shortest


def _inside(start: int, row: Sequence[int]) -> int:
    """Where a span begins, so that something stands before it and at least an id is in it."""
    return max(min(start, len(row) - 1), 1)
