"""`Supervised`: mid-training and SFT, stages on conversations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from bytemill.lm.batches.loaders import IGNORED
from bytemill.lm.batches.stream.loader import StreamLoader
from bytemill.lm.batches.stream.rows import Rows
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.validation import Batches, Validation
from bytemill.lm.optim.groups import peak_rates
from bytemill.lm.stages.asked import Asked, scores, tasks_to_ask
from bytemill.lm.stages.config import MidConfig, SftConfig, StageData, SupervisedConfig
from bytemill.lm.stages.conversations import Conversations
from bytemill.lm.stages.mixture import Mixture, mixture
from bytemill.lm.stages.recipes import Recipe, recipe_of
from bytemill.lm.stages.replay import replayed
from bytemill.lm.stages.rows import ConversationRows, NothingToLearnError, Packing, rows_of
from bytemill.lm.stages.stage import Stage
from bytemill.lm.train.loop import Loop
from bytemill.lm.train.saved_run import CONFIG
from bytemill.lm.train.start.started import Started
from bytemill.lm.train.steps.objective import NextToken, Objective, PaddedNextToken
from bytemill.lm.train.steps.source import Source
from bytemill.tasks.named import Sources
from bytemill.tasks.words import default_words, words_in

C = TypeVar("C", bound=SupervisedConfig)

_LOOKED_AT: Final = 1000
"""Conversations by which the rows of an epoch are estimated."""
_VAL_SEED: Final = 42
_WIDTHS: Final = 64
"""Rows are cut behind their last target to a multiple of this."""
_KINDS: Final[dict[str, type[SupervisedConfig]]] = {
    kind.FORMAT: kind for kind in (MidConfig, SftConfig)
}


@dataclass(frozen=True)
class StageStarted(Started):
    """A stage is set up; the first step comes next."""

    tasks: tuple[str, ...]
    conversations: int | None
    """In an epoch; None if they are drawn by weight."""
    packing: Packing
    counted: float
    """The share of the rows' ids that are learnt, about."""
    filled: float
    """The share that is not padding, about."""


@dataclass(frozen=True)
class Looked:
    """What some of the first rows look like."""

    rows: int
    conversations: int
    """That were used up for these rows."""
    counted: int
    """Targets that are learnt."""
    n_tokens: int
    """Ids up to the last such target of each row: what follows is padding."""
    n_cut: int
    n_dropped: int


