"""Many runs that differ in some fields: which they are, which are done, what they came to."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bytemill import files
from bytemill.lm.checkpoint.state import StrPath
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.cost.accounting import count_parameters
from bytemill.lm.settings import word
from bytemill.lm.train.config import DataConfig, TrainConfig
from bytemill.lm.train.events import Event
from bytemill.lm.train.loop import NonFiniteLossError
from bytemill.lm.train.metrics import FILE, read_metrics
from bytemill.lm.train.plan import plan
from bytemill.lm.train.pretrain import Trainer
from bytemill.lm.train.run_data import RunData

RESULTS: Final = "sweep.json"
DIVERGED: Final = "diverged.json"
"""In the folder of a run whose loss was no number any more: the message."""
_MOST_CHARACTERS: Final = 100


@dataclass(frozen=True)
class Variant:
    """One run of a sweep."""

    fields: dict[str, Any]
    """Those that are varied, by the names of their flags."""
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Where it goes."""
        return Path(self.config.run.out)

    @property
    def name(self) -> str:
        """Its fields in words."""
        return ", ".join(f"{name} {word(value)}" for name, value in self.fields.items())


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    fields: dict[str, Any]
    run: str
    """The folder."""
    n_params: int
    steps: int
    """Made."""
    seconds: float
    """Of training, validation and saving."""
    loss: float | None
    """The last line's of metrics.jsonl: mean of its steps' batches, in nats per token; None if the
    run has diverged."""
    val_loss: float | None
    """The last validation's; None without one, or if the run has diverged."""
    val_bpb: float | None
    """Bits per byte; None without a tokenizer, too."""
    diverged: str | None
    """The message, if the loss was no number any more."""


def variants(
    base: Mapping[str, Any], vary: Mapping[str, Sequence[Any]], out: StrPath
) -> list[Variant]:
    """The runs of a sweep: the cross product of the fields' values, the last field changing first.

    A run's folder in `out` is named by its fields and by a hash of its whole configuration, so that
    one that is done is known by what it was made of.

    Args:
        base: Fields of `TrainConfig` by the names of their flags; those that are varied need not be
            there, nor `out`.
        vary: Names with the values that each takes.
        out: The sweep's folder.

    Raises:
        TypeError: A field is unknown (the message has the nearest), missing, or of another type.
        ValueError: A value is out of range, or given twice; nothing is varied, or `out` is.
    """
    if not vary:
        raise ValueError("a sweep needs a field to vary")
    for name, values in vary.items():
        if name == "out":
            raise ValueError("out cannot be varied: each run has a folder of its own in it")
        if not values:
            raise ValueError(f"{name}: it has no values to take")
        for value, other in itertools.combinations(values, 2):
            if value == other and type(value) is type(other):
                raise ValueError(f"{name}: the value {word(value)} is there twice")
    found = []
    for values in itertools.product(*vary.values()):
        fields = dict(zip(vary, values, strict=True))
        config = TrainConfig.of(**{**base, **fields, "out": str(out)}).placed()
        content = json.dumps({**config.flat(), "out": ""}, sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:6]
        label = ",".join(f"{name}={word(value)}" for name, value in fields.items())
        plain = re.sub(r"[^\w.,=+-]", "_", label)[:_MOST_CHARACTERS]
        found.append(Variant(fields, config.but(out=str(Path(out) / f"{plain}-{digest}"))))
    return found


def check(runs: Sequence[Variant]) -> None:
    """Whether each run could begin, as far as can be told of its data and its sizes.

    Raises:
        FileNotFoundError: Data or tokenizer are not there.
        ValueError: The sizes of a run do not go together; the message names the run.
    """
    opened: list[tuple[DataConfig, RunData]] = []
    for run in runs:
        config = run.config
        data = next((data for of, data in opened if of == config.data), None)
        if data is None:
            data = RunData.open(config.data)
            opened.append((config.data, data))
        try:
            planned = plan(config.model, config.optimizer, config.schedule, data.n_vocab)
            data.check(planned.model.vocab_size)
        except ValueError as error:
            raise ValueError(f"{run.name}: {error}") from None


def sweep(
    runs: Sequence[Variant],
    *,
    on_run: Callable[[int, Variant, Outcome | None], None] = lambda number, run, outcome: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Iterator[Outcome]:
    """Makes the runs one after another; those that are done are not made again, and one that was
    stopped goes on.

    Args:
        runs: What `variants` gave.
        on_run: Told each run before it begins, counted from 0, with its outcome if it is done.
        on_event: Told the runs' events.

    Yields:
        The outcomes, in order; fewer than there are runs if one is stopped (Ctrl-C), as that ends
        the sweep.

    Raises:
        FileNotFoundError, OSError, ValueError: As `Trainer.run`; a loss that is no number any more
            is an outcome, and not an error.
    """
    for number, run in enumerate(runs):
        done = outcome_of(run)
        on_run(number, run, done)
        if done is None:
            try:
                if not Trainer(run.config, on_event=on_event, resume=True).run().is_finished:
                    return
            except NonFiniteLossError as error:
                data = json.dumps({"step": error.step, "message": str(error)})
                files.write_bytes(run.folder / DIVERGED, (data + "\n").encode())
            done = outcome_of(run)
        if done is None:
            raise RuntimeError(f"{run.folder}: the run has ended and left no outcome")
        yield done


def outcome_of(run: Variant) -> Outcome | None:
    """What a run came to; None if it is not done.

    Raises:
        ValueError: Its checkpoint or metrics are damaged.
    """
    last = CheckpointStore(run.folder).last()
    diverged = None
    if (run.folder / DIVERGED).is_file():
        diverged = str(json.loads((run.folder / DIVERGED).read_bytes())["message"])
    elif last is None or not last.extra["loop"]["pace"]["is_over"]:
        return None
    rows = read_metrics(run.folder / FILE)
    return Outcome(
        fields=run.fields,
        run=str(run.folder),
        n_params=0 if last is None else _n_params(last.model_config),
        steps=0 if last is None else last.step,
        seconds=0.0 if last is None else float(last.extra["loop"]["pace"]["seconds"]),
        loss=None if diverged else _last(rows, "loss"),
        val_loss=None if diverged else _last(rows, "val_loss"),
        val_bpb=None if diverged else _last(rows, "val_bpb"),
        diverged=diverged,
    )


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The best first: by validation loss, or by loss where there is none; the diverged last."""

    def key(outcome: Outcome) -> tuple[bool, float]:
        loss = outcome.loss if outcome.val_loss is None else outcome.val_loss
        return loss is None, 0.0 if loss is None else loss

    return sorted(outcomes, key=key)


def _n_params(model_config: dict[str, Any]) -> int:
    return count_parameters(ModelConfig.from_dict(model_config)).total


def _last(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return float(values[-1]) if values else None
