"""Parameter groups with their own learning rates, and the optimizers over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.device.threads import wait_briefly
from bytemill.lm.model.layers import TiedHead
from bytemill.lm.optim.muon import Muon
from bytemill.lm.optim.polar import MOST_STEPS
from bytemill.lm.settings import check, option

REFERENCE_WIDTH = 768
"""The model width (d_model) that the default learning rates are for."""
RATES = {
    "embedding": "embedding_lr",
    "head": "head_lr",
    "matrices": "matrix_lr",
    "vectors": "vector_lr",
}
"""Parameter groups, and the fields that have their peak learning rates."""


@dataclass(frozen=True)
class OptimConfig:
    """How to change the weights: the optimizer, and the peak learning rate of each group of them.

    A rate that is given is the rate that is used. A field of None is the kind's default (see
    `resolved`). Default rates are for a width of 768 and a step of 2^19 tokens, and scaled to the
    run's own: those that AdamW uses by (d_model / 768) ** -0.5, as nanochat does (Muon's is the
    same for any width), and in a training run all of them by the root of the batch
    (`bytemill.lm.train.plan.lr_scale`).

    Raises:
        TypeError: A field has a value of another type; the message names it.
        ValueError: A field is out of range; the message names it.
    """

    kind: Literal["muon", "adamw"] = option(
        "muon", flag="optimizer", help="Muon for the layers' matrices, AdamW for the rest; or AdamW"
    )
    embedding_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, embedding",
        derived="Muon: 0.2, AdamW: 1e-3, scaled",
    )
    head_lr: float | None = option(
        None, least=0, help="peak learning rate, head", derived="Muon: 4e-3, AdamW: 1e-3, scaled"
    )
    matrix_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, layers' matrices",
        derived="Muon: 0.02, AdamW: 1e-3, scaled",
    )
    vector_lr: float | None = option(
        None,
        least=0,
        help="peak learning rate, norms' weights",
        derived="Muon: 4e-3, AdamW: 1e-3, scaled",
    )
    lr_width_scaling: bool = option(
        True,
        help="multiply default rates of AdamW by (d_model / 768) ** -0.5; rates that are given are "
        "used as they are",
    )
    lr_batch_scaling: bool = option(
        True,
        help="multiply default rates by the root of a step's tokens over 2^19, at least by 0.5; "
        "rates that are given are used as they are",
    )
    beta1: float | None = option(
        None,
        least=0,
        below=1,
        help="AdamW's decay of the gradient's average",
        derived="with Muon: 0.8, alone: 0.9",
    )
    beta2: float | None = option(
        None, least=0, below=1, help="AdamW's decay of the square's average", derived="0.95"
    )
    eps: float | None = option(
        None,
        least=0,
        help="added to AdamW's denominator",
        derived="with Muon: 1e-10, alone: 1e-8",
    )
    weight_decay: float | None = option(
        None,
        least=0,
        help="decoupled weight decay, as a share of the learning rate; with Muon of the matrices, "
        "with AdamW of all but vectors",
        derived="Muon: 0, AdamW: 0.1",
    )
    momentum: float = option(0.95, least=0, below=1, help="Muon's decay of the gradient's average")
    ns_steps: int = option(
        8, least=1, most=MOST_STEPS, help="Muon's Newton-Schulz steps; 5 suffice for most models"
    )
    grad_clip: float | None = option(
        1.0, above=0, help='the largest norm of all gradients together; "none" does not clip'
    )

    def __post_init__(self) -> None:
        check(self)

    def resolved(self, width: int = REFERENCE_WIDTH) -> OptimConfig:
        """The same with defaults in place of None: the kind's, for a model of that width."""
        scale = self.width_scale(width)
        open_: dict[str, Any] = {
            k: v for k, v in _DEFAULTS[self.kind].items() if getattr(self, k) is None
        }
        for name in RATES.values():
            if name in open_ and not (self.kind == "muon" and name == "matrix_lr"):
                open_[name] *= scale
        return replace(self, **open_)

    def width_scale(self, width: int) -> float:
        """What AdamW's default rates are multiplied by for a model of a width."""
        return (width / REFERENCE_WIDTH) ** -0.5 if self.lr_width_scaling else 1.0


_DEFAULTS: dict[str, dict[str, float]] = {
    "muon": {
        "embedding_lr": 0.2,
        "head_lr": 4e-3,
        "matrix_lr": 0.02,
        "vector_lr": 4e-3,
        "beta1": 0.8,
        "beta2": 0.95,
        "eps": 1e-10,
        "weight_decay": 0.0,
    },
    "adamw": {
        "embedding_lr": 1e-3,
        "head_lr": 1e-3,
        "matrix_lr": 1e-3,
        "vector_lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "weight_decay": 0.1,
    },
}


def build_optimizers(
    model: nn.Module, config: OptimConfig, *, ns_dtype: torch.dtype | None = None
) -> list[Optimizer]:
    """One or two optimizers over all trainable parameters of a `Transformer`.

    Each parameter group has, beside what its optimizer needs, "name": "embedding", "head",
    "matrices" or "vectors" (a tied embedding is a "head"), and "base_lr", its peak learning rate;
    `set_learning_rates` changes "lr". AdamW is torch's, fused where the device has that.

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
    wait_briefly()
    groups: dict[str, list[Tensor]] = {"embedding": [], "head": [], "matrices": [], "vectors": []}
    width = None
    is_tied = isinstance(getattr(model, "lm_head", None), TiedHead)
    for name, weight in model.named_parameters():
        if name == "token_embeddings.weight":
            width = weight.shape[1]
        if weight.requires_grad:
            groups[_group_of(name, weight, is_tied)].append(weight)
    if width is None:
        raise ValueError("the model has no token_embeddings.weight; pass a Transformer")
    if not any(groups.values()):
        raise ValueError("no parameter of the model is trainable: set requires_grad")
    c = config.resolved(width)
    lrs = used_rates(c, width)
    adam_groups: list[dict[str, Any]] = []
    muon_groups: list[dict[str, Any]] = []
    for name, weights in groups.items():
        if not weights:
            continue
        is_muon = c.kind == "muon" and name == "matrices"
        lr = lrs[name]
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
                betas=(c.beta1 or 0.0, c.beta2 or 0.0),
                eps=c.eps or 0.0,
                fused=first.device.type in ("cpu", "cuda"),
            )
        )
    if muon_groups:
        optimizers.append(
            Muon(muon_groups, momentum=c.momentum, ns_steps=c.ns_steps, ns_dtype=ns_dtype)
        )
    return optimizers


def used_rates(config: OptimConfig, width: int) -> dict[str, float]:
    """The peak learning rates by parameter group: those given, and for a width the defaults."""
    c = config.resolved(width)
    return {group: getattr(c, field) for group, field in RATES.items()}


def set_learning_rates(optimizers: Iterable[Optimizer], multiplier: float) -> None:
    """Gives each parameter group its "base_lr" times `multiplier` (`Schedule.multiplier`)."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * multiplier


def peak_rates(optimizers: Iterable[Optimizer]) -> dict[str, float]:
    """The "base_lr" of each parameter group by its name: what is used, with all scaling done."""
    return {group["name"]: group["base_lr"] for o in optimizers for group in o.param_groups}


def _group_of(name: str, weight: Tensor, is_tied: bool) -> str:
    if name.startswith("token_embeddings."):
        # A weight that is both has gradients everywhere in each step, as a head has: at the rate of
        # embeddings, of which few rows do, training diverges.
        return "head" if is_tied else "embedding"
    if name.startswith("lm_head."):
        return "head"
    return "matrices" if weight.ndim == 2 else "vectors"
