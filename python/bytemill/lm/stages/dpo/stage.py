"""`Dpo`: direct preference optimization, a stage on pairs of answers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import torch

from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.validation import Batches, Validation
from bytemill.lm.optim.groups import peak_rates
from bytemill.lm.stages.dpo.config import DpoConfig
from bytemill.lm.stages.dpo.objective import Preference, figures_of
from bytemill.lm.stages.dpo.pairs import EncodedPair, Pairs, encode_pairs
from bytemill.lm.stages.dpo.reference import keep, kept, reference_of
from bytemill.lm.stages.dpo.source import PairSource, tensors_of
from bytemill.lm.stages.stage import Stage
from bytemill.lm.train.events import Event
from bytemill.lm.train.loop import Loop
from bytemill.lm.train.saved_run import SavedRun
from bytemill.lm.train.start.started import Started
from bytemill.lm.train.steps.objective import Objective
from bytemill.lm.train.steps.source import Source

LR_FACTOR: Final = 0.002
BATCH_SIZE: Final = 32
_VAL_SHARE: Final = 100
_LEAST_FOR_VAL: Final = 20
_VAL_SEED: Final = 42


@dataclass(frozen=True)
class DpoStarted(Started):
    """A run is set up; the first step comes next."""

    pairs: int
    """That are trained on."""
    val_pairs: int
    beta: float


@dataclass(frozen=True)
class Preferred(Event):
    """How pairs did since the last line of the log."""

    step: int
    figures: dict[str, float]
    """As the log has them."""


class Dpo(Stage[DpoConfig]):
    """Trains a model to prefer what was chosen to what was rejected.

    See `bytemill.lm.train.run.Run` for its arguments, and for what the folder gets; beside that it
    gets reference_log_probs.safetensors, what the model at the beginning made of the pairs.
    """

    ADAPTERS_FACTOR: ClassVar[float] = 0.1
    read: Pairs

    # What it reads

    def _context_length(self) -> int:
        return self.config.data.context_length or super()._context_length()

    def _open_data(self) -> None:
        data = self.config.data
        # What is fed in is one shorter than what is rendered.
        most = self.context_length + 1
        self.read = encode_pairs(data.pairs, self.dialogue.renderer, most, skip_bad=data.skip_bad)
        n = len(self.read.pairs)
        n_val = max(n // _VAL_SHARE, 1) if n >= _LEAST_FOR_VAL else 0
        order = np.random.default_rng(_VAL_SEED).permutation(n)
        self._order = [*sorted(order[n_val:].tolist()), *sorted(order[:n_val].tolist())]
        """The numbers of all pairs, those that are kept back last."""
        self._all = [self.read.pairs[i] for i in self._order]
        self._n_train = n - n_val
        self._reference: npt.NDArray[np.float32] | None = None
        self._pairs: PairSource | None = None
        self._preference: Preference | None = None

    @property
    def _val(self) -> list[EncodedPair]:
        return self._all[self._n_train :]

    # What `Stage` and `Run` ask

    def _defaults(self) -> tuple[float, float, int]:
        return LR_FACTOR, 1.0, BATCH_SIZE

    def _rows_in_epoch(self) -> float | None:
        return float(self._n_train)

    def _source(self) -> Source:
        self._pairs = PairSource(
            self._all[: self._n_train],
            self.plan.batch_size,
            seed=self.config.run.seed,
            content=self.read.content,
            device=self.device,
        )
        return self._pairs

    def _computing(self) -> Any:
        return runtime.autocast(self.device, self.dtype)

    def _objective(self) -> Objective:
        self._preference = Preference(self.model, self.config.data.beta, self._computing)
        return self._preference

    def _begin(self) -> None:
        super()._begin()
        rows = self.config.run.micro_batch_size or min(self.plan.batch_size, BATCH_SIZE)
        where = self.device, self.world, self._computing
        self._take_reference(reference_of(self.model, self._all, rows, *where))

    def _load(self, loop: Loop, checkpoint: Checkpoint, saved: SavedRun) -> None:
        super()._load(loop, checkpoint, saved)
        self._take_reference(kept(self._folder.path, self.read.content))

    def _take_reference(self, found: npt.NDArray[np.float32]) -> None:
        self._reference = found
        if self._pairs is not None:
            self._pairs.reference[:] = found[: self._n_train]

    def _validation_batches(self) -> Batches:
        return []

    def _tried_batches(self) -> Batches:
        if self._val:
            return []  # `validate` has tried them
        row = self._all[0].chosen
        return [(np.array([row.ids]), np.array([row.targets]))]

    def _val_content(self) -> str | None:
        return self.read.content if self._val else None

    def _contents(self) -> dict[str, Any]:
        return {**super()._contents(), "pairs": self.read.content}

    def _started(self, loop: Loop, seconds: float) -> tuple[Started, list[str]]:
        if self._reference is not None and self.world.leads and not loop.step:
            keep(self._folder.path, self._reference, self.read.content)
        n_ids = [len(pair.chosen.ids) + len(pair.rejected.ids) for pair in self._all]
        started = DpoStarted(
            plan=self.plan,
            step=loop.step,
            rates=peak_rates(self.optimizers),
            seconds=seconds,
            epochs=self.plan.steps * self.plan.batch_size / self._n_train,
            device=runtime.device_name(self.device),
            dtype=str(self.dtype).removeprefix("torch."),
            is_compiled=False,
            micro_batch_size=loop.rows or self.plan.batch_size,
            train_tokens=sum(n_ids[: self._n_train]),
            val_tokens=sum(n_ids[self._n_train :]),
            pairs=self._n_train,
            val_pairs=len(self._val),
            beta=self.config.data.beta,
        )
        return started, self._warnings()

    def _warnings(self) -> list[str]:
        read, notes = self.read, []
        if read.bad:
            notes.append(f"{len(read.bad):,} lines are not pairs and are left out: {read.bad[0]}")
        if read.n_equal:
            notes.append(f"{read.n_equal:,} pairs have two equal answers and are left out")
        if read.n_long:
            notes.append(
                f"{read.n_long:,} pairs differ in nothing that fits into {self.context_length:,} "
                "tokens and are left out"
            )
        if read.n_cut:
            notes.append(
                f"{read.n_cut:,} pairs are longer than {self.context_length:,} tokens, and cut"
            )
        if not self._val:
            notes.append(f"there are fewer than {_LEAST_FOR_VAL} pairs: none is kept back")
        return notes

    # What the loop calls

    def validate(self) -> Validation | None:
        """As `bytemill.lm.train.steps.hooks.Hooks` says: the loss of pairs kept back."""
        if not self._val or self._reference is None:
            return None
        own = range(self.world.rank, len(self._val), self.world.size)
        rows = (self._loop.rows if self._loop else None) or self.plan.batch_size
        tried = Preference(self.model, self.config.data.beta, self._computing)
        reference = self._reference[self._n_train :]
        self.model.eval()
        with self._average.applied() if self._average else nullcontext(), torch.no_grad():
            for first in range(0, len(own), rows):
                which = list(own[first : first + rows])
                some = [self._val[i] for i in which]
                tried.loss_sum(tensors_of(some, reference[which], self.device))
        self.model.train()
        found = figures_of(self.world.total(tried.take_sums()))
        loss = found.pop("loss")
        return Validation(loss, None, {f"val_{name}": each for name, each in found.items()})

    def _line_figures(self) -> dict[str, float]:
        """What the log tells besides: accuracy, margins and rewards."""
        if self._preference is None:
            return {}
        found = figures_of(self.world.total(self._preference.take_sums()))
        found.pop("loss", None)
        if found:
            self._tell(Preferred(self.step, found))
        return found
