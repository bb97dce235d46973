"""Held-out items of the tasks that a stage trains on, asked while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from bytemill.chat.conversation import Message
from bytemill.chat.render import Renderer
from bytemill.lm.evaluate.chat import ask
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.train.events import Event
from bytemill.lm.train.steps.world import World
from bytemill.tasks.task import Slice, Task

CHOICES_PER_TEXT = 16
"""How many more items with choices are asked than such that are written: they take a pass each."""
MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class Asked(Event):
    """The model was asked items of tasks that it is not trained on."""

    step: int
    scores: Mapping[str, float]
    """Of each task, from 0 to 1."""


def tasks_to_ask(
    tasks: Sequence[tuple[str, Task]], renderer: Renderer, n_items: int
) -> dict[str, Task]:
    """Those of some tasks that have a judge, by name, each with so many items at most.

    A task with choices has 16 times as many, and is left out where a letter is not one token.
    """
    found: dict[str, Task] = {}
    for name, task in tasks:
        if name in found or not len(task):
            continue
        item = task[0]
        try:
            task.judge(item, Message("assistant", ""))
        except TypeError:
            continue  # conversations without a right answer
        is_choice = task.kind == "categorical"
        encode = renderer.tokenizer.encode_ordinary
        if is_choice and any(len(encode(letter)) != 1 for letter in item.letters):
            continue
        found[name] = Slice(task, 0, n_items * (CHOICES_PER_TEXT if is_choice else 1))
    return found


def scores(
    model: Transformer,
    renderer: Renderer,
    tasks: Mapping[str, Task],
    world: World,
    *,
    computing: Callable[[], AbstractContextManager[object]],
    dtype: torch.dtype | None,
) -> dict[str, float]:
    """The mean score of each task, whose items the ranks share.

    Args:
        model: In evaluation mode.
        renderer: Of its tokenizer.
        tasks: What to ask.
        world: The ranks; each calls this.
        computing: Makes the context to compute in, such as autocast.
        dtype: To write in; the weights' own if None.
    """
    found = {}
    for name, task in tasks.items():
        own = Slice(task, world.rank, None, world.size)
        answers = ask(
            model,
            renderer,
            own,
            max_new_tokens=min(MAX_NEW_TOKENS, model.config.context_length),
            computing=computing,
            dtype=dtype,
        )
        total = torch.tensor([sum(answer.score for answer in answers)], dtype=torch.float64)
        found[name] = float(world.total(total)) / len(task)
    return found
