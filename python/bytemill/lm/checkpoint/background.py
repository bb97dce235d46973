"""Checkpoints written by a thread, while the next steps are made."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from bytemill.lm.checkpoint.state import Snapshot
from bytemill.lm.checkpoint.store import CheckpointStore


class Writer:
    """Writes a run's checkpoints, one at a time.

    `write` copies the tensors, so that they may change from then on: while a checkpoint is being
    written, it takes as much memory as it has on disk. What is on disk is whole at any moment, as
    with `CheckpointStore.save`; a process that ends in between waits, and one that is killed leaves
    the checkpoints before. (The interpreter does not end before the thread has.)
    """

    def __init__(self, store: CheckpointStore) -> None:
        self.store = store
        self._last: Future[Path] | None = None

    def write(
        self,
        step: int,
        snapshot: Snapshot,
        *,
        model_config: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Future[Path]:
        """Begins to write, after the one before has been written; arguments as
        `CheckpointStore.write`.

        Returns:
            The checkpoint's folder, once it is written; `result` raises what
            `CheckpointStore.write` does.
        """
        if self._last is not None:
            wait([self._last])
        copied = snapshot.copied()
        executor = ThreadPoolExecutor(1, "bytemill-checkpoint")
        self._last = executor.submit(
            self.store.write, step, copied,
            model_config=dict(model_config), metrics=dict(metrics or {}), extra=dict(extra or {}),
        )  # fmt: skip
        executor.shutdown(wait=False)
        return self._last


def written(path: Path) -> Future[Path]:
    """What is there already."""
    future: Future[Path] = Future()
    future.set_result(path)
    return future
