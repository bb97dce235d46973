"""Rollouts: what a model replies to a task's questions, and how each reply is rewarded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bytemill.chat.conversation import Message
from bytemill.chat.render import Renderer
from bytemill.lm.generate.replies import Tool, replies
from bytemill.lm.generate.sampling import seed_of
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.adapters.lora import has_adapters, merged
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.stages.rl.settings import RlSettings
from bytemill.tasks.task import Item, Task, judged
from bytemill.tools.calculator import calculate


@dataclass(frozen=True)
class Rollout:
    """One reply to one question of a batch."""

    question: int
    """Its number in the batch."""
    prompt: list[int]
    ids: list[int]
    """All that came after the prompt, the token that ends it included."""
    mask: list[int]
    """As long: 1 for what the model wrote, 0 for what a tool did."""
    is_finished: bool
    """Whether the model ended it, and not a limit."""
    reward: float
    """The judge's."""


@dataclass(frozen=True)
class Question:
    """One question of a batch."""

    number: int
    """In the batch."""
    item: Item
    prompt: list[int]


class Questions:
    """A task's items in an order of a seed, another one each time that they have all been asked.

    Args:
        task: What is asked.
        renderer: Of the model's tokenizer.
        context: The model's context length; items whose prompt leaves no room in it are passed
            over.
        seed: Decides the order.

    Raises:
        ValueError: There are no items, or they cannot be judged.
    """

    def __init__(self, task: Task, renderer: Renderer, context: int, seed: int) -> None:
        if not len(task):
            raise ValueError(f"{task.name} has no items: there is nothing to ask")
        self.task = task
        self._renderer, self._context, self._seed = renderer, context, seed
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None

    def take(self, place: int, n: int) -> tuple[list[Question], int]:
        """`n` questions.

        Args:
            place: Items that were taken or passed over before.
            n: How many to take.

        Returns:
            The questions, and the next place.

        Raises:
            ValueError: No item's prompt fits into the context.
        """
        found: list[Question] = []
        start = place
        while len(found) < n:
            item = self.task[self._index(place)]
            prompt = self._renderer.prompt(item.conversation)
            place += 1
            if len(prompt) < self._context:
                found.append(Question(len(found), item, prompt))
            elif not found and place - start >= len(self.task):
                raise ValueError(
                    f"{self.task.name}: no question leaves room for an answer in the context of "
                    f"{self._context} tokens; train a model with a longer one"
                )
        return found, place

    def _index(self, place: int) -> int:
        """The item at a place in the endless order."""
        epoch, at = divmod(place, len(self.task))
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng([self._seed, epoch])
            self._order = epoch, random.permutation(len(self.task))
        return int(self._order[1][at])


def check_judged(task: Task) -> None:
    """Raises ValueError if a task's first answers cannot be judged, as those of SmolTalk."""
    parts: Sequence[Task] = getattr(task, "tasks", (task,))
    for part in parts:
        if part is not task:
            check_judged(part)
            continue
        try:
            if len(part):
                part.judge(part[0], Message("assistant", ""))
        except TypeError as error:
            raise ValueError(f"{part.name}: its replies cannot be rewarded ({error})") from None


def row_seed(seed: int, batch: int, question: int, sample: int) -> int:
    """A reply's seed, 63 bits: it depends on these four numbers alone."""
    return seed_of(seed, batch, question, sample)


def roll_out(
    model: nn.Module,
    renderer: Renderer,
    task: Task,
    questions: Sequence[Question],
    settings: RlSettings,
    *,
    seed: int,
    batch: int,
    tool: Tool | None = calculate,
    dtype: torch.dtype | None = None,
) -> list[Rollout]:
    """Answers questions, several times each, and judges the answers.

    Each question's prompt is read once. A reply's chance is `row_seed`'s, so that it does not
    depend on what else is written at the time, or by how many ranks.

    Args:
        model: A `Transformer`, or a module around one; it is put in eval mode, and back.
        renderer: Of its tokenizer.
        task: Judges.
        questions: What is asked.
        settings: How replies are written.
        seed, batch: Of the run, and the batch's number in it.
        tool: As for `replies`.
        dtype: To write in; the weights' own if None.

    Returns:
        `settings.samples` rollouts for each question, in order.

    Raises:
        ValueError: The judge gives something that is not a finite number.
    """
    was_training = model.training
    model.eval()
    try:
        # Adapters would have the modules called for each token.
        whole = merged(model) if isinstance(model, Transformer) and has_adapters(model) else model
        weights = DecodingWeights(whole, dtype)
        found: list[Rollout] = []
        for rows in _in_parts(questions, settings):
            written = replies(
                weights,
                renderer,
                [question.prompt for question, _ in rows],
                max_new_tokens=settings.max_new_tokens,
                temperature=settings.temperature,
                top_k=settings.top_k,
                seed=[row_seed(seed, batch, q.number, sample) for q, sample in rows],
                tool=tool,
            )
            for (question, _), reply in zip(rows, written, strict=True):
                reward = judged(task, question.item, reply.message)
                is_finished = reply.finish == "stop"
                found.append(
                    Rollout(
                        question.number,
                        question.prompt,
                        reply.ids,
                        reply.mask,
                        is_finished,
                        reward,
                    )
                )
        return found
    finally:
        model.train(was_training)


def _in_parts(
    questions: Sequence[Question], settings: RlSettings
) -> Iterator[list[tuple[Question, int]]]:
    """Questions and numbers of samples, as many rows at a time as there may be."""
    rows = [(question, sample) for question in questions for sample in range(settings.samples)]
    for first in range(0, len(rows), settings.rollout_rows):
        yield rows[first : first + settings.rollout_rows]
