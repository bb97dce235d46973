"""What an engine is asked for, and what it tells about it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, Literal, NamedTuple, Protocol

from bytemill.lm.generate.replies import Written
from bytemill.lm.generate.sampling import Chance, Sampling, row_seeds

Finish = Literal["stop", "length", "cancelled", "error"]
MOST_TOP: Final = 20
"""The most alternatives to a token whose log-probabilities can be asked for."""


class RowMachine(Protocol):
    """What decides about a row's tokens: `bytemill.lm.generate.replies.Machine`, `TextMachine`."""

    prompt: list[int]
    ids: list[int]
    finish: Literal["stop", "length"] | None

    def take(self, sampled: int) -> Written:
        """Adds the next token: the sampled one, or another that is forced."""


@dataclass
class TextMachine:
    """A row of plain text, without calls of tools."""

    prompt: list[int]
    limit: int
    """The most tokens to add."""
    stop: Collection[int] = ()
    """Ids that end the row, the last of its ids then."""
    ids: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None

    def take(self, sampled: int) -> Written:
        """Adds the sampled token."""
        self.ids.append(sampled)
        if sampled in self.stop:
            self.finish = "stop"
        elif len(self.ids) >= self.limit:
            self.finish = "length"
        return Written(sampled, False)


class Token(NamedTuple):
    """One that a row got."""

    id: int
    is_forced: bool
    """Whether it is a tool's, and not the model's."""
    logprob: float | None
    """Of the model, whatever the temperature, in nats; None if not asked for."""
    top: Sequence[tuple[int, float]]
    """The likeliest ids with theirs, the likeliest first."""


class End(NamedTuple):
    """How a row ended."""

    finish: Finish
    """"stop" if the model ended it, or `on_token`; "length" at its limit."""
    error: Exception | None
    """Why, if it is "error"."""


@dataclass
class Counts:
    """What an engine has done since it was made."""

    steps: int = 0
    """Passes for a token of each running row."""
    prompt_tokens: int = 0
    """Of prompts, read or reused."""
    reused_tokens: int = 0
    """Of these, those whose keys and values were there already."""
    new_tokens: int = 0
    """Given out, forced ones included."""
    stop: int = 0
    """Rows that ended so; likewise the next three."""
    length: int = 0
    cancelled: int = 0
    error: int = 0

    def to_dict(self) -> dict[str, int]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _go_on(token: Token) -> bool:
    return True


def _no_matter(end: End) -> None:
    pass


class Row:
    """A row: what is asked for, and how far it is.

    Args:
        machine: Its prompt (at least one id), and what decides about its tokens. It is the row's
            alone.
        sampling: How tokens are chosen.
        seed: Of its chance, from 0 up to 2**63.
        n_top: How many alternatives to report with each token's log-probability; None for no
            log-probabilities at all.
        on_token: Called with each token, in the thread of the engine, which waits for it; returns
            whether the row goes on.
        on_end: Called once, in that thread, after the last token.

    Raises:
        TypeError: A value is of another type.
        ValueError: The prompt is empty, or a value is out of range.
    """

    def __init__(
        self,
        machine: RowMachine,
        sampling: Sampling | None = None,
        *,
        seed: int = 0,
        n_top: int | None = None,
        on_token: Callable[[Token], bool] = _go_on,
        on_end: Callable[[End], None] = _no_matter,
    ) -> None:
        if not machine.prompt:
            raise ValueError("the prompt is empty: a model needs at least one token to go on from")
        if n_top is not None and not 0 <= n_top <= MOST_TOP:
            raise ValueError(f"n_top={n_top}: it must be from 0 to {MOST_TOP}")
        self.machine = machine
        self.sampling = Sampling() if sampling is None else sampling
        self.chance = Chance(row_seeds([seed], 1))
        self.n_top = n_top
        self.on_token, self.on_end = on_token, on_end
        self.held = 0
        """How many of its tokens the model has read."""
        self.reused = 0
        """How many of them were there already."""
        self._is_cancelled = False
        self.end: End | None = None
        """How it ended; None while it runs."""

    @property
    def is_cancelled(self) -> bool:
        """Whether it is to end."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Ends it at the engine's next step, or before it begins; from any thread."""
        self._is_cancelled = True

    @property
    def read(self) -> list[int]:
        """The ids that the model has read."""
        return [*self.machine.prompt, *self.machine.ids][: self.held]
