"""Scores many rows at once: what rows of a question have in common is read once.

Of a position that is not scored no logits are computed. Neither this nor how many rows are computed
at a time changes what comes out, but for rounding.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from bytemill.lm.evaluate.core.prompts import Question
from bytemill.lm.model.cache import KVCache
from bytemill.lm.model.transformer import Transformer

_LEAST_SHARED: Final = 8
"""Shorter beginnings are not worth a pass of their own."""
_CHUNK_ELEMENTS: Final = 1 << 24
"""Of logits at a time: 64 MiB of fp32."""

Computing = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Score:
    """What a model made of a question."""

    losses: list[float]
    """Of each row, the mean loss of its span in nats."""
    exact: list[bool]
    """Of each row, whether greedy decoding gives its span."""
    choice: int
    """The row of lowest loss; of a single row, 1 if it is continued exactly and 0 if not."""
    is_right: bool


@torch.inference_mode()
def score(
    model: Transformer,
    questions: Sequence[Question],
    *,
    batch_size: int = 32,
    computing: Computing = nullcontext,
    rank: int = 0,
    size: int = 1,
) -> Iterator[tuple[int, Score]]:
    """Scores questions, long ones first.

    Args:
        model: In evaluation mode.
        questions: Their rows are no longer than the context length.
        batch_size: Rows at a time.
        computing: Makes the context to compute in, such as autocast.
        rank, size: Which of how many processes this is. Each takes whole batches, which are the
            same ones however many processes there are, and so are the scores to the last bit.

    Yields:
        A question's number and its score, of this process's questions.

    Raises:
        ValueError: `batch_size` is below 1, or a loss is not a number.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: it must be at least 1")
    order = sorted(range(len(questions)), key=lambda i: -max(map(len, questions[i].rows)))
    groups = _groups([(i, questions[i]) for i in order], batch_size, model.config.context_length)
    for group in itertools.islice(groups, rank, None, size):
        found = _score_group(model, [q for _, q in group], batch_size, computing)
        for (index, question), rows in zip(group, found, strict=True):
            yield index, _verdict(question, rows)


def _verdict(question: Question, rows: list[tuple[float, bool]]) -> Score:
    losses = [loss for loss, _ in rows]
    if any(loss != loss for loss in losses):
        raise ValueError("a loss is not a number: the model's weights are damaged")
    exact = [is_exact for _, is_exact in rows]
    if question.gold is None:
        return Score(losses, exact, int(exact[0]), exact[0])
    choice = losses.index(min(losses))
    return Score(losses, exact, choice, choice == question.gold)


def _shared(question: Question) -> int:
    """How many first ids of all rows can be read once: what is before every span but one id."""
    if len(question.rows) == 1:
        return 0
    most = min(start for start, _ in question.spans) - 1
    first = question.rows[0]
    n = 0
    while n < most and all(row[n] == first[n] for row in question.rows):
        n += 1
    return n if n >= _LEAST_SHARED else 0


def _groups(
    questions: list[tuple[int, Question]], batch_size: int, context_length: int
) -> Iterator[list[tuple[int, Question]]]:
    """Questions whose rows make up a batch and, padded, fit into a cache."""
    group: list[tuple[int, Question]] = []
    n_rows = shared = rest = 0
    is_shared = False
    for index, question in questions:
        own = _shared(question)
        longest = max(map(len, question.rows)) - own - 1  # the last id is not read
        n = len(question.rows)
        fits = (
            n_rows + n <= batch_size
            and is_shared == bool(own)
            and max(shared, own) + max(rest, longest) <= context_length
        )
        if group and not fits:
            yield group
            group, n_rows, shared, rest = [], 0, 0, 0
        group.append((index, question))
        n_rows, shared, rest = n_rows + n, max(shared, own), max(rest, longest)
        is_shared = bool(own)
    if group:
        yield group


def _score_group(
    model: Transformer, questions: list[Question], batch_size: int, computing: Computing
) -> list[list[tuple[float, bool]]]:
    """Of each question's rows the mean loss, and whether greedy decoding gives the span."""
    shared = [_shared(question) for question in questions]
    cache = _read_shared(model, questions, shared, computing) if shared[0] else None
    flat = [
        (i, row, span)
        for i, question in enumerate(questions)
        for row, span in zip(question.rows, question.spans, strict=True)
    ]
    found: list[list[tuple[float, bool]]] = [[] for _ in questions]
    for first in range(0, len(flat), batch_size):
        part = flat[first : first + batch_size]
        rest = [row[shared[i] : -1] for i, row, _ in part]
        own = None
        if cache is not None:
            own = _copy(model, cache, [i for i, _, _ in part])
        hidden = _hidden(model, rest, own, computing)
        rows, columns, targets = [], [], []
        for j, (i, row, (start, end)) in enumerate(part):
            for place in range(start, end):
                rows.append(j)
                columns.append(place - 1 - shared[i])
                targets.append(row[place])
        losses, exact = _losses(model, hidden[rows, columns], targets, computing)
        at = 0
        for i, _, (start, end) in part:
            n = end - start
            mean = sum(losses[at : at + n]) / n
            found[i].append((mean, all(exact[at : at + n])))
            at += n
    return found


def _read_shared(
    model: Transformer, questions: list[Question], shared: list[int], computing: Computing
) -> KVCache:
    rest = max(len(row) - n for q, n in zip(questions, shared, strict=True) for row in q.rows)
    device = model.token_embeddings.weight.device
    with computing():
        dtype = model.token_embeddings.weight.dtype
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
    cache = KVCache(
        model.config,
        len(questions),
        min(max(shared) + rest, model.config.context_length),
        device=device,
        dtype=dtype,
    )
    prefixes = [q.rows[0][:n] for q, n in zip(questions, shared, strict=True)]
    _hidden(model, prefixes, cache, computing)
    return cache


def _copy(model: Transformer, cache: KVCache, rows: list[int]) -> KVCache:
    """A cache with copies of these rows; the one given stays as it is."""
    own = copy.copy(cache)
    own.select(rows)
    return own


def _hidden(
    model: Transformer, rows: list[list[int]], cache: KVCache | None, computing: Computing
) -> Tensor:
    """Vectors (B, T, C) of rows, padded on the right."""
    longest = max(map(len, rows))
    ids = torch.tensor(
        [[*row, *[0] * (longest - len(row))] for row in rows],
        device=model.token_embeddings.weight.device,
    )
    with computing():
        if cache is None:
            return model.hidden(ids)
        return model.hidden(ids, cache, lengths=[len(row) for row in rows])


def _losses(
    model: Transformer, hidden: Tensor, targets: list[int], computing: Computing
) -> tuple[list[float], list[bool]]:
    """The loss of each target, and whether it has the highest logit (the first of equals)."""
    wanted = torch.tensor(targets, device=hidden.device)
    n = max(1, _CHUNK_ELEMENTS // model.config.vocab_size)
    losses: list[float] = []
    exact: list[bool] = []
    for vectors, ids in zip(torch.split(hidden, n), torch.split(wanted, n), strict=True):
        with computing():
            logits = model.logits(vectors)
        own = logits.gather(1, ids[:, None])[:, 0]
        losses += (logits.logsumexp(1) - own).tolist()
        exact += (logits.argmax(1) == ids).tolist()
    return losses, exact
