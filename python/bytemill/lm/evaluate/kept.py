"""Answers to numbered items, kept in a file as they come; several processes may share the work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bytemill.files import write_bytes
from bytemill.lm.evaluate.ranks import Ranks

Row = dict[str, Any]
"""An answer, fit for JSON; "item" is the item's number."""


class Kept:
    """A file of JSON lines: what the answers are answers of, then an answer in each line.

    Args:
        path: The file; None keeps nothing.
        head: What decides the answers. A file with another one counts for nothing.
    """

    def __init__(self, path: Path | None, head: Mapping[str, Any]) -> None:
        self._path, self._head = path, dict(head)

    def read(self, n: int) -> dict[int, Row]:
        """The answers there are to the first n items; none if the file is not ours or damaged."""
        if self._path is None or not self._path.is_file():
            return {}
        try:
            head, *rows = map(json.loads, self._path.read_text(encoding="utf-8").splitlines())
            if head != self._head:
                return {}
            return {row["item"]: row for row in rows if 0 <= row["item"] < n}
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}

    def write(self, done: Mapping[int, Row]) -> None:
        """Puts these answers into the file, in the items' order."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(self._head), *(json.dumps(done[i]) for i in sorted(done))]
        write_bytes(self._path, ("\n".join(lines) + "\n").encode())


def answered(
    n: int,
    ask: Callable[[list[int]], Iterable[Row]],
    kept: Kept,
    *,
    block: int,
    ranks: Ranks,
    progress: Callable[[int, int], object] | None = None,
) -> list[Row]:
    """The answers to items 0 to n - 1, in their order, on all ranks.

    Items are asked a block at a time, and kept after each. Blocks begin at fixed numbers, so that
    an evaluation that goes on asks the same items together as one that was never stopped.

    Args:
        n: How many items.
        ask: Given the numbers that a block has left to ask, answers this rank's share of them.
        kept: Where answers are.
        block: Items at a time.
        ranks: The processes.
        progress: Called with the items done and how many there are.

    Raises:
        Exception: Whatever `ask` raises on any rank.
    """
    done = ranks.gather(kept.read(n) if ranks.rank == 0 else {})[0]
    for first in range(0, n, block):
        todo = [i for i in range(first, min(first + block, n)) if i not in done]
        if not todo:
            continue
        own: list[Row] = []
        with ranks.all_or_none():
            for row in ask(todo):
                own.append(row)
                if progress is not None:
                    progress(len(done) + min(len(own) * ranks.size, len(todo)), n)
        for rows in ranks.gather(own):
            done.update((row["item"], row) for row in rows)
        if ranks.rank == 0:
            kept.write(done)
    return [done[i] for i in range(n)]
