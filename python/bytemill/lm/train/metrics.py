"""Figures of a run over time: JSON lines and, where asked for, trackers."""

from __future__ import annotations

import importlib
import json
import math
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from bytemill import files

FILE: Final = "metrics.jsonl"
WANDB_ID: Final = "wandb-id"


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, each a dict with "step".

    A last line that a kill has cut short is left out.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another line is not a JSON object with a "step".
    """
    lines = Path(path).read_bytes().split(b"\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise ValueError
        except ValueError:
            if number == len(lines):  # no line end: it was being written
                break
            raise ValueError(
                f"{os.fspath(path)}, line {number}: {line[:60]!r} is not a JSON object with a "
                "step; delete the line"
            ) from None
        rows.append(row)
    return rows


class MetricsLog:
    """Appends to RUN/metrics.jsonl, and to trackers.

    Args:
        run: The run's folder.
        resume_at: When a run goes on: the step it goes on from. Lines of later steps, which will
            come again, are removed. None begins a new file.
        wandb: A project of Weights & Biases to log to as well; RUN/wandb-id has the name by which
            a run that goes on goes on there.
        tensorboard: Log to RUN/tensorboard as well.
        config: What trackers show as the run's configuration.

    Raises:
        ImportError: A tracker is asked for that is not installed.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        *,
        resume_at: int | None = None,
        wandb: str | None = None,
        tensorboard: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._run = Path(run)
        path = self._run / FILE
        kept: list[dict[str, Any]] = []
        if resume_at is not None and path.exists():
            kept = [row for row in read_metrics(path) if row["step"] <= resume_at]
        files.write_bytes(path, b"".join(_line(row) for row in kept))
        self._wandb = None
        if wandb:
            self._wandb = _start_wandb(wandb, self._run, dict(config or {}), resume_at is None)
        self._board = _start_tensorboard(self._run) if tensorboard else None
        self._file = path.open("ab")

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """Writes a line, with the seconds since 1970 as "time"; it is with the system when this
        returns. NaN and infinity become null."""
        self._file.write(_line({"step": step, "time": round(time.time(), 3), **figures}))
        self._file.flush()
        if self._wandb is not None:
            self._wandb.log(dict(figures), step=step)
        if self._board is not None:
            for name, value in figures.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Ends the file and the trackers."""
        self._file.close()
        if self._wandb is not None:
            self._wandb.finish()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _line(row: Mapping[str, Any]) -> bytes:
    known = {name: None if _is_no_number(value) else value for name, value in row.items()}
    return (json.dumps(known, allow_nan=False) + "\n").encode()


def _is_no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _start_wandb(project: str, run: Path, config: dict[str, Any], is_new: bool) -> Any:
    """A run there, or the one of before that goes on."""
    try:
        wandb: Any = importlib.import_module("wandb")
    except ImportError:
        raise ImportError(f"wandb={project!r}: it is not installed; pip install wandb") from None
    file = run / WANDB_ID
    id_ = "" if is_new or not file.is_file() else file.read_text().strip()
    if not id_:
        id_ = secrets.token_hex(8)
        files.write_bytes(file, id_.encode())
    return wandb.init(
        project=project, name=run.name, config=config, dir=str(run), id=id_, resume="allow"
    )


def _start_tensorboard(run: Path) -> Any:
    try:
        tensorboard: Any = importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        raise ImportError(
            "tensorboard=True: it is not installed; pip install tensorboard"
        ) from None
    return tensorboard.SummaryWriter(str(run / "tensorboard"))
