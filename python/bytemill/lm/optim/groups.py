"""Parameter groups with their own learning rates, and the optimizers over them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.device.threads import wait_briefly
from bytemill.lm.model.layers import TiedHead
from bytemill.lm.optim.config import RATES, REFERENCE_WIDTH, OptimConfig, Recipe
from bytemill.lm.optim.muon import Muon
from bytemill.lm.optim.schedule import Rates, Schedule

__all__ = [
    "RATES",
    "REFERENCE_WIDTH",
    "OptimConfig",
    "Recipe",
    "apply_schedule",
    "build_optimizers",
    "model_groups",
    "peak_rates",
    "set_learning_rates",
    "used_rates",
]

_ORDER: Final = (
    "embedding", "head", "value_embeddings", "resid", "x0", "smear", "matrices", "vectors",
)  # fmt: skip
_BY_NAME: Final = {
    "lm_head.": "head",
    # They have gradients in each step, as a head has.
    "position_embeddings.": "head",
    "value_embeddings.": "value_embeddings",
    "resid.": "resid",
    "x0.": "x0",
    "smear.": "smear",
    "backout.": "smear",
}


def build_optimizers(
    model: nn.Module, config: OptimConfig, *, ns_dtype: torch.dtype | None = None
) -> list[Optimizer]:
    """One or two optimizers over all trainable parameters of a `Transformer`.

    Each parameter group has, beside what its optimizer needs, "name": "embedding", "head",
    "matrices" or "vectors" (a tied embedding is a "head"), or that of a refinement:
    "value_embeddings", "resid", "x0", "smear" (with backout). "base_lr" is its peak learning rate;
    "base_decay" and "base_momentum" are there where a schedule may change them. `apply_schedule`
    changes "lr", "weight_decay" and "momentum". AdamW is torch's, fused where the device has that.

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
    table = dict(model.named_parameters()).get("token_embeddings.weight")
    if table is None:
        raise ValueError("the model has no token_embeddings.weight; pass a Transformer")
    groups = model_groups(model)
    if not groups:
        raise ValueError("no parameter of the model is trainable: set requires_grad")
    c = config.resolved(table.shape[1])
    adam_groups: list[dict[str, Any]] = []
    muon_groups: list[dict[str, Any]] = []
    for name, weights in groups.items():
        lr, decay = getattr(c, RATES[name]), c.decay(name)
        group = {
            "params": weights,
            "name": name,
            "lr": lr,
            "base_lr": lr,
            "weight_decay": decay,
        }
        if name == "matrices":
            group["base_decay"] = decay
        if c.kind == "muon" and name == "matrices":
            muon_groups.append({**group, "momentum": c.momentum, "base_momentum": c.momentum})
        else:
            adam_groups.append({**group, "betas": c.betas(name)})
    optimizers: list[Optimizer] = []
    if adam_groups:
        first = adam_groups[0]["params"][0]
        optimizers.append(
            torch.optim.AdamW(
                adam_groups, eps=c.eps or 0.0, fused=first.device.type in ("cpu", "cuda")
            )
        )
    if muon_groups:
        optimizers.append(_muon(muon_groups, c, ns_dtype))
    return optimizers


def model_groups(model: nn.Module) -> dict[str, list[Tensor]]:
    """A `Transformer`'s trainable parameters by the name of their group, in the groups' order;
    groups that it has none of are left out."""
    groups: dict[str, list[Tensor]] = {name: [] for name in _ORDER}
    is_tied = isinstance(getattr(model, "lm_head", None), TiedHead)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups[_group_of(name, weight, is_tied)].append(weight)
    return {name: weights for name, weights in groups.items() if weights}


def _muon(groups: list[dict[str, Any]], config: OptimConfig, dtype: torch.dtype | None) -> Muon:
    c: Any = config  # resolved: nothing is None or "auto" that must not be
    return Muon(
        groups,
        ns_steps=c.ns_steps,
        ns_quintics=c.ns_quintics,
        ns_divisor=c.ns_divisor,
        ns_dtype=dtype,
        row_norm=c.muon_row_norm,
        unit_norm=c.muon_unit_norm,
        beta2=c.muon_beta2,
        cautious=c.muon_cautious,
    )


def used_rates(config: OptimConfig, width: int) -> dict[str, float]:
    """The peak learning rates by parameter group: those given, and for a width the defaults."""
    c = config.resolved(width)
    return {group: getattr(c, field) for group, field in RATES.items()}


def set_learning_rates(optimizers: Iterable[Optimizer], multiplier: float) -> None:
    """Gives each parameter group its "base_lr" times `multiplier` (`Schedule.multiplier`)."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * multiplier


def apply_schedule(optimizers: Iterable[Optimizer], schedule: Rates, position: float) -> float:
    """Gives each parameter group what it has at a place in the schedule.

    That is the learning rate; and of a `Schedule` also the decay of matrices, of groups that have
    "base_decay", and Muon's momentum, of groups that have "base_momentum".

    Args:
        optimizers: From `build_optimizers`, or others whose groups have "base_lr".
        schedule: How it changes.
        position: The step, counted from 0; it may lie between two whole ones.

    Returns:
        What the learning rates were multiplied by.
    """
    multiplier = schedule.multiplier(position)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * multiplier
            if not isinstance(schedule, Schedule):
                continue
            if "base_decay" in group:
                group["weight_decay"] = group["base_decay"] * schedule.decay_share(position)
            if "base_momentum" in group:
                group["momentum"] = schedule.momentum(position, group["base_momentum"])
    return multiplier


def peak_rates(optimizers: Iterable[Optimizer]) -> dict[str, float]:
    """The "base_lr" of each parameter group by its name: what is used, with all scaling done."""
    return {group["name"]: group["base_lr"] for o in optimizers for group in o.param_groups}


def _group_of(name: str, weight: Tensor, is_tied: bool) -> str:
    if name.startswith("token_embeddings."):
        # A weight that is both has gradients everywhere in each step, as a head has: at the rate of
        # embeddings, of which few rows do, training diverges.
        return "head" if is_tied else "embedding"
    for prefix, group in _BY_NAME.items():
        if name.startswith(prefix):
            return group
    return "matrices" if weight.ndim == 2 else "vectors"
