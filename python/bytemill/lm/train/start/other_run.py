"""How a run begins or goes on: from another run's weights, or for more steps than were planned."""

from __future__ import annotations

import dataclasses

from bytemill.lm.checkpoint.loading import find_checkpoint
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.optim.schedule import Schedule
from bytemill.lm.train.run_data import RunData

_FREE = ("context_length", "dropout")
"""What a model may have otherwise than the one that it takes the weights of."""


def checkpoint_to_begin_from(path: str, model: ModelConfig, data: RunData) -> Checkpoint:
    """The checkpoint in a run's folder (the best), or in a checkpoint's own.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged; its model is of another shape or kind; or it was trained on the
            ids of another tokenizer. The message names both.
    """
    found = find_checkpoint(path)
    try:
        theirs = ModelConfig.from_dict(found.model_config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"init_from={path!r}: it is not of a Transformer ({error})") from None
    other = [
        f"{field.name} is {_shown(getattr(theirs, field.name))} there and "
        f"{_shown(getattr(model, field.name))} here"
        for field in dataclasses.fields(ModelConfig)
        if field.name not in _FREE and getattr(theirs, field.name) != getattr(model, field.name)
    ]
    if other:
        raise ValueError(
            f"init_from={path!r}: its model is another one: {'; '.join(other)}; give the fields "
            "that it has"
        )
    before, ours = found.extra.get("tokenizer"), _fingerprint(data)
    if before is not None and ours is not None and before != ours:
        raise ValueError(
            f"init_from={path!r}: it was trained with the tokenizer of fingerprint {before}, and "
            f"this data is of {ours}; encode the data with the tokenizer in that run's folder"
        )
    return found


def said_of_beginning(checkpoint: Checkpoint, data: RunData, *, optimizer: bool) -> list[str]:
    """What a person may want to know of where a run begins."""
    what = "the weights and the optimizer's state" if optimizer else "the weights"
    notes = [
        f"begins with {what} of {checkpoint.path}, step {checkpoint.step:,}; steps, schedule and "
        "data are those of a new run"
    ]
    if checkpoint.extra.get("tokenizer") is not None and _fingerprint(data) is None:
        notes.append(
            "the data does not say which tokenizer its ids are of; it should be the one of "
            f"{checkpoint.path}"
        )
    return notes


def said_of_steps(before: Schedule, now: Schedule, step: int) -> list[str]:
    """What becomes of the schedule when a run goes on with another number of steps.

    Raises:
        ValueError: There are fewer than were made.
    """
    if before.total_steps == now.total_steps:
        return []
    if now.total_steps < step:
        raise ValueError(
            f"steps={now.total_steps}: the run has made {step} already; give at least as many"
        )
    last, next_ = before.multiplier(max(step - 1, 0)), now.multiplier(step)
    return [
        f"the run was begun for {before.total_steps:,} steps and goes on to {now.total_steps:,}: "
        f"its schedule is now that of {now.total_steps:,} steps from the first on; the last step "
        f"had {last:.3g} of the peak learning rates, the next one has {next_:.3g}"
    ]


def _fingerprint(data: RunData) -> str | None:
    """Of the tokenizer that the ids are of."""
    return data.tokenizer.fingerprint if data.tokenizer else data.train.fingerprint


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
