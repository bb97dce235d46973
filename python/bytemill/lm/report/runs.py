"""What a run's folder tells of it, and the runs that it began with."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bytemill.lm.checkpoint.loading import find_checkpoint
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.cost.accounting import count_parameters
from bytemill.lm.train.metrics import FILE, read_metrics
from bytemill.lm.train.saved_run import CONFIG

EVALUATION: Final = "evaluation"
_STAGES: Final = {"train": "base", "mid-train": "mid"}
"""Stages that are called otherwise than the program."""
_FORMAT: Final = re.compile(r"bytemill-([a-z-]+)-config")


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    folder: Path
    stage: str
    """ "base", "mid", "sft", "rl", or what else its program is called."""
    config: dict[str, Any]
    """Its configuration's parts, as its file has them."""
    metrics: list[dict[str, Any]]
    checkpoint: Checkpoint
    """The best, or the last where none was validated."""
    last: Checkpoint
    base_eval: dict[str, Any] | None
    """What `bytemill base-eval` found, if it was asked."""
    chat_eval: dict[str, Any] | None
    """What `bytemill chat-eval` found, if it was asked."""

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.resolve().name

    @property
    def begun_from(self) -> str | None:
        """The run or checkpoint that this one's weights came from."""
        found = self.config.get("run", {}).get("init_from")
        return found if isinstance(found, str) else None

    @property
    def n_parameters(self) -> int | None:
        """Of the model; None for one that is not ours."""
        try:
            return count_parameters(ModelConfig.from_dict(self.checkpoint.model_config)).total
        except (TypeError, ValueError):
            return None

    @property
    def machine(self) -> str | None:
        """What it ran on, in words."""
        found = self.last.extra.get("machine")
        return found if isinstance(found, str) else None

    @property
    def seconds(self) -> float | None:
        """Of training, validations and saving included."""
        try:
            return float(self.last.extra["loop"]["pace"]["seconds"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def tokens(self) -> int | None:
        """That it was trained on."""
        found = self.newest("tokens")
        return found if isinstance(found, int) else None

    def newest(self, figure: str) -> Any:
        """The last of a figure in metrics.jsonl; None if there is none."""
        values = (row[figure] for row in reversed(self.metrics) if row.get(figure) is not None)
        return next(values, None)


def read_run(folder: Path) -> RunRecord:
    """Reads a run's folder.

    Raises:
        FileNotFoundError: It has no config.json, metrics.jsonl or checkpoint.
        ValueError: One of them is damaged.
    """
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder}: there is no {CONFIG} in it; name the folder of a run, such as `bytemill "
            "train` makes it"
        )
    config = _json(folder / CONFIG)
    known = _FORMAT.fullmatch(str(config.get("format")))
    program = known[1] if known else "run"
    return RunRecord(
        folder,
        _STAGES.get(program, program),
        config,
        read_metrics(folder / FILE),
        find_checkpoint(folder, "best"),
        find_checkpoint(folder, "last"),
        *(
            _json(file) if file.is_file() else None
            for file in (folder / EVALUATION / f"{name}.json" for name in ("base", "chat"))
        ),
    )


def chain(folder: Path) -> tuple[list[RunRecord], str | None]:
    """A run and those that it began with, the first one first.

    Returns:
        The runs; and, where one began with what is not there any more, what that was.

    Raises:
        FileNotFoundError, ValueError: As `read_run`, of the run that is asked for.
    """
    runs = [read_run(folder)]
    seen = {folder.resolve()}
    while (begun := runs[0].begun_from) is not None:
        place = Path(begun)
        # It may be a checkpoint, RUN/checkpoints/step-N.
        found = next((p for p in (place, *list(place.parents)[:2]) if (p / CONFIG).is_file()), None)
        if found is None or found.resolve() in seen:
            return runs, begun
        seen.add(found.resolve())
        runs.insert(0, read_run(found))
    return runs, None


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (RecursionError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: it is not a JSON object; it is damaged, or of another program")
    return found
