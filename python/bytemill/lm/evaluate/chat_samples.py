"""Asks an assistant each question of a task several times, for pass@k."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from bytemill.chat.render import Renderer
from bytemill.lm.evaluate.intervals import interval
from bytemill.lm.evaluate.kept import Kept, Row, answered
from bytemill.lm.evaluate.pass_at_k import mean_pass_at_k, pass_at_k
from bytemill.lm.evaluate.ranks import ALONE, Ranks
from bytemill.lm.generate.replies import Tool, replies
from bytemill.lm.generate.sampling import Sampling, seed_of
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.arguments import integer
from bytemill.lm.model.transformer import Transformer
from bytemill.tasks.task import Item, Task, items_content, judged
from bytemill.tools.calculator import calculate

MOST_SAMPLES: Final = 100_000
"""Replies to a question at most: all of them are in memory."""
_BATCHES: Final = 4
"""Of each process, between two times that replies are kept."""


@dataclass(frozen=True)
class Samples:
    """What became of several replies to each question of a task."""

    name: str
    scores: tuple[tuple[float, ...], ...]
    """The judge's, of each question's replies; 1 is right, whatever is less is not."""
    n_finished: int
    """Replies that the model ended, and not a limit."""
    n_too_long: int
    """Questions whose prompt did not fit into the context, and which count as not solved."""
    seconds: float
    """That the asking took this time; what had been kept took none."""
    content: str
    """A hash of all of the task's items."""

    def pass_at(self, k: int) -> float:
        """How likely one of k replies is right: the mean of the unbiased estimates.

        Raises:
            ValueError: There are fewer replies to a question.
        """
        return mean_pass_at_k(self.scores, k)

    def interval(self, k: int, share: float = 0.95) -> tuple[float, float]:
        """Between what `pass_at` is likely to lie, were other questions asked: see `interval`."""
        found = [pass_at_k(len(one), sum(s >= 1 for s in one), k) for one in self.scores]
        return interval([(found, 0.0)], share)


def sample_task(
    model: Transformer,
    renderer: Renderer,
    task: Task,
    samples: int,
    *,
    max_items: int | None = None,
    batch_size: int = 16,
    max_new_tokens: int = 512,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    tool: Tool | None = calculate,
    dtype: torch.dtype | None = None,
    keep: Path | None = None,
    identity: str = "",
    ranks: Ranks = ALONE,
    progress: Callable[[int, int], object] | None = None,
) -> Samples:
    """Asks a generative task's items, and judges all replies.

    A reply's chance comes from `seed`, its item's number and its own: not from the batch, nor from
    how many processes or items there are.

    Args:
        model: In evaluation mode.
        renderer: Of its tokenizer.
        task: What to ask.
        samples: Replies to each item.
        max_items: The first so many; None for all.
        batch_size: Replies at a time; an item's prompt is read once for those of a batch.
        max_new_tokens, temperature, top_k, tool: As for `replies`; temperature 0 would make all
            replies the same.
        seed: Of their chance.
        dtype: To write in; the weights' own if None.
        keep: A file of JSON lines for the replies. What is there already, to the same items and
            under the same settings, is not asked again.
        identity: What else decides the replies: the model's weights, the tokenizer, the dtype.
        ranks: The processes that share the items; all call this with the same arguments, and get
            the same result.
        progress: Called with the items done and how many there are.

    Returns:
        What became of them. A prompt that does not fit into the context is not solved.

    Raises:
        TypeError: A number is of another type.
        ValueError: A number is out of range; the task is answered by a letter, or has no items; a
            score or the logits are not finite.
    """
    for name, value in (("samples", samples), ("batch_size", batch_size), ("max_items", max_items)):
        if value is not None and integer(name, value) < 1:
            raise ValueError(f"{name}={value}: it must be at least 1")
    if samples > MOST_SAMPLES:
        raise ValueError(f"samples={samples}: it must be at most {MOST_SAMPLES:,}")
    if task.kind == "categorical":
        raise ValueError(
            f"samples={samples}: {task.name} is answered by a letter; sample tasks whose answers "
            "are written"
        )
    sampling = Sampling(temperature, top_k)
    if sampling.is_greedy:
        raise ValueError("temperature=0: all replies to a question would be the same")
    if not len(task):
        raise ValueError(f"{task.name} has no items")
    began = time.perf_counter()
    n = len(task) if max_items is None else min(max_items, len(task))
    with ranks.all_or_none():
        content = items_content(task)
    weights = DecodingWeights(model, dtype)
    context = model.config.context_length

    def write(rows: list[tuple[Item, list[int], int, int]]) -> Iterator[Row]:
        found = replies(
            weights,
            renderer,
            [prompt for _, prompt, _, _ in rows],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            seed=[seed_of(seed, index, sample) for _, _, index, sample in rows],
            tool=tool,
        )
        for (item, _, _, _), reply in zip(rows, found, strict=True):
            yield {
                "reply": reply.message.to_dict()["content"],
                "score": judged(task, item, reply.message),
                "finished": reply.finish == "stop",
            }

    def share(todo: list[int]) -> Iterator[Row]:
        at_once = max(batch_size // samples, 1)
        for first in range(ranks.rank * at_once, len(todo), at_once * ranks.size):
            rows, items = [], {}
            for index in todo[first : first + at_once]:
                item = items[index] = task[index]
                prompt = renderer.prompt(item.conversation)
                if len(prompt) <= context:
                    rows += [(item, prompt, index, sample) for sample in range(samples)]
            found: dict[int, list[Row]] = {index: [] for index in items}
            for at in range(0, len(rows), batch_size):
                some = rows[at : at + batch_size]
                for (_, _, index, _), one in zip(some, write(some), strict=True):
                    found[index].append(one)
            for index, item in items.items():
                nothing = [{"reply": "", "score": 0.0, "finished": False}] * samples
                yield {
                    "item": index,
                    "answer": str(item.answer),
                    "asked": bool(found[index]),
                    "samples": found[index] or nothing,
                }

    head = {
        "task": task.name,
        "items": content,
        "of": identity,
        "samples": samples,
        "max_new_tokens": max_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "seed": seed,
    }
    rows = answered(
        n,
        share,
        Kept(keep, head),
        block=max(batch_size // samples, 1) * _BATCHES * ranks.size,
        ranks=ranks,
        progress=progress,
    )
    return Samples(
        task.name,
        tuple(tuple(float(one["score"]) for one in row["samples"]) for row in rows),
        sum(bool(one["finished"]) for row in rows for one in row["samples"]),
        sum(not row["asked"] for row in rows),
        time.perf_counter() - began,
        content,
    )
