"""`Engine`: which rows the model computes next, a step at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from bytemill.lm.engine.prefixes import Prefixes, common
from bytemill.lm.engine.rows import End, Row, Token
from bytemill.lm.engine.slots import Slots
from bytemill.lm.generate.passes import Passes
from bytemill.lm.generate.sampling import Sampling
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.arguments import integer


class EngineFull(RuntimeError):
    """As many rows are waiting as may."""


class EngineClosed(RuntimeError):
    """The engine takes no more rows."""


@dataclass(frozen=True)
class EngineSettings:
    """How much an engine does at a time.

    Raises:
        TypeError: A value is not an integer.
        ValueError: A value is out of range.
    """

    max_rows: int = 32
    """Rows that are computed together; each has memory for `max_length` tokens."""
    max_waiting: int = 256
    """Rows that may wait to begin."""
    chunk: int = 256
    """Tokens of prompts that are read between two tokens of the running rows."""
    prefix_bytes: int = 256 << 20
    """Memory for keys and values of rows that have ended; 0 for none."""
    max_length: int | None = None
    """The most tokens of a row; None is the model's context length."""

    def __post_init__(self) -> None:
        for name, least in (("max_rows", 1), ("max_waiting", 0), ("chunk", 1), ("prefix_bytes", 0)):
            value = integer(name, getattr(self, name))
            if value < least:
                raise ValueError(f"{name}={value}: it must be at least {least}")


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


