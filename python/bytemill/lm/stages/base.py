"""What a stage begins with: a model, its tokenizer, and the rates that it was trained with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bytemill import Tokenizer
from bytemill.lm.checkpoint.loading import TOKENIZER_FOLDER, find_checkpoint, tokenizer_beside
from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.optim.config import OptimConfig
from bytemill.lm.train.plan import plan
from bytemill.lm.train.saved_run import configuration_of

_KEPT: Final = "base"
LORA: Final = "lora"
"""Under which name a checkpoint says that it has adapters, and what they are for."""


@dataclass(frozen=True)
class Base:
    """The model that a stage trains on, before it does."""

    model: ModelConfig
    tokenizer: Tokenizer
    folder: Path
    """The tokenizer's."""
    optimizer: OptimConfig
    """What it was pretrained with, nothing left open: its rates are the base rates of all stages
    after it. A weight decay that went down to 0 is 0."""
    checkpoint: Checkpoint | None
    """Where the weights are; None where the stage goes on, and has its own."""
    has_optimizer: bool
    """Whether the state of such an optimizer is with them."""

    @classmethod
    def of(cls, path: str) -> Base:
        """That of a run (its best checkpoint), or of a checkpoint's folder.

        Raises:
            FileNotFoundError: There is none, or no tokenizer with it.
            ValueError: It is damaged, or not of a Transformer; the tokenizer is another one.
        """
        found = find_checkpoint(path)
        beside = tokenizer_beside(found)
        if beside is None:
            raise FileNotFoundError(
                f"init_from={path!r}: there is no tokenizer beside it, which conversations need; "
                f"give a run that was trained with one, or put its folder in as {TOKENIZER_FOLDER}"
            )
        model = _model_of(path, found)
        optimizer, is_known = _optimizer_of(found, model)
        # Adapters' state is not that of weights.
        has_state = is_known and LORA not in (found.extra.get("more") or {})
        return cls(model, *beside, optimizer, found, has_state)

    @classmethod
    def kept(cls, checkpoint: Checkpoint, tokenizer: Path) -> Base:
        """That which a stage's own checkpoint keeps, for it to go on.

        Raises:
            FileNotFoundError, ValueError: The checkpoint is damaged, or of something else.
        """
        model = _model_of(str(checkpoint.path), checkpoint)
        optimizer, is_known = _optimizer_of(checkpoint, model)
        if not is_known:
            raise ValueError(f"{checkpoint.path}: a stage cannot go on from it")
        return cls(model, Tokenizer.load(tokenizer), tokenizer, optimizer, None, True)

    def to_dict(self) -> dict[str, Any]:
        """What `kept` reads, for `SavedRun.more`."""
        return {_KEPT: dataclasses.asdict(self.optimizer)}


def _model_of(path: str, checkpoint: Checkpoint) -> ModelConfig:
    try:
        return ModelConfig.from_dict(checkpoint.model_config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"init_from={path!r}: it is not of a Transformer ({error})") from None


def _optimizer_of(checkpoint: Checkpoint, model: ModelConfig) -> tuple[OptimConfig, bool]:
    """The base run's, and whether it is known; or else the default for the model's width."""
    more = checkpoint.extra.get("more")
    if isinstance(more, dict) and _KEPT in more:
        try:
            return OptimConfig(**more[_KEPT]), True
        except (TypeError, ValueError) as error:
            raise ValueError(f"{checkpoint.path}: its base rates are damaged ({error})") from None
    begun = configuration_of(checkpoint)
    if begun is None:
        return OptimConfig().resolved(model.d_model), False
    config, dial = begun
    parts = config.model, config.optimizer, config.schedule
    planned = plan(*parts, model.vocab_size, dial=dial)
    optimizer = planned.optimizer
    if planned.schedule.decay == "cosine":
        optimizer = replace(optimizer, weight_decay=0.0)
    return optimizer, True
