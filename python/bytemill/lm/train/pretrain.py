"""`Trainer`: a pretraining run from a configuration."""

from __future__ import annotations

from typing import Any

from bytemill.lm.batches.loaders import fixed_batches
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.device import runtime
from bytemill.lm.evaluate.validation import Batches
from bytemill.lm.optim.groups import peak_rates
from bytemill.lm.train.config import TrainConfig
from bytemill.lm.train.forward import Read
from bytemill.lm.train.loop import Loop, NonFiniteLossError
from bytemill.lm.train.plan import Plan, plan
from bytemill.lm.train.run import Result, Run
from bytemill.lm.train.run_data import RunData
from bytemill.lm.train.saved_run import CONFIG, SavedRun, configuration_of
from bytemill.lm.train.start.other_run import (
    checkpoint_to_begin_from,
    said_of_beginning,
    said_of_steps,
)
from bytemill.lm.train.start.started import Started, warnings
from bytemill.lm.train.steps.source import Source

__all__ = ["CONFIG", "NonFiniteLossError", "Result", "Trainer"]


class Trainer(Run[TrainConfig]):
    """Trains a model on tokens or text as a configuration says, into the folder that it names.

    See `bytemill.lm.train.run.Run` for its arguments, and for what the folder gets.
    """

    can_share_weights = True
    data: RunData

    @property
    def _read(self) -> Read:
        return self.data

    def _open(self, checkpoint: Checkpoint | None) -> None:
        self.data = RunData.open(self.config.data, self._folder.tokenizer)

    def _planned(self, saved: SavedRun | None) -> Plan:
        found = self._plan_of(self.config)
        self.data.check(found.model.vocab_size)
        return found

    def _plan_of(self, config: TrainConfig) -> Plan:
        parts = config.model, config.optimizer, config.schedule
        return plan(*parts, self.data.n_vocab, dial=self._dial)

    def _source(self) -> Source:
        length = self.plan.model.context_length
        return self.data.loader(
            self.config.data, self.plan.batch_size, length, self.config.run.seed, self.device
        )

    def _validation_batches(self) -> Batches:
        length = self.plan.model.context_length
        return self.data.val_batches(self.config.run.eval_tokens, self.plan.batch_size, length)

    def _tried_batches(self) -> Batches:
        length = self.plan.model.context_length
        return fixed_batches(self.data.train, length, 1, length)

    def _val_content(self) -> str | None:
        return self.data.val.content if self.data.val else None

    def _contents(self) -> dict[str, Any]:
        tokenizer = self.data.tokenizer
        return {
            "data": self.data.train.content,
            "validation data": self._val_content(),
            "tokenizer": tokenizer.fingerprint if tokenizer else None,
        }

    def _begin(self) -> None:
        path, optimizer = self.config.run.init_from, bool(self.config.run.init_optimizer)
        if path is None:
            if optimizer:
                raise ValueError("init_optimizer=True: it needs init_from, to say of which run")
            return
        found = checkpoint_to_begin_from(path, self.plan.model, self.data)
        self.world.begin(found, self.model, self.optimizers if optimizer else [])
        if self._average is not None:
            self._average.restart()
        self._notes = said_of_beginning(found, self.data, optimizer=optimizer)

    def _other_steps(self, checkpoint: Checkpoint) -> list[str]:
        begun = configuration_of(checkpoint)
        if begun is None:
            return []
        before = self._plan_of(begun[0])
        return said_of_steps(before.schedule, self.plan.schedule, checkpoint.step)

    def _started(self, loop: Loop, seconds: float) -> tuple[Started, list[str]]:
        started = Started(
            plan=self.plan,
            step=loop.step,
            rates=peak_rates(self.optimizers),
            seconds=seconds,
            epochs=self.plan.tokens / len(self.data.train),
            device=runtime.device_name(self.device),
            dtype=str(self.dtype).removeprefix("torch."),
            is_compiled=self._is_compiled,
            micro_batch_size=loop.rows or self.plan.batch_size,
            train_tokens=len(self.data.train),
            val_tokens=len(self.data.val) if self.data.val else 0,
        )
        return started, warnings(started)