class Engine:
    """Computes many rows together, each as if it were alone: same seed, same ids in fp32, but for
    rounding (`bytemill.lm.generate.text.generate` says when that shows).

    `submit`, and a row's `cancel`, may be called from any thread; `step` from one at a time.

    Args:
        weights: Of the model.
        n_vocab: The tokenizer's ids: a model may have more, which are never chosen.
        settings: How much at a time.

    Raises:
        ValueError: The tokenizer has more ids than the model; `max_length` is above the context
            length.
    """

    def __init__(
        self, weights: DecodingWeights, n_vocab: int, settings: EngineSettings | None = None
    ) -> None:
        settings = EngineSettings() if settings is None else settings
        config = weights.config
        if not 1 <= n_vocab <= config.vocab_size:
            raise ValueError(
                f"n_vocab={n_vocab}: the model has {config.vocab_size} ids; give the tokenizer "
                "that it was trained with"
            )
        self.settings = settings
        self.max_length = settings.max_length or config.context_length
        self.counts = Counts()
        self._weights, self._n_vocab = weights, n_vocab
        self._slots = Slots(weights, settings.max_rows, self.max_length)
        self._prefixes = Prefixes(settings.prefix_bytes)
        self._passes = Passes(weights)
        self._passes.look()
        size = torch.empty(0, dtype=weights.dtype).element_size()
        self._token_bytes = 2 * config.n_layer * config.kv_width * size
        # Running rows have the first slots, in this order; the one that is being read the next.
        self._active: list[Row] = []
        self._reading: Row | None = None
        self._waiting: deque[Row] = deque()
        self._closed = False
        self.changed = threading.Condition()
        """Held while rows are taken in; notified when there are new ones."""

    @property
    def n_active(self) -> int:
        """Rows that have a slot."""
        return len(self._active) + (self._reading is not None)

    @property
    def n_waiting(self) -> int:
        """Rows that have none yet."""
        return len(self._waiting)

    @property
    def prefix_bytes(self) -> int:
        """Memory in use for rows that have ended."""
        return self._prefixes.n_bytes

    @property
    def is_busy(self) -> bool:
        """Whether a step has something to do."""
        return bool(self._active or self._reading or self._waiting)

    def known(self, prompt: Sequence[int]) -> int:
        """How many of a prompt's first ids would be reused from rows that have ended."""
        return self._prefixes.find(prompt)[1]

    def submit(self, rows: Sequence[Row]) -> None:
        """Takes in rows: all of them, or none.

        Raises:
            EngineFull: So many cannot wait.
            EngineClosed: After `close`.
            ValueError: A prompt is longer than a row may be, or has an id that is not the
                tokenizer's.
        """
        for row in rows:
            prompt = row.machine.prompt
            if len(prompt) > self.max_length:
                raise ValueError(
                    f"a prompt of {len(prompt)} tokens: a row has room for {self.max_length}"
                )
            if not 0 <= min(prompt) <= max(prompt) < self._n_vocab:
                raise ValueError(
                    f"a prompt has ids from {min(prompt)} to {max(prompt)}: the tokenizer's go "
                    f"from 0 to {self._n_vocab - 1}"
                )
        with self.changed:
            if self._closed:
                raise EngineClosed("the engine is closed")
            # One that could begin at once does not wait, though it is the next step that begins it.
            free = self.settings.max_rows - self.n_active
            if len(self._waiting) + len(rows) > self.settings.max_waiting + free:
                raise EngineFull(
                    f"{len(self._waiting)} rows are waiting, of {self.settings.max_waiting} at most"
                )
            self._waiting.extend(rows)
            self.changed.notify_all()

    def close(self) -> None:
        """Takes no more rows; those that are there go on."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def cancel_all(self) -> None:
        """Cancels every row."""
        with self.changed:
            for row in (*self._active, *self._waiting, *filter(None, [self._reading])):
                row.cancel()

    @torch.inference_mode()
    def step(self) -> None:
        """Drops cancelled rows, reads a chunk of prompts, and gives each running row a token."""
        self._drop_cancelled()
        self._read_prompts()
        self._decode()

    def _drop_cancelled(self) -> None:
        with self.changed:
            dropped = [row for row in self._waiting if row.is_cancelled]
            if dropped:
                self._waiting = deque(row for row in self._waiting if not row.is_cancelled)
        for row in dropped:
            self._end(row, End("cancelled", None))
        if self._reading is not None and self._reading.is_cancelled:
            row, self._reading = self._reading, None
            self._keep(row, len(self._active))
            self._end(row, End("cancelled", None))
        self._leave({row: End("cancelled", None) for row in self._active if row.is_cancelled})

    def _read_prompts(self) -> None:
        room = self.settings.chunk
        while room > 0:
            row = self._reading
            if row is None:
                if len(self._active) == self.settings.max_rows:
                    return
                with self.changed:
                    if not self._waiting:
                        return
                    row = self._reading = self._waiting.popleft()
                self._begin(row)
            part = row.machine.prompt[row.held : row.held + room]
            try:
                ids = torch.tensor([part], device=self._weights.device)
                slot = self._slots.one(len(self._active), row.held)
                logits = self._passes.read(ids, slot)
            except Exception as error:
                self._reading = None
                self._end(row, End("error", error))
                continue
            row.held += len(part)
            room -= len(part)
            if row.held == len(row.machine.prompt):
                self._reading = None
                self._active.append(row)
                self._leave(self._choose([row], logits))

    def _begin(self, row: Row) -> None:
        """Puts what is known of a row's prompt into its slot; the last id is read in any case."""
        slot, prompt = len(self._active), row.machine.prompt
        self.counts.prompt_tokens += len(prompt)
        wanted = prompt[:-1]
        prefix, n = self._prefixes.find(wanted)
        # Rows that run may have more of it: several samples of one prompt.
        ids = np.asarray(wanted, dtype=np.int64)
        source = None
        for i, other in enumerate(self._active):
            n_common = common(np.asarray(other.read, dtype=np.int64), ids)
            if n_common > n:
                source, n = i, n_common
        if source is not None:
            self._slots.move(source, slot, n)
        elif prefix is not None:
            self._slots.fill(slot, prefix.keys, prefix.values, prompt[:n])
        row.held = row.reused = n
        self.counts.reused_tokens += n

    def _decode(self) -> None:
        rows = self._active
        if not rows:
            return
        self.counts.steps += 1
        try:
            newest = [row.machine.ids[-1] for row in rows]
            tokens = torch.tensor(newest, device=self._weights.device)
            logits = self._passes.step(tokens, self._slots.first([row.held for row in rows]))
        except Exception as error:
            self._leave({row: End("error", error) for row in rows}, keeps=False)
            return
        for row in rows:
            row.held += 1
        self._leave(self._choose(rows, logits))

    def _choose(self, rows: Sequence[Row], logits: Tensor) -> dict[Row, End]:
        """Gives each row its next token; those that end with it."""
        logits = logits[:, : self._n_vocab]
        ends: dict[Row, End] = {}
        chosen = self._chosen(rows, logits, ends)
        wants = [i for i, row in enumerate(rows) if row.n_top is not None]
        logprobs = dict(zip(wants, logits[wants].log_softmax(-1), strict=True)) if wants else {}
        for i, row in enumerate(rows):
            if row in ends:
                continue
            try:
                id_, is_forced = row.machine.take(chosen[i])
                logprob, top = None, []
                if row.n_top is not None:
                    logprob = logprobs[i][id_].item()
                    values, ids = logprobs[i].topk(min(row.n_top, self._n_vocab))
                    top = list(zip(ids.tolist(), values.tolist(), strict=True))
                self.counts.new_tokens += 1
                goes_on = row.on_token(Token(id_, is_forced, logprob, top))
            except Exception as error:
                ends[row] = End("error", error)
                continue
            finish = row.machine.finish
            if finish is None and not goes_on:
                finish = "stop"
            # The newest token is given out, but not yet read.
            if finish is None and row.held == self.max_length:
                finish = "length"
            if finish is not None:
                ends[row] = End(finish, None)
        return ends

    def _chosen(self, rows: Sequence[Row], logits: Tensor, ends: dict[Row, End]) -> list[int]:
        """An id for each row; rows without one are put into `ends`."""
        chance = torch.cat([row.chance.next() for row in rows]).to(logits.device)
        groups: dict[Sampling, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(row.sampling, []).append(i)
        chosen = [0] * len(rows)
        for sampling, members in groups.items():
            try:
                some = (logits, chance)
                if len(members) < len(rows):
                    some = logits[members], chance[members]
                for i, id_ in zip(members, sampling.choose(*some).tolist(), strict=True):
                    chosen[i] = id_
            except ValueError:  # not finite, in one of them at least
                for i in members:
                    try:
                        found = sampling.choose(logits[i : i + 1], chance[i : i + 1])
                        chosen[i] = int(found.item())
                    except ValueError as error:
                        ends[rows[i]] = End("error", error)
        return chosen

    def _leave(self, ends: dict[Row, End], keeps: bool = True) -> None:
        """Ends running rows and closes up their slots."""
        if not ends:
            return
        for slot in reversed(range(len(self._active))):
            row = self._active[slot]
            if row not in ends:
                continue
            if keeps and ends[row].finish != "error":
                self._keep(row, slot)
            last = len(self._active) - 1
            if slot < last:
                self._slots.move(last, slot, self._active[last].held)
                self._active[slot] = self._active[last]
            self._active.pop()
            if self._reading is not None:
                self._slots.move(last + 1, last, self._reading.held)
        for row, end in ends.items():
            self._end(row, end)

    def _keep(self, row: Row, slot: int) -> None:
        n = row.held
        self._prefixes.keep(row.read, n * self._token_bytes, lambda: self._slots.copy(slot, n))

    def _end(self, row: Row, end: End) -> None:
        row.end = end
        setattr(self.counts, end.finish, getattr(self.counts, end.finish) + 1)
        row.on_end(end)
