"""How well a model predicts: loss, perplexity and bits per byte, every token counted once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.batches.tokens import Tokens
from bytemill.lm.batches.vocabulary import check_tokenizer, check_vocabulary, separator
from bytemill.lm.device.threads import wait_briefly
from bytemill.lm.evaluate.measures import bits_per_byte, perplexity, token_bytes
from bytemill.lm.evaluate.ranks import ALONE, Ranks
from bytemill.lm.model.transformer import Transformer

if TYPE_CHECKING:
    from bytemill import Tokenizer

_IGNORED: Final = -1
# Rows of logits at a time times V: 64 MiB of fp32.
_CHUNK_ELEMENTS: Final = 1 << 24
MOST_WINDOWS: Final = 65_536
"""At a time: more would only fill the memory."""

Windows = Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Evaluation:
    """What a model made of some tokens."""

    loss: float
    """Mean negative log-likelihood of the targets, in nats."""
    perplexity: float
    """exp(loss)."""
    bits_per_byte: float | None
    """Over targets that are text, special tokens left out; None without a tokenizer or text."""
    n_tokens: int
    """Targets: all tokens but the first."""
    n_bytes: int
    """Bytes of those that are text; 0 without a tokenizer."""


def evaluate(
    model: Transformer,
    tokens: Tokens | Iterable[str],
    tokenizer: Tokenizer | None = None,
    *,
    stride: int | None = None,
    batch_size: int = 8,
    max_tokens: int | None = None,
    computing: Callable[[], AbstractContextManager[object]] = nullcontext,
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> Evaluation:
    """Scores every token but the first, given those before it in its window.

    The text is read in windows of T tokens, T being the context length. Nothing is random, and
    `batch_size` shows in rounding only.

    Args:
        model: The model.
        tokens: Ids, as of `open_tokens`; or texts, which are joined as documents of a corpus, each
            after a separator if the tokenizer has one (see `separator`).
        tokenizer: The model's. Without it there are no bits per byte, and no texts.
        stride: How far a window is moved: T, where each begins without context, if None; with less,
            each token has at least T - stride tokens before it, at T / stride times the work.
        batch_size: Windows at a time.
        max_tokens: How many tokens to read at most, from the start.
        computing: Makes the context to compute in, such as autocast.
        ranks: The processes that share the batches; all call this with the same arguments, and get
            the same figures, to the last bit those of one process.
        progress: Called with the targets scored and their number.

    Raises:
        TypeError: Texts without a tokenizer.
        ValueError: Fewer than two tokens; ids, or a tokenizer, of another vocabulary; another
            tokenizer's shards; an argument out of range; logits that are not finite.
    """
    wait_briefly()
    context = model.config.context_length
    step = context if stride is None else stride
    if not 1 <= step <= context:
        raise ValueError(f"stride={step}: it must be from 1 to the context length, {context}")
    for name, value, least in (("batch_size", batch_size, 1), ("max_tokens", max_tokens, 2)):
        if value is not None and value < least:
            raise ValueError(f"{name}={value}: it must be at least {least}")
    if batch_size > MOST_WINDOWS:
        raise ValueError(f"batch_size={batch_size}: it must be at most {MOST_WINDOWS}")
    if tokenizer is not None:
        check_tokenizer(tokenizer, model.config.vocab_size)
    if not isinstance(tokens, Tokens):
        tokens = encoded(tokens, tokenizer)
    elif tokenizer and tokens.fingerprint not in (None, tokenizer.fingerprint):
        raise ValueError(
            f"{tokens.source}: its ids come from another tokenizer (fingerprint "
            f"{tokens.fingerprint}, not {tokenizer.fingerprint}); encode the files with this one"
        )
    check_vocabulary(tokens, model.config.vocab_size)
    n = len(tokens) if max_tokens is None else min(len(tokens), max_tokens)
    if n < 2:
        raise ValueError(f"{tokens.source}: {n} tokens; the least that can be scored is 2")
    sizes = None
    if tokenizer is not None:
        # A model may have more ids than its tokenizer.
        sizes = F.pad(token_bytes(tokenizer), (0, model.config.vocab_size - tokenizer.n_vocab))
    # Of each batch: the sum of losses and of those on text, the targets, and their bytes.
    sums: list[tuple[int, float, float, int, int]] = []
    own = 0
    batches = enumerate(_batches(_windows(tokens, n, context, step), batch_size))
    with ranks.all_or_none():
        for number, (x, y) in itertools.islice(batches, ranks.rank, None, ranks.size):
            nll, targets = _score(model, x, y, computing)
            of_text, n_bytes = 0.0, 0
            if sizes is not None:
                bytes_ = sizes[targets]
                of_text, n_bytes = float(nll[bytes_ > 0].sum()), int(bytes_.sum())
            sums.append((number, float(nll.sum()), of_text, len(targets), n_bytes))
            own += len(targets)
            if progress is not None:
                progress(min(own * ranks.size, n - 1), n - 1)
    total = of_text = 0.0
    n_scored = n_bytes = 0
    for _, one, text, n_targets, more in sorted(itertools.chain(*ranks.gather(sums))):
        total, of_text = total + one, of_text + text
        n_scored, n_bytes = n_scored + n_targets, n_bytes + more
    loss = total / n_scored
    if not math.isfinite(loss):
        raise ValueError(
            f"the loss is {loss}: the model's weights are damaged or its training diverged; take "
            "an earlier checkpoint"
        )
    bpb = bits_per_byte(of_text, n_bytes) if n_bytes else None
    return Evaluation(loss, perplexity(loss), bpb, n_scored, n_bytes)


def encoded(texts: Iterable[str], tokenizer: Tokenizer | None) -> Tokens:
    """Texts as ids, joined as documents of a corpus.

    Raises:
        TypeError: There is no tokenizer.
    """
    if tokenizer is None:
        raise TypeError("tokenizer=None: texts cannot be scored without the model's tokenizer")
    if isinstance(texts, str):
        texts = [texts]
    between = separator(tokenizer)
    ids: list[int] = []
    for text in texts:
        if between is not None:
            ids.append(between)
        ids += tokenizer.encode_ordinary(text)
    return Tokens.of(np.asarray(ids, np.int64), "the texts")


def _windows(tokens: Tokens, n: int, context: int, step: int) -> Windows:
    """Inputs and targets (T,); a target that was scored before, or is not there, is -1."""
    start, scored = 0, 1
    while scored < n:
        ids = tokens.window(start, min(context + 1, n - start))
        x, y = np.zeros(context, np.int64), np.full(context, _IGNORED, np.int64)
        x[: len(ids) - 1] = ids[:-1]
        # Target i is token start + i + 1.
        first = scored - start - 1
        y[first : len(ids) - 1] = ids[1 + first :]
        scored = start + len(ids)
        yield x, y
        start += step


def _batches(windows: Windows, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    batch: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield _stack(batch)
            batch = []
    if batch:
        yield _stack(batch)


def _stack(
    batch: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
) -> tuple[Tensor, Tensor]:
    x, y = (torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True))
    # What no window reaches need not be computed: columns after the last target.
    used = int((y != _IGNORED).any(0).nonzero().max()) + 1
    return x[:, :used], y[:, :used]


@torch.inference_mode()
def _score(
    model: Transformer,
    x: Tensor,
    y: Tensor,
    computing: Callable[[], AbstractContextManager[object]],
) -> tuple[Tensor, Tensor]:
    """Negative log-likelihoods (N,) fp64 of the targets, and these (N,), both on the CPU."""
    device = next(model.parameters()).device
    x, y = x.to(device), y.to(device)
    with computing():
        hidden = model.hidden(x)
        kept = y != _IGNORED
        hidden, targets = hidden[kept], y[kept]
        rows = max(1, _CHUNK_ELEMENTS // model.config.vocab_size)
        parts = []
        for some, of in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True):
            nll = F.cross_entropy(model.logits(some), of, reduction="none")
            parts.append(nll.cpu().double())
    return torch.cat(parts), targets.cpu()
