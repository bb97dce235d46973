"""Parameter groups with their own learning rates, and the optimizers over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.optim.checks import check_below_one, check_betas, check_least
from bytemill.lm.optim.muon import Muon
from bytemill.lm.optim.polar import check_steps

REFERENCE_WIDTH = 768
"""The model width (d_model) for which the learning rates are given."""


@dataclass(frozen=True)
class OptimConfig:
    """How to train: the optimizer, and the peak learning rate of each group of parameters.

    A rate of None is the kind's default. Rates that AdamW uses are for a width of 768 and are
    multiplied by (d_model / 768) ** -0.5, as nanochat does; Muon's is the same for every width.

    Raises:
        ValueError: A field is out of range; the message names it.
    """

    kind: Literal["adamw", "muon"] = "muon"
    """ "muon": Muon for matrices, AdamW for the rest; "adamw": AdamW for all."""
    embedding_lr: float | None = None
    """Of the token embeddings; by default 0.2 ("muon") or 1e-3 ("adamw")."""
    head_lr: float | None = None
    """Of the output layer; by default 4e-3 or 1e-3."""
    matrix_lr: float | None = None
    """Of all other matrices; by default 0.02 (Muon's) or 1e-3."""
    vector_lr: float | None = None
    """Of the norms' weights; by default 4e-3 or 1e-3."""
    betas: tuple[float, float] | None = None
    """AdamW's; by default (0.8, 0.95) or (0.9, 0.95)."""
    eps: float | None = None
    """AdamW's; by default 1e-10 or 1e-8."""
    weight_decay: float | None = None
    """By default 0 ("muon": of the matrices) or 0.1 ("adamw": of all but vectors)."""
    momentum: float = 0.95
    """Muon's."""
    ns_steps: int = 8
    """Muon's Newton-Schulz steps; 5 are enough for most models."""

    def __post_init__(self) -> None:
        if self.kind not in _DEFAULTS:
            raise ValueError(f'kind={self.kind!r}: it must be "adamw" or "muon"')
        for name in ("embedding_lr", "head_lr", "matrix_lr", "vector_lr", "eps", "weight_decay"):
            value = getattr(self, name)
            if value is not None:
                check_least(name, value)
        check_below_one("momentum", self.momentum)
        if self.betas is not None:
            check_betas(self.betas)
        check_steps("ns_steps", self.ns_steps)

    def resolved(self) -> OptimConfig:
        """The same with the kind's defaults in place of None."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen = {k: v for k, v in given.items() if v is not None}
        return OptimConfig(**{**given, **_DEFAULTS[self.kind], **chosen})


_DEFAULTS: dict[str, dict[str, Any]] = {
    "muon": {
        "embedding_lr": 0.2,
        "head_lr": 4e-3,
        "matrix_lr": 0.02,
        "vector_lr": 4e-3,
        "betas": (0.8, 0.95),
        "eps": 1e-10,
        "weight_decay": 0.0,
    },
    "adamw": {
        "embedding_lr": 1e-3,
        "head_lr": 1e-3,
        "matrix_lr": 1e-3,
        "vector_lr": 1e-3,
        "betas": (0.9, 0.95),
        "eps": 1e-8,
        "weight_decay": 0.1,
    },
}


def build_optimizers(
    model: nn.Module, config: OptimConfig, *, ns_dtype: torch.dtype | None = None
) -> list[Optimizer]:
    """One or two optimizers over all trainable parameters of a `Transformer`.

    Each parameter group has, beside what its optimizer needs, "name": "embedding", "head",
    "matrices" or "vectors", and "base_lr", its peak learning rate; `set_learning_rates` changes
    "lr". AdamW is torch's, fused where the device has that.

    Args:
        model: A `Transformer`.
        config: The optimizer and its settings.
        ns_dtype: What Muon's Newton-Schulz steps are computed in; pass the compute dtype, which is
            the device's fast one. None is as in `orthogonalize`.

    Returns:
        [AdamW] for kind "adamw", [AdamW, Muon] for "muon".

    Raises:
        ValueError: The model has no `token_embeddings.weight` or no trainable parameter.
    """
    c = config.resolved()
    groups: dict[str, list[Tensor]] = {"embedding": [], "head": [], "matrices": [], "vectors": []}
    width = None
    for name, weight in model.named_parameters():
        if name == "token_embeddings.weight":
            width = weight.shape[1]
        if weight.requires_grad:
            groups[_group_of(name, weight)].append(weight)
    if width is None:
        raise ValueError("the model has no token_embeddings.weight; pass a Transformer")
    if not any(groups.values()):
        raise ValueError("no parameter of the model is trainable: set requires_grad")
    scale = (width / REFERENCE_WIDTH) ** -0.5
    lrs = {
        "embedding": c.embedding_lr,
        "head": c.head_lr,
        "matrices": c.matrix_lr,
        "vectors": c.vector_lr,
    }
    adam_groups: list[dict[str, Any]] = []
    muon_groups: list[dict[str, Any]] = []
    for name, weights in groups.items():
        if not weights:
            continue
        is_muon = c.kind == "muon" and name == "matrices"
        lr = (lrs[name] or 0.0) * (1.0 if is_muon else scale)
        decays = name == "matrices" if c.kind == "muon" else name != "vectors"
        group = {
            "params": weights,
            "name": name,
            "lr": lr,
            "base_lr": lr,
            "weight_decay": c.weight_decay if decays else 0.0,
        }
        (muon_groups if is_muon else adam_groups).append(group)
    optimizers: list[Optimizer] = []
    if adam_groups:
        first = adam_groups[0]["params"][0]
        optimizers.append(
            torch.optim.AdamW(
                adam_groups,
                betas=c.betas or (0.9, 0.999),
                eps=c.eps or 0.0,
                fused=first.device.type in ("cpu", "cuda"),
            )
        )
    if muon_groups:
        optimizers.append(
            Muon(muon_groups, momentum=c.momentum, ns_steps=c.ns_steps, ns_dtype=ns_dtype)
        )
    return optimizers


def set_learning_rates(optimizers: Iterable[Optimizer], multiplier: float) -> None:
    """Gives each parameter group its "base_lr" times `multiplier` (`Schedule.multiplier`)."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * multiplier


def _group_of(name: str, weight: Tensor) -> str:
    if name.startswith("token_embeddings."):
        return "embedding"
    if name.startswith("lm_head."):
        return "head"
    return "matrices" if weight.ndim == 2 else "vectors"
