"""How an assistant does on tasks: by the letter it holds likeliest, or by what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from bytemill.chat.conversation import Message
from bytemill.chat.render import Renderer
from bytemill.lm.evaluate.intervals import interval
from bytemill.lm.generate.replies import Tool, replies
from bytemill.lm.generate.sampling import not_finite
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.transformer import Transformer
from bytemill.tasks.task import Item, Task, judged
from bytemill.tools.calculator import calculate

Computing = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Answer:
    """An item's."""

    index: int
    reply: Message
    score: float
    """The judge's, from 0 to 1; 0 for what could not be asked."""
    is_finished: bool
    """Whether the model ended its reply; False if a limit did, or the prompt was too long."""
    is_asked: bool = True
    """False if the prompt was longer than the model's context."""


@dataclass(frozen=True)
class TaskScore:
    """A task's."""

    name: str
    baseline: float
    answers: tuple[Answer, ...]

    @property
    def score(self) -> float:
        """The mean of the answers' scores."""
        return sum(answer.score for answer in self.answers) / len(self.answers)

    @property
    def n_too_long(self) -> int:
        """Items whose prompt did not fit into the context, and which count as wrong."""
        return sum(not answer.is_asked for answer in self.answers)

    @property
    def centred(self) -> float:
        """The same on the scale where guessing is 0."""
        return (self.score - self.baseline) / (1 - self.baseline)

    def interval(self, share: float = 0.95) -> tuple[float, float]:
        """Between what `score` is likely to lie: see `interval`."""
        return interval([([answer.score for answer in self.answers], 0.0)], share)


def chat_core(scores: Sequence[TaskScore]) -> float:
    """The mean of centred scores."""
    return sum(score.centred for score in scores) / len(scores)


def chat_core_interval(scores: Sequence[TaskScore], share: float = 0.95) -> tuple[float, float]:
    """Between what `chat_core` is likely to lie: see `interval`."""
    return interval([([a.score for a in s.answers], s.baseline) for s in scores], share)


def ask(
    model: Transformer,
    renderer: Renderer,
    task: Task,
    *,
    indices: Sequence[int] | None = None,
    batch_size: int = 16,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    seed: int = 0,
    tool: Tool | None = calculate,
    computing: Computing = nullcontext,
    dtype: torch.dtype | None = None,
    rank: int = 0,
    size: int = 1,
) -> Iterator[Answer]:
    """Asks a task's items.

    A categorical task is answered by the letter of highest logit behind the prompt; another by what
    the model writes, greedily if nothing else is said.

    Args:
        model: In evaluation mode.
        renderer: Of its tokenizer.
        task: What to ask.
        indices: Which items; None for all.
        batch_size: Items at a time.
        max_new_tokens, temperature, seed, tool: As for `replies`; item i's seed is `seed + i`.
        computing: Makes the context to compute in, such as autocast.
        dtype: To write in; the weights' own if None.
        rank, size: Which of how many processes this is: each takes whole batches.

    Yields:
        The answer to each item of this process, in order.

    Raises:
        ValueError: A size is out of range; a letter is not a single token; a score or the logits
            are not finite.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: it must be at least 1")
    wanted = range(len(task)) if indices is None else indices
    weights = None if task.kind == "categorical" else DecodingWeights(model, dtype)
    context = model.config.context_length
    for first in range(rank * batch_size, len(wanted), batch_size * size):
        batch = wanted[first : first + batch_size]
        items = [task[i] for i in batch]
        prompts = [renderer.prompt(item.conversation) for item in items]
        fitting = [j for j, prompt in enumerate(prompts) if len(prompt) <= context]
        answers = {}
        if fitting and weights is None:
            some = [(items[j], prompts[j]) for j in fitting]
            letters = _letters(model, renderer, some, computing)
            for j, letter in zip(fitting, letters, strict=True):
                reply = Message("assistant", letter)
                answers[j] = Answer(batch[j], reply, judged(task, items[j], reply), True)
        elif fitting and weights is not None:
            found = replies(
                weights,
                renderer,
                [prompts[j] for j in fitting],
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=[seed + batch[j] for j in fitting],
                tool=tool,
            )
            for j, written in zip(fitting, found, strict=True):
                score = judged(task, items[j], written.message)
                is_finished = written.finish == "stop"
                answers[j] = Answer(batch[j], written.message, score, is_finished)
        for j, index in enumerate(batch):
            yield answers.get(j) or Answer(index, Message("assistant", ""), 0.0, False, False)


def score_task(task: Task, answers: Sequence[Answer]) -> TaskScore:
    """A task's score.

    Raises:
        ValueError: There is no answer.
    """
    if not answers:
        raise ValueError(f"{task.name} has no items")
    return TaskScore(task.name, task.baseline, tuple(answers))


@torch.inference_mode()
def _letters(
    model: Transformer,
    renderer: Renderer,
    asked: Sequence[tuple[Item, list[int]]],
    computing: Computing,
) -> list[str]:
    """Of each item the letter whose token has the highest logit behind the prompt."""
    longest = max(len(prompt) for _, prompt in asked)
    device = model.token_embeddings.weight.device
    ids = torch.tensor(
        [[*prompt, *[0] * (longest - len(prompt))] for _, prompt in asked], device=device
    )
    last = torch.tensor([len(prompt) - 1 for _, prompt in asked], device=device)
    with computing():
        hidden = model.hidden(ids)[torch.arange(len(asked), device=device), last]
        logits = model.logits(hidden)
    if not bool(logits.isfinite().all()):
        raise not_finite()
    found = []
    for row, (item, _) in zip(logits.tolist(), asked, strict=True):
        tokens = [_token(renderer, letter) for letter in item.letters]
        best = max(range(len(tokens)), key=lambda i: row[tokens[i]])
        found.append(item.letters[best])
    return found


def _token(renderer: Renderer, letter: str) -> int:
    ids = renderer.tokenizer.encode_ordinary(letter)
    if len(ids) != 1:
        raise ValueError(
            f"the answer {letter!r} is {len(ids)} tokens: a categorical task is answered by one"
        )
    return ids[0]
