"""What the optimizers share: their closures, and the ranges of their settings."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def evaluated(closure: Callable[[], float] | None) -> float | None:
    """What `closure` returns, called with gradients on; None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def check_least(name: str, value: float) -> None:
    """ValueError unless `value` is finite and at least 0."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value}: it must be a finite number of at least 0")


def check_below_one(name: str, value: float) -> None:
    """ValueError unless `value` is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value}: it must be at least 0 and below 1")


def check_betas(betas: tuple[float, float]) -> None:
    """ValueError unless `betas` are two numbers in [0, 1)."""
    if len(betas) != 2:
        raise ValueError(f"betas={betas}: it must be two numbers")
    for beta in betas:
        check_below_one("betas", beta)
