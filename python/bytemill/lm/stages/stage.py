"""`Stage`: a run that goes on from a model, with the learning rates that this was trained with."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Final, TypeVar

import torch
from torch import Tensor

from bytemill import Tokenizer
from bytemill.chat.conversation import Conversation, Message
from bytemill.chat.render import Renderer
from bytemill.lm.batches.vocabulary import check_tokenizer
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.evaluate.measures import token_bytes
from bytemill.lm.generate.replies import replies
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.adapters.lora import Lora, add_adapters
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.cost.accounting import count_parameters, training_flops_per_token
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.schedule import Schedule
from bytemill.lm.stages.base import LORA, Base
from bytemill.lm.stages.config import StageTree
from bytemill.lm.stages.lora import identity, lora_of, optimizer_of
from bytemill.lm.train.forward import Forward, Read
from bytemill.lm.train.plan import Plan
from bytemill.lm.train.run import Run
from bytemill.lm.train.saved_run import SavedRun
from bytemill.lm.train.start.other_run import said_of_steps
from bytemill.tools.calculator import calculate

C = TypeVar("C", bound=StageTree)

_BATCH_SIZE: Final = "batch_size"
"""Under which name a checkpoint keeps what a batch that was not given came to."""
_LEAST_STEPS: Final = 64
"""What a stage has at least, if its batch is not given and there are as many rows."""
_CPU_ROWS: Final = 32
"""The most rows in a step on a CPU, if its batch is not given."""


class Dialogue:
    """What a stage's model reads and writes: conversations of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.renderer = Renderer(tokenizer)

    @property
    def first(self) -> int:
        """The id that begins conversations."""
        return self.renderer.special["<|bos|>"]

    def token_bytes(self, vocab_size: int) -> Tensor:
        """Bytes of each id, (V,) int64."""
        sizes = torch.zeros(vocab_size, dtype=torch.int64)
        own = token_bytes(self.tokenizer)
        sizes[: len(own)] = own
        return sizes


class StageForward(Forward):
    """The same, but that a sample is what is answered to a user.

    Raises:
        ValueError: The prompt of samples leaves no room for an answer, or has a lone surrogate.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        tokenizer, run, context = self._data.tokenizer, self._settings, self._model.config
        if not run.sample_every or tokenizer is None:
            return
        # Here, and not when the first sample is due: by then a run may have made many steps.
        try:
            n = len(self._asked(Renderer(tokenizer)))
        except ValueError as error:
            raise ValueError(f"sample_prompt={run.sample_prompt!r}: {error}") from None
        if n > context.context_length:
            raise ValueError(
                f"sample_prompt={run.sample_prompt[:40]!r}: with its special tokens it has {n} "
                f"tokens, and the context {context.context_length}; give a shorter one, or "
                "sample_every=0"
            )

    def _asked(self, renderer: Renderer) -> list[int]:
        """What samples go on from."""
        return renderer.prompt(Conversation((Message("user", self._settings.sample_prompt),)))

    def sample(self) -> str:
        """The reply to the run's `sample_prompt`."""
        tokenizer, run = self._data.tokenizer, self._settings
        if tokenizer is None or not self._world.leads:
            return ""
        renderer = Renderer(tokenizer)
        self._model.eval()
        with self._averaged():
            found = replies(
                DecodingWeights(self._model, None),
                renderer,
                [self._asked(renderer)],
                max_new_tokens=run.sample_tokens,
                temperature=1.0,
                seed=[run.seed],
                tool=calculate,
            )
        self._model.train()
        return found[0].message.text


