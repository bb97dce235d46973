"""What the check finds: rows of a table, and a JSON file."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

import torch

from bytemill.lm.device import runtime


@dataclass
class Row:
    """One finding."""

    name: str
    value: str
    ok: bool | None = None
    """Whether it is as it must be; None where nothing was asked of it."""
    figures: dict[str, Any] = field(default_factory=dict)
    """The same in numbers."""
    seconds: float = 0.0


class Results:
    """Runs checks one after the other; one that raises is a row that failed.

    Args:
        device: Where things run; its memory is freed after each check.
        out: What each row is written to as it comes.
    """

    def __init__(self, device: torch.device, out: TextIO) -> None:
        self.rows: list[Row] = []
        self._device, self._out = device, out

    def run(self, name: str, check: Callable[[], Row]) -> None:
        """Adds a check's row."""
        began = time.perf_counter()
        try:
            row = check()
        except Exception as error:
            traceback.print_exc()
            row = Row(name, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", False)
        row.seconds = time.perf_counter() - began
        self.rows.append(row)
        self._out.write(f"{_MARKS[row.ok]:6} {row.name:38} {row.value}\n")
        self._out.flush()
        torch._dynamo.reset()
        gc.collect()
        runtime.free_memory(self._device)

    @property
    def failed(self) -> list[str]:
        """The names of what failed."""
        return [row.name for row in self.rows if row.ok is False]

    def to_json(self) -> list[dict[str, Any]]:
        """All rows."""
        return [asdict(row) for row in self.rows]


_MARKS = {True: "ok", False: "FAILED", None: ""}


@contextmanager
def limited_memory(device: torch.device, n_bytes: int) -> Iterator[None]:
    """Lets this process take no more of a CUDA device's memory; nothing elsewhere."""
    if device.type != "cuda":
        yield
        return
    index = torch.cuda.current_device() if device.index is None else device.index
    total = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, n_bytes / total), index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
