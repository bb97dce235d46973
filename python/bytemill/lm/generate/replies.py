"""Replies of an assistant: several at a time, with calls of the calculator worked out on the way.

Each row is a small machine of its own. What the model writes between `<|python_start|>` and
`<|python_end|>` is worked out; the result is then forced upon the row, between `<|output_start|>`
and `<|output_end|>`, before the model goes on. An expression that cannot be worked out is answered
by nothing. A row ends at `<|assistant_end|>`, or at its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import nn

from bytemill.chat.conversation import Message
from bytemill.chat.render import Renderer
from bytemill.lm.generate.decoder import Decoder
from bytemill.lm.generate.sampling import Chance, Ids, Sampling, row_seeds
from bytemill.lm.generate.text import check_vocabulary, read_prompts
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.arguments import integer
from bytemill.tools.calculator import CalculatorError, calculate

Tool = Callable[[str], str]


class Written(NamedTuple):
    """A token of a row."""

    id: int
    is_forced: bool
    """Whether it is a tool's, and not the model's."""


@dataclass(frozen=True)
class Reply:
    """One row's."""

    ids: list[int]
    """All that came after the prompt, the token that ends it included."""
    mask: list[int]
    """As long: 1 for what the model wrote, 0 for what was forced upon it."""
    finish: Literal["stop", "length"]
    """Whether the model ended it, or a limit did."""
    message: Message
    """The same as a message, whose parts keep their ids."""


def replies(
    model: nn.Module | DecodingWeights,
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | Ids = 0,
    tool: Tool | None = calculate,
) -> list[Reply]:
    """Lets a model reply to prompts.

    Args:
        model: As for `bytemill.lm.generate.text.generate`.
        renderer: Of the model's tokenizer.
        prompts: Ids, as of `Renderer.prompt`; a prompt that comes several times is read once, and
            its rows are samples of their own.
        max_new_tokens: The most ids of a reply, forced ones included. The context's end is a limit,
            too.
        temperature, top_k, top_p: See `sampling.Sampling`; temperature 0 is greedy.
        seed: As for `generate`: a row's chance comes from its own seed, whatever the other rows.
        tool: Works out an expression, or raises CalculatorError; None for no tool: what the model
            then writes after an expression is its own.

    Raises:
        TypeError, ValueError: As `generate`; a prompt leaves no room in the context for a token.
    """
    machines = _machines(model, renderer, prompts, max_new_tokens, tool)
    steps = _steps(model, machines, Sampling(temperature, top_k, top_p), seed)
    for _ in steps:
        pass
    return [machine.reply() for machine in machines]


def reply_steps(
    model: nn.Module | DecodingWeights,
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | Ids = 0,
    tool: Tool | None = calculate,
) -> Iterator[list[Written | None]]:
    """As `replies`, a token of each row at a time; arguments are checked at once.

    Yields:
        The next token of each row; None for rows that have ended.
    """
    machines = _machines(model, renderer, prompts, max_new_tokens, tool)
    return _steps(model, machines, Sampling(temperature, top_k, top_p), seed)


@dataclass
class Machine:
    """One row: what it holds, what is to be forced upon it, and whether it goes on."""

    renderer: Renderer
    prompt: list[int]
    limit: int
    tool: Tool | None
    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None
    _forced: list[int] = field(default_factory=list)
    _expression: list[int] | None = None

    def take(self, sampled: int) -> Written:
        """Adds the next token: the one that is forced, if there is one, or else the sampled one."""
        special = self.renderer.special
        is_forced = bool(self._forced)
        token = self._forced.pop(0) if is_forced else sampled
        self.ids.append(token)
        self.mask.append(int(not is_forced))
        if not is_forced:
            if token == self.renderer.stop_id:
                self.finish = "stop"
            elif token == special["<|python_start|>"]:
                self._expression = []
            elif token == special["<|python_end|>"] and self._expression is not None:
                self._forced = self._worked_out(self._expression)
                self._expression = None
            elif self._expression is not None:
                self._expression.append(token)
        if self.finish is None and len(self.ids) >= self.limit:
            self.finish = "length"
        return Written(token, is_forced)

    def _worked_out(self, expression: list[int]) -> list[int]:
        tokenizer, special = self.renderer.tokenizer, self.renderer.special
        if self.tool is None or any(map(tokenizer.is_control_token, expression)):
            return []
        try:
            result = self.tool(tokenizer.decode(expression))
        except CalculatorError:
            return []
        middle = tokenizer.encode_ordinary(result)
        return [special["<|output_start|>"], *middle, special["<|output_end|>"]]

    def reply(self) -> Reply:
        """What there is so far."""
        return Reply(self.ids, self.mask, self.finish or "length", self.renderer.reply(self.ids))


def _machines(
    model: nn.Module | DecodingWeights,
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    tool: Tool | None,
) -> list[Machine]:
    weights = model if isinstance(model, DecodingWeights) else DecodingWeights(model)
    context = weights.config.context_length
    check_vocabulary(renderer.tokenizer, weights.config.vocab_size)
    max_new_tokens = integer("max_new_tokens", max_new_tokens)
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens}: it must be at least 1")
    if not len(prompts):
        raise ValueError("there is no prompt; give at least one")
    machines = []
    for number, prompt in enumerate(prompts, 1):
        if not 1 <= len(prompt) <= context:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens: it must have at least 1, and at most "
                f"{context}, the model's context length; drop earlier messages"
            )
        # The last token is given out, but not read.
        limit = min(max_new_tokens, context - len(prompt) + 1)
        machines.append(Machine(renderer, list(prompt), limit, tool))
    return machines


def _steps(
    model: nn.Module | DecodingWeights,
    machines: list[Machine],
    sampling: Sampling,
    seed: int | Ids,
) -> Iterator[list[Written | None]]:
    weights = model if isinstance(model, DecodingWeights) else DecodingWeights(model)
    chance = Chance(row_seeds(seed, len(machines)))
    n_vocab = machines[0].renderer.tokenizer.n_vocab
    longest = max(len(m.prompt) + m.limit - 1 for m in machines)
    decoder = Decoder(weights, longest)
    logits = read_prompts(decoder, [machine.prompt for machine in machines])
    active = list(range(len(machines)))
    while True:
        # A model may have more ids than its tokenizer, for the sake of round numbers.
        logits = logits[:, :n_vocab]
        drawn = chance.next()[active].to(weights.device)
        sampled = sampling.choose(logits, drawn).tolist()
        step: list[Written | None] = [None] * len(machines)
        for row, token in zip(active, sampled, strict=True):
            step[row] = machines[row].take(token)
        yield step
        going = [i for i, row in enumerate(active) if machines[row].finish is None]
        if not going:
            return
        if len(going) < len(active):
            active = [active[i] for i in going]
            decoder.select(going)
        newest = [machines[row].ids[-1] for row in active]
        logits = decoder.step(torch.tensor(newest, device=weights.device))
