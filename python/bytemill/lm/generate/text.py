"""Text from a model: several prompts at a time, sampled or greedy, as lists or as a stream."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import nn

from bytemill.lm.generate.decoder import Decoder
from bytemill.lm.generate.sampling import Chance, Ids, Sampling, row_seeds
from bytemill.lm.generate.weights import DecodingWeights, config_of
from bytemill.lm.model.arguments import integer, integers, is_scalar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bytemill import Tokenizer

Overflow = Literal["error", "slide"]
Prompts: TypeAlias = "Sequence[Ids] | torch.Tensor | NDArray[Any]"
Stop: TypeAlias = "int | Collection[int] | torch.Tensor | NDArray[Any]"


def generate(
    model: nn.Module | DecodingWeights,
    prompts: Prompts,
    *,
    max_new_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: int | Ids = 0,
    overflow: Overflow = "error",
) -> list[list[int]]:
    """Continues prompts.

    Args:
        model: A `Transformer`, a module around one, or the weights of either laid out for decoding,
            which saves doing so at each call. Hooks, wrappers and replaced parts are called, at the
            cost of speed: see `bytemill.lm.generate.weights.obstacle`.
        prompts: Ids of each prompt, at least one: lists, or arrays or tensors of integers (a
            two-dimensional one has a prompt in each row). Prompts may differ in length; several
            rows with the same prompt are independent samples, and the prompt is read once.
        max_new_tokens: The most tokens to add to each; None adds until the context is full.
        temperature, top_k, top_p: See `sampling.Sampling`; temperature 0 is greedy.
        stop: The id, or the ids in any collection, array or tensor, that end a row. They are not
            part of it.
        seed: Row i's chance comes from `seed + i`, or from the i-th of several seeds, and from
            nothing else. So a row is the same alone or among others, as far as its logits are:
            how many rows a product has changes how it is rounded, which decides where two tokens
            are nearly equal. In fp32 that is up to 1e-5 of the largest logit, and rarely seen; in
            bf16 up to 1e-2, and texts part after some tokens. Where rows must not depend
            on each other in bf16, continue one prompt at a time.
        overflow: What to do about text that outgrows the context length T. "error" refuses it
            beforehand. "slide" goes on with a window: a prompt's last T tokens at first, and, each
            time the window is full, its newest T / 2 (at least 1), which are read again. The model
            so never sees less than that, nor positions it was not trained on.

    Returns:
        The new ids of each row.

    Raises:
        TypeError: An id or an argument is of the wrong type; a bool is not a number, nor text ids.
        ValueError: There is no prompt, an empty one, or an id, one to stop at included, that is not
            in the vocabulary; text would outgrow the context and `overflow` is "error"; an
            argument is out of range; the model's logits are not finite.
    """
    steps = generate_steps(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        seed=seed,
        overflow=overflow,
    )
    rows: list[list[int]] = [[] for _ in range(len(prompts))]
    for step in steps:
        for row, token in zip(rows, step, strict=True):
            if token is not None:
                row.append(token)
    return rows


def generate_steps(
    model: nn.Module | DecodingWeights,
    prompts: Prompts,
    *,
    max_new_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: int | Ids = 0,
    overflow: Overflow = "error",
) -> Iterator[list[int | None]]:
    """As `generate`, a token of each row at a time.

    Arguments are checked at once, not at the first step.

    Yields:
        The next id of each row; None for rows that have ended.
    """
    weights = model if isinstance(model, DecodingWeights) else DecodingWeights(model)
    sampling = Sampling(temperature, top_k, top_p)
    config = weights.config
    if overflow not in ("error", "slide"):
        raise ValueError(f'overflow={overflow!r}: it must be "error" or "slide"')
    if max_new_tokens is not None:
        max_new_tokens = integer("max_new_tokens", max_new_tokens)
        if max_new_tokens < 0:
            raise ValueError(f"max_new_tokens={max_new_tokens}: it must not be negative")
    rows = _prompt_ids(prompts, config.vocab_size)
    seeds = row_seeds(seed, len(rows))
    limits = _limits([len(row) for row in rows], max_new_tokens, config.context_length, overflow)
    ends = _stop_ids(stop, config.vocab_size)
    return _steps(weights, rows, limits, sampling, ends, Chance(seeds))


def _steps(
    weights: DecodingWeights,
    prompts: list[list[int]],
    limits: Sequence[int],
    sampling: Sampling,
    stop: frozenset[int],
    chance: Chance,
) -> Iterator[list[int | None]]:
    context = weights.config.context_length
    windows = [prompt[-context:] for prompt in prompts]
    active = [row for row, limit in enumerate(limits) if limit]
    if not active:
        return
    longest = max(len(windows[row]) + limits[row] - 1 for row in active)
    decoder = Decoder(weights, min(context, longest))
    logits = read_prompts(decoder, [windows[row] for row in active])
    n_new = 0
    while True:
        n_new += 1
        drawn = chance.next()[active].to(weights.device)
        tokens = sampling.choose(logits, drawn)
        step: list[int | None] = [None] * len(prompts)
        going: list[int] = []
        for i, (row, token) in enumerate(zip(active, tokens.tolist(), strict=True)):
            if token in stop:
                continue
            step[row] = token
            windows[row].append(token)
            if n_new < limits[row]:
                going.append(i)
        if any(token is not None for token in step):
            yield step
        if not going:
            return
        if len(going) < len(active):
            active = [active[i] for i in going]
            tokens = tokens[going]
            decoder.select(going)
        full = [row for row in active if len(windows[row]) > context]
        for row in full:
            windows[row] = windows[row][-max(1, context // 2) :]
        again = [windows[row] for row in active] if full else None
        logits = decoder.prefill(again) if again else decoder.step(tokens)


def stream_text(
    model: nn.Module | DecodingWeights,
    tokenizer: Tokenizer,
    prompt: str | Ids,
    *,
    max_new_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: int = 0,
    overflow: Overflow = "error",
) -> Iterator[str]:
    """Continues one prompt, as text that comes out as soon as it is certain.

    A character is never divided, though its bytes may be of several tokens; bytes that are not
    UTF-8 come out as U+FFFD. The pieces do not repeat the prompt.

    Args:
        model: As for `generate`.
        tokenizer: What the model was trained with.
        prompt: Text, in which special tokens are read as such, or ids.
        max_new_tokens, temperature, top_k, top_p, stop, seed, overflow: As for `generate`.

    Raises:
        TypeError, ValueError: As `generate`; the tokenizer has more ids than the model.
    """
    config = model.config if isinstance(model, DecodingWeights) else config_of(model)
    check_vocabulary(tokenizer, config.vocab_size)
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    steps = generate_steps(
        model,
        [ids],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        seed=seed,
        overflow=overflow,
    )
    return _text(tokenizer, steps)


def _text(tokenizer: Tokenizer, steps: Iterator[list[int | None]]) -> Iterator[str]:
    decoder = tokenizer.stream_decoder()
    for (token,) in steps:
        # A model may have more ids than its tokenizer, for the sake of round numbers.
        if token is None or token >= tokenizer.n_vocab:
            continue
        if piece := decoder.push(token):
            yield piece
    if rest := decoder.finish():
        yield rest


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int) -> None:
    """ValueError if a tokenizer has ids that a model with so many does not know."""
    if tokenizer.n_vocab > vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.n_vocab} ids, the model {vocab_size}: they do not "
            "belong together; give the tokenizer that the model was trained with"
        )


def read_prompts(decoder: Decoder, prompts: list[list[int]]) -> torch.Tensor:
    """Logits after each prompt; one that comes several times is read once."""
    first: dict[tuple[int, ...], int] = {}
    which = [first.setdefault(tuple(prompt), len(first)) for prompt in prompts]
    logits = decoder.prefill([list(prompt) for prompt in first])
    if len(first) < len(prompts):
        decoder.select(which)
        logits = logits[which]
    return logits


def _prompt_ids(prompts: Prompts, vocab_size: int) -> list[list[int]]:
    """The ids of each prompt, checked."""
    if isinstance(prompts, (str, bytes)) or not hasattr(prompts, "__len__") or is_scalar(prompts):
        raise TypeError(f"prompts={prompts!r}: pass lists of ids, one for each prompt")
    if isinstance(prompts, (Mapping, Set)):
        raise TypeError(f"prompts={prompts!r}: pass lists of ids in an order, as results come")
    if not len(prompts):
        raise ValueError("there is no prompt; give at least one")
    rows = []
    for i, prompt in enumerate(prompts):
        if is_scalar(prompt) or isinstance(prompt, (str, bytes)):
            raise TypeError(f"prompts[{i}]={prompt!r}: a prompt is a list of ids")
        ids = integers(f"prompts[{i}]", prompt)
        if not ids:
            raise ValueError(
                f"prompts[{i}] is empty: a model needs at least one token to go on from, such as "
                "the one that separates documents"
            )
        for id_ in ids:
            if not 0 <= id_ < vocab_size:
                raise ValueError(
                    f"prompts[{i}] has the id {id_}: the model's go from 0 to {vocab_size - 1}; "
                    "is this the model's tokenizer?"
                )
        rows.append(ids)
    return rows


def _stop_ids(stop: Stop, vocab_size: int) -> frozenset[int]:
    """The ids that end a row, checked."""
    if isinstance(stop, (str, bytes)):
        raise TypeError(f"stop={stop!r}: it takes ids; see Tokenizer.encode_single_token")
    ids = [integer("stop", stop)] if is_scalar(stop) else integers("stop", stop, unordered=True)
    for id_ in ids:
        if not 0 <= id_ < vocab_size:
            raise ValueError(
                f"stop has the id {id_}, which never comes: the model's go from 0 to "
                f"{vocab_size - 1}"
            )
    return frozenset(ids)


def _limits(
    lengths: Sequence[int], max_new_tokens: int | None, context: int, overflow: str
) -> list[int]:
    """The most tokens that each row may grow by."""
    if overflow == "slide":
        if max_new_tokens is None:
            raise ValueError(
                'overflow="slide" has no end by itself: give max_new_tokens=, a number'
            )
        return [max_new_tokens] * len(lengths)
    for row, length in enumerate(lengths):
        if length > context:
            raise ValueError(
                f"prompts[{row}] has {length} tokens, more than the context length {context}; "
                'shorten it, or pass overflow="slide" to go on from its end'
            )
        # The last token is given out, but not read.
        if max_new_tokens is not None and length + max_new_tokens - 1 > context:
            raise ValueError(
                f"prompts[{row}] has {length} tokens and max_new_tokens={max_new_tokens}: the "
                f"context length {context} leaves room for {context - length + 1}; ask for fewer, "
                'or pass overflow="slide"'
            )
    room = [context - length + 1 for length in lengths]
    return room if max_new_tokens is None else [max_new_tokens] * len(lengths)