class Stage(Run[C]):
    """A run that begins with another one's model and tokenizer.

    What differs from stage to stage is what it reads and makes small: `_open_data`, `_recipe_rows`,
    `_source` and what else `Run` asks for.
    """

    base: Base
    dialogue: Dialogue
    ADAPTERS_FACTOR: ClassVar[float] = 1.0
    """What AdamW's default rates are multiplied by for adapters."""
    lora: Lora | None
    """The adapters that are trained; None if all weights are."""

    # What a stage says of itself

    @abstractmethod
    def _open_data(self) -> None:
        """Opens what it trains on; `base`, `dialogue` and `context_length` are there."""

    @abstractmethod
    def _defaults(self) -> tuple[float, float, int]:
        """Its recipe's factor of the learning rates, decay fraction and rows in a step."""

    @abstractmethod
    def _rows_in_epoch(self) -> float | None:
        """How many rows there are to go through, about; None if there is no end to them."""

    def _begins_with_optimizer(self) -> bool:
        """Whether it goes on with the base run's optimizer state."""
        return bool(self.config.run.init_optimizer)

    def _context_length(self) -> int:
        """Ids in a row, T."""
        return self.base.model.context_length

    # As `Run` asks

    @property
    def _read(self) -> Read:
        return self.dialogue

    def _open(self, checkpoint: Checkpoint | None) -> None:
        self._batch_size_kept: int | None = None
        if checkpoint is None:
            self.base = Base.of(self.config.run.init_from)
        else:
            self.base = Base.kept(checkpoint, self._folder.tokenizer)
            self._batch_size_kept = checkpoint.extra["more"].get(_BATCH_SIZE)
        check_tokenizer(self.base.tokenizer, self.base.model.vocab_size)
        self.dialogue = Dialogue(self.base.tokenizer)
        self.lora = lora_of(self.config.run)
        self._of_lora: dict[str, Any] = {}
        if self.lora is not None:
            if self.base.checkpoint is not None:
                self._of_lora = {LORA: identity(self.lora, self.base.checkpoint)}
            elif checkpoint is not None:
                self._of_lora = {LORA: checkpoint.extra["more"][LORA]}
        self.context_length = self._context_length()
        self._open_data()

    def _planned(self, saved: SavedRun | None) -> Plan:
        return self._plan_of(self.config)

    def _plan_of(self, config: C) -> Plan:
        """What a configuration comes to."""
        asked = config.schedule
        model: ModelConfig = replace(self.base.model, context_length=self.context_length)
        factor, decay_fraction, usual = self._defaults()
        steps, batch_size = self._horizon(config, usual)
        if self.lora is None:
            optimizer = config.optimizer.over(self.base.optimizer, asked.lr_factor or factor)
        else:
            factor = asked.lr_factor or self.ADAPTERS_FACTOR
            optimizer = optimizer_of(config.optimizer, model.d_model, factor)
        schedule = Schedule(
            kind=asked.kind,
            warmup_steps=min(asked.warmup_steps or 0, steps),
            total_steps=steps,
            final_fraction=asked.final_fraction or 0.0,
            decay_fraction=_or(asked.decay_fraction, decay_fraction),
            momentum_start=_known(asked.momentum_start),
            momentum_warmup_steps=_or(asked.momentum_warmup_steps, 400),
            momentum_end=_known(asked.momentum_end),
            decay="cosine" if asked.decay_schedule == "cosine" else "constant",
        )
        return Plan(
            model=model,
            optimizer=optimizer,
            schedule=schedule,
            batch_size=batch_size,
            steps=steps,
            n_params=count_parameters(model).total,
            flops_per_token=training_flops_per_token(model),
            width_scale=1.0,
            batch_scale=1.0,
            decay_scale=1.0,
        )

    def _horizon(self, config: C, usual: int) -> tuple[int, int]:
        """Steps, and rows in each."""
        asked, of_epoch = config.schedule, self._rows_in_epoch()
        if of_epoch is None and (asked.steps is None or asked.epochs is not None):
            raise ValueError(
                f"epochs={asked.epochs}: there is no end to what is drawn by weight; give steps="
            )
        rows = None if of_epoch is None else (asked.epochs or 1.0) * of_epoch
        most = usual if rows is None else min(usual, max(int(rows / _LEAST_STEPS), 1))
        if self._dial == "cpu":
            most = min(most, _CPU_ROWS)
        # What it came to when the run began, on however many ranks.
        batch_size = asked.batch_size or self._batch_size_kept or max(most, self.world.size)
        return asked.steps or max(round((rows or 0) / batch_size), 1), batch_size

    def _make_model(self) -> Transformer:
        model = super()._make_model()
        if self.lora is not None:
            generator = torch.Generator().manual_seed(self.config.run.seed)
            add_adapters(model, self.lora, generator)
        return model

    def _begin(self) -> None:
        found = self.base.checkpoint
        if found is None:
            raise RuntimeError("the stage goes on, and does not begin")
        optimizer = self.lora is None and self._begins_with_optimizer()
        if optimizer and not self.base.has_optimizer:
            raise ValueError(
                f"init_optimizer=True: {found.path} has no optimizer's state that is known here; "
                "leave it out"
            )
        self.world.begin(found, self.model, self.optimizers if optimizer else [])
        if self._average is not None:
            self._average.restart()
        what = "the weights and the optimizer's state" if optimizer else "the weights"
        self._notes = [f"begins with {what} of {found.path}, step {found.step:,}"]
        if self.lora is not None:
            n = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
            self._notes.append(f"trains adapters of rank {self.lora.rank}, {n:,} weights")

    def _other_steps(self, checkpoint: Checkpoint) -> list[str]:
        before = type(self.config).from_dict(checkpoint.extra["config"], str(checkpoint.path))
        old = self._plan_of(before)
        return said_of_steps(old.schedule, self.plan.schedule, checkpoint.step)

    def _to_keep(self) -> dict[str, Any]:
        return {**self.base.to_dict(), **self._of_lora, _BATCH_SIZE: self.plan.batch_size}

    def _make_forward(self) -> Forward:
        where = self.device, self.dtype, self._average, self.world
        return StageForward(self.model, self._read, self.config.run, *where)

    def _contents(self) -> dict[str, Any]:
        found = self.base.checkpoint
        return {
            "tokenizer": self.base.tokenizer.fingerprint,
            "model to begin with": None if found is None else found.files,
        }


def _known(value: float | str | None) -> float | None:
    return value if isinstance(value, float) else None


def _or(value: Any, usual: Any) -> Any:
    return usual if value is None else value
