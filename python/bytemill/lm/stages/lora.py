"""Stages that train low-rank adapters instead of the model's own weights.

Adapters are trained by AdamW, at a rate of their own. Muon is for whole matrices: it would give
both factors of a product updates of full rank and of one size, however small their gradients are.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from bytemill.lm.checkpoint.store import Checkpoint
from bytemill.lm.model.adapters.lora import TARGETS, Lora
from bytemill.lm.optim.config import OptimConfig
from bytemill.lm.stages.config import StageRun


def lora_of(run: StageRun) -> Lora | None:
    """The adapters that a stage trains; None if it trains all weights.

    Raises:
        ValueError: Their size is out of range; or they are described, and not wanted.
    """
    if run.lora_rank is None:
        for name in ("lora_alpha", "lora_targets"):
            if (value := getattr(run, name)) is not None:
                raise ValueError(f"{name}={value!r}: it needs lora_rank; give both, or neither")
        return None
    if run.init_optimizer:
        raise ValueError(
            "init_optimizer=True: adapters are new, and have no optimizer's state to begin with; "
            "leave it out, or lora_rank"
        )
    targets: tuple[str, ...] = TARGETS
    if run.lora_targets is not None:
        targets = tuple(name.strip() for name in run.lora_targets.split(",") if name.strip())
    alpha = 2.0 * run.lora_rank if run.lora_alpha is None else run.lora_alpha
    return Lora(run.lora_rank, alpha, targets)


def optimizer_of(asked: OptimConfig, width: int, factor: float) -> OptimConfig:
    """AdamW for adapters: the default rates for a model's width times a factor, and no decay; or
    what is asked."""
    usual = OptimConfig(kind="adamw").resolved(width)
    return asked.over(replace(usual, weight_decay=0.0), factor)


def identity(lora: Lora, base: Checkpoint) -> dict[str, Any]:
    """What a checkpoint says of its adapters: their size, and the weights that they are for."""
    of = {"checkpoint": str(base.path), "step": base.step, "files": base.files}
    return {**asdict(lora), "targets": list(lora.targets), "base": of}