class Supervised(Stage[C]):
    """Trains on conversations as a configuration says.

    See `bytemill.lm.train.run.Run` for its arguments, and for what the folder gets.
    """

    mixture: Mixture
    rows: ConversationRows
    looked: Looked

    # What it reads

    def _context_length(self) -> int:
        return self.config.data.context_length or super()._context_length()

    def _open_data(self) -> None:
        data = self.config.data
        self.recipe = self._recipe_of(self.config)
        tokens = self.base.tokenizer.mergeable_ranks
        self.mixture = _mixture(data, self.recipe, tokens)
        self.rows = self._rows(data, self.recipe, self.mixture, self.config.run.seed)
        self.looked = self._look()
        self._replay = [] if data.replay is None else self._replayed(data.replay)
        held_out = [
            (name, share.task)
            for name, share in zip(self.mixture.val_names, self.mixture.val, strict=True)
        ]
        self._asked = {}
        if data.ask_every:
            self._asked = tasks_to_ask(held_out, self.dialogue.renderer, data.ask_items)

    def _recipe_of(self, config: SupervisedConfig) -> Recipe:
        return recipe_of(config.STAGE, config.run.preset, self.base.optimizer.recipe)

    def _rows(
        self, data: StageData, recipe: Recipe, mixed: Mixture, seed: int, *, val: bool = False
    ) -> ConversationRows:
        packing: Packing = recipe.rows if data.rows == "auto" else data.rows
        conversations = Conversations(
            mixed.val if val else mixed.train,
            self.dialogue.renderer,
            None if packing == "stream" else self.context_length + 1,
            mask=recipe.mask if data.mask is None else data.mask,
            seed=seed,
        )
        return rows_of(packing, conversations, self.context_length, self.dialogue.first)

    def _replayed(self, text: str) -> list[tuple[float, Rows]]:
        seed = self.config.run.seed

        def from_run(folder: Path, kind: str) -> Rows | None:
            """Of an earlier stage."""
            if kind not in _KINDS:
                return None
            config = _KINDS[kind].load(folder / CONFIG)
            recipe = self._recipe_of(config)
            mixed = _mixture(config.data, recipe, self.base.tokenizer.mergeable_ranks)
            return self._rows(config.data, recipe, mixed, seed + 1)

        return replayed(text, self.base.folder, self.context_length, seed, from_run)

    def _look(self) -> Looked:
        """Makes some rows, and forgets them."""
        rows = self._rows(self.config.data, self.recipe, self.mixture, self.config.run.seed)
        x, y = np.empty((2, self.context_length), np.int64)
        n_rows = counted = n_tokens = 0
        wanted = min(rows.conversations.epoch or _LOOKED_AT, _LOOKED_AT)
        while rows.at.number - len(rows.at.waiting) < wanted:
            rows.fill(x, y)
            n_rows += 1
            learnt = np.flatnonzero(y != IGNORED)
            counted += len(learnt)
            n_tokens += int(learnt[-1]) + 1 if self._is_padded else self.context_length
        at = rows.at
        used = at.number - len(at.waiting)
        return Looked(n_rows, used, counted, n_tokens, at.n_cut, at.n_dropped)

    @property
    def _is_padded(self) -> bool:
        return self.rows.packing != "stream"

    # What `Stage` and `Run` ask

    def _defaults(self) -> tuple[float, float, int]:
        recipe = self.recipe
        return recipe.lr_factor, recipe.decay_fraction, recipe.batch_size(self.context_length)

    def _rows_in_epoch(self) -> float | None:
        epoch = self.rows.conversations.epoch
        if epoch is None:
            return None
        of_others = sum(weight for weight, _ in self._replay)
        return epoch * self.looked.rows / self.looked.conversations / (1 - of_others)

    def _begins_with_optimizer(self) -> bool:
        asked = self.config.run.init_optimizer
        return self.recipe.init_optimizer and self.base.has_optimizer if asked is None else asked

    def _source(self) -> Source:
        weights = [weight for weight, _ in self._replay]
        return StreamLoader(
            [self.rows, *(rows for _, rows in self._replay)],
            self.plan.batch_size,
            weights=[1 - sum(weights), *weights],
            seed=self.config.run.seed,
            device=self.device,
        )

    def _objective(self) -> Objective:
        loss_sum = self._loss_sum()
        loss_sum = loss_sum if self._is_compiled else _trimmed(loss_sum)
        return PaddedNextToken(loss_sum) if self._is_padded else NextToken(loss_sum)

    def _validation_batches(self) -> Batches:
        if not self.mixture.val:
            return []
        data, length = self.config.data, self.context_length
        rows = self._rows(data, self.recipe, self.mixture, _VAL_SEED, val=True)
        most = max(self.config.run.eval_tokens // length, 1)
        n_items = sum(len(share.task) for share in self.mixture.val)
        made: list[tuple[Any, Any]] = []
        while len(made) < most and rows.at.number < n_items + len(rows.at.waiting):
            x, y = np.empty((2, length), np.int64)
            try:
                rows.fill(x, y)
            except NothingToLearnError:
                return []  # said by `_warnings`
            made.append((x, y))
        size = self.plan.batch_size
        both = [np.stack([row[i] for row in made]) for i in (0, 1)]
        batches = []
        for first in range(0, len(made), size):
            x, y = (part[first : first + size] for part in both)
            width = _width((y != IGNORED).any(axis=0))
            batches.append((x[:, :width], y[:, :width]))
        return batches

    def _tried_batches(self) -> Batches:
        rows = self._rows(self.config.data, self.recipe, self.mixture, self.config.run.seed)
        x, y = np.empty((2, 1, self.context_length), np.int64)
        rows.fill(x[0], y[0])
        return [(x, y)]

    def _val_content(self) -> str | None:
        return self._content_of_val

    @cached_property
    def _content_of_val(self) -> str | None:
        if not self.mixture.val:
            return None
        rows = self._rows(self.config.data, self.recipe, self.mixture, _VAL_SEED, val=True)
        return f"{rows.conversations.content} {rows.packing} {self.context_length}"

    def _contents(self) -> dict[str, Any]:
        own = {"data": self.rows.conversations.content, "validation data": self._val_content()}
        return {**super()._contents(), **own}

    def _started(self, loop: Loop, seconds: float) -> tuple[Started, list[str]]:
        looked, rows = self.looked, self._rows_in_epoch()
        n_ids = looked.rows * self.context_length
        started = StageStarted(
            plan=self.plan,
            step=loop.step,
            rates=peak_rates(self.optimizers),
            seconds=seconds,
            epochs=0.0 if rows is None else self.plan.steps * self.plan.batch_size / rows,
            device=runtime.device_name(self.device),
            dtype=str(self.dtype).removeprefix("torch."),
            is_compiled=self._is_compiled,
            micro_batch_size=loop.rows or self.plan.batch_size,
            train_tokens=0 if rows is None else round(rows * looked.n_tokens / looked.rows),
            val_tokens=sum(x.size for x, _ in self._val_batches),
            tasks=self.mixture.names,
            conversations=self.rows.conversations.epoch,
            packing=self.rows.packing,
            counted=looked.counted / n_ids,
            filled=looked.n_tokens / n_ids,
        )
        return started, self._warnings()

    def _warnings(self) -> list[str]:
        looked, notes = self.looked, []
        if bad := self.mixture.bad:
            notes.append(f"{len(bad):,} lines are not conversations and are left out: {bad[0]}")
        if looked.n_cut:
            notes.append(
                f"{looked.n_cut:,} of the first {looked.conversations:,} conversations are longer "
                f"than a row of {self.context_length:,} tokens, and cut at their end"
            )
        if looked.n_dropped:
            notes.append(
                f"{looked.n_dropped:,} of the first {looked.conversations:,} conversations have "
                "nothing to learn within a row, and are left out"
            )
        if not self.mixture.val:
            notes.append("no task has 20 items or more to keep some for validation")
        elif not self._val_batches:
            notes.append(
                "the conversations that are kept for validation have nothing to learn within a row "
                f"of {self.context_length:,} tokens: nothing is validated"
            )
        return notes

    # What the loop calls

    def validate(self) -> Validation | None:
        """As `bytemill.lm.train.steps.hooks.Hooks` says; asks items, where that is due."""
        found = super().validate()
        loop, every = self._loop, self.config.data.ask_every
        if loop is None or found is None or not self._asked:
            return found
        if loop.step % every and not loop.is_finished:
            return found
        asked = self._ask()
        self._tell(Asked(loop.step, asked))
        return replace(found, more={f"ask_{name}": score for name, score in asked.items()})

    def _ask(self) -> dict[str, float]:
        self.model.eval()
        with self._average.applied() if self._average else nullcontext():
            found = scores(
                self.model,
                self.dialogue.renderer,
                self._asked,
                self.world,
                computing=lambda: runtime.autocast(self.device, self.dtype),
                dtype=None if self.dtype == torch.float32 else self.dtype,
            )
        self.model.train()
        return found


class MidTraining(Supervised[MidConfig]):
    """Mid-training: the base model learns what conversations and questions look like."""


class Sft(Supervised[SftConfig]):
    """Supervised fine-tuning: the model learns to answer."""


def _mixture(data: StageData, recipe: Recipe, tokens: Any) -> Mixture:
    words = words_in(data.words) if data.words else default_words(tokens)
    sources = Sources(Path(data.path), words, split="train")
    return mixture(data.tasks or recipe.tasks, sources, skip_bad=data.skip_bad)


def _width(is_used: Any) -> int:
    """Up to which position rows are used, as a multiple of `_WIDTHS`."""
    last = int(np.flatnonzero(np.asarray(is_used))[-1]) + 1
    return min(-(-last // _WIDTHS) * _WIDTHS, len(is_used))


def _trimmed(loss_sum: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The same loss without the padding at the end of all rows, on which nothing depends."""

    def trimmed(ids: Tensor, targets: Tensor) -> Tensor:
        used = (targets != IGNORED).any(dim=0)
        if not used.any():
            return loss_sum(ids, targets)
        width = _width(used.cpu().numpy())
        return loss_sum(ids[:, :width], targets[:, :width])

    return trimmed
