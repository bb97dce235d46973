"""`Engine`: which rows the model computes next, a step at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bytemill.lm.engine.prefixes import Ids, Prefix, Prefixes, common
from bytemill.lm.engine.rows import Counts, End, Row, Token
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
        # Running rows have the first slots, in this order; those that are being read the next,
        # between two steps one at most.
        self._active: list[Row] = []
        self._reading: list[Row] = []
        self._waiting: deque[Row] = deque()
        self._closed = False
        self.changed = threading.Condition()
        """Held while rows are taken in; notified when there are new ones."""

    @property
    def n_active(self) -> int:
        """Rows that have a slot."""
        return len(self._active) + len(self._reading)

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
            for row in (*self._active, *self._waiting, *self._reading):
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
        if self._reading and self._reading[0].is_cancelled:
            row = self._reading.pop()
            self._keep(row, len(self._active))
            self._end(row, End("cancelled", None))
        self._leave({row: End("cancelled", None) for row in self._active if row.is_cancelled})

    def _read_prompts(self) -> None:
        room = self.settings.chunk
        while rows := self._to_read(room):
            left = len(rows[0].machine.prompt) - rows[0].held
            # A pass for a few tokens takes about as long as one for many.
            if room < min(left, self.settings.chunk):
                return
            parts = [row.machine.prompt[row.held : row.held + room] for row in rows]
            width = max(map(len, parts))
            room -= width * len(rows)
            try:
                ids = torch.tensor(
                    [[*part, *[0] * (width - len(part))] for part in parts],
                    device=self._weights.device,
                )
                held = [row.held for row in rows]
                slots = self._slots.some(len(self._active), held)
                lengths = [len(part) for part in parts]
                logits = self._passes.read(ids, slots, lengths if min(lengths) < width else None)
            except Exception as error:
                self._drop_read(rows, error)
                continue
            for row, part in zip(rows, parts, strict=True):
                row.held += len(part)
            if rows[0].held == len(rows[0].machine.prompt):  # then so have the others
                del self._reading[: len(rows)]
                self._active += rows
                self._leave(self._choose(rows, logits))

    def _to_read(self, room: int) -> list[Row]:
        """The rows of the next pass over prompts: one, or several that it reads to their ends."""
        if not self._reading and not self._take(None):
            return []
        rows = self._reading[:1]
        total = width = len(rows[0].machine.prompt) - rows[0].held
        end = rows[0].held
        while width < room and (len(self._reading) > len(rows) or self._take(rows)):
            row = self._reading[len(rows)]
            n = len(row.machine.prompt) - row.held
            total, width, end = total + n, max(width, n), max(end, row.held)
            size = width * (len(rows) + 1)
            # Padding is computed, too, and must not run over a slot's end.
            if size > room or 4 * total < 3 * size or end + width > self.max_length:
                break
            rows.append(row)
        return rows

    def _take(self, beside: Sequence[Row] | None) -> bool:
        """Lets the next row begin, if there is one and a slot for it.

        Args:
            beside: Rows that are read in the pass it would be in. It waits for them if they read
                most of what it has to: then it is copied. None: it begins in any case.
        """
        if self.n_active == self.settings.max_rows:
            return False
        with self.changed:
            if not self._waiting:
                return False
            row = self._waiting[0]
        prompt = np.asarray(row.machine.prompt[:-1], dtype=np.int64)
        source, n = self._known(prompt)
        for other in beside or ():
            shared = common(np.asarray(other.machine.prompt, dtype=np.int64), prompt)
            if 2 * (shared - n) > len(prompt) - n:
                return False
        with self.changed:
            self._waiting.popleft()
            self._reading.append(row)
        slot = self.n_active - 1
        if isinstance(source, int):
            self._slots.move(source, slot, n)
        elif source is not None:
            self._slots.fill(slot, source.keys, source.values, row.machine.prompt[:n])
        row.held = row.reused = n
        self.counts.prompt_tokens += len(row.machine.prompt)
        self.counts.reused_tokens += n
        return True

    def _known(self, wanted: Ids) -> tuple[Prefix | int | None, int]:
        """Where most of a prompt's first ids are, and how many: kept, or in a running row's slot
        (of several samples of one prompt); the last id of a prompt is read in any case."""
        source: Prefix | int | None
        source, n = self._prefixes.find(wanted)
        for slot, other in enumerate(self._active):
            n_common = common(np.asarray(other.read, dtype=np.int64), wanted)
            if n_common > n:
                source, n = slot, n_common
        return source, n

    def _drop_read(self, rows: Sequence[Row], error: Exception) -> None:
        """Ends rows that could not be read; another that has begun gets the first one's slot."""
        del self._reading[: len(rows)]
        first = len(self._active)
        for row in self._reading:
            self._slots.move(first + len(rows), first, row.held)
        for row in rows:
            self._end(row, End("error", error))

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
            for reading in self._reading:
                self._slots.move(last + 1, last, reading.held)
        for row, end in ends.items():
            self._end(row, end)

    def _keep(self, row: Row, slot: int) -> None:
        n = row.held
        self._prefixes.keep(row.read, n * self._token_bytes, lambda: self._slots.copy(slot, n))

    def _end(self, row: Row, end: End) -> None:
        row.end = end
        setattr(self.counts, end.finish, getattr(self.counts, end.finish) + 1)
        row.on_end(end)
