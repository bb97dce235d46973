"""Muon: momentum, made orthogonal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, get_args, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from bytemill.lm.optim.checks import check_below_one, check_least, evaluated
from bytemill.lm.optim.polar import (
    Coefficients,
    Divisor,
    Quintics,
    check_choice,
    check_quintics,
    orthogonalize,
)

_TINY: Final = 1e-30
# A row that is smaller than this share of the others is not brought to their size in full.
_LEAST_ROW: Final = 1e-7
_LEAST_SQUARE: Final = 1e-10


class Muon(Optimizer):
    """Momentum, made orthogonal: for the matrices inside a Transformer (Jordan et al. 2024).

    Equal to torch.optim.Muon, bit by bit, with its coefficients, one quintic a step, and its
    dtype: `ns_coefficients=((3.4445, -4.775, 2.0315),) * 5, ns_dtype=torch.bfloat16`. (These leave
    singular values from 0.68 down to 0.) Without coefficients the quintics are those of
    `bytemill.lm.optim.polar`, and matrices of one shape are made orthogonal together.

    What it keeps for a matrix is `state[matrix]["momentum_buffer"]`, of its shape, and with `beta2`
    "second_moment", a number for each row or column. `update_of` gives the update of any matrices
    of one shape, whoever holds them.

    Args:
        params: Tensors of two dimensions (out, in), or parameter groups.
        lr: Learning rate, times sqrt(max(1, out / in)).
        momentum: Decay of the average of the gradient.
        nesterov: Look one step ahead.
        weight_decay: Times `lr`, the share that a weight loses in each step.
        ns_steps: Newton-Schulz steps; see `orthogonalize`. With coefficients there is one for each.
        ns_coefficients: Their quintics, ((a, b, c), ...); `ns_quintics` if None.
        ns_quintics, ns_divisor: As `quintics` and `divisor` of `orthogonalize`.
        ns_dtype: What they are computed in; see `orthogonalize`.
        row_norm: Bring rows to their mean norm before (MuonEq, https://arxiv.org/abs/2603.28254).
        unit_norm: Bring the norm of what is orthogonal to sqrt(min(out, in)), which it would be if
            all singular values were 1 (Muon+, https://arxiv.org/abs/2602.21545).
        beta2: Decay of the average of squares by which rows, or columns of a wide matrix, are then
            brought to like size, the whole keeping its norm (NorMuon, Li et al. 2025,
            https://arxiv.org/abs/2510.05491); None leaves them as they are.
        cautious: Decay only numbers that the update moves towards 0 as well, and by
            `lr` sqrt(max(1, out / in)) `weight_decay` (Chen et al. 2025,
            https://arxiv.org/abs/2510.12402).

    Raises:
        ValueError: An argument is out of range, or a parameter is not a matrix.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        ns_steps: int = 8,
        ns_coefficients: Coefficients | None = None,
        ns_quintics: Quintics = "best",
        ns_divisor: Divisor = "bound",
        ns_dtype: torch.dtype | None = None,
        row_norm: bool = False,
        unit_norm: bool = False,
        beta2: float | None = None,
        cautious: bool = False,
    ) -> None:
        lr = float(lr)  # NumPy's numbers, too
        check_least("lr", lr)
        check_least("weight_decay", weight_decay)
        check_below_one("momentum", momentum)
        if beta2 is not None:
            check_below_one("beta2", beta2)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "ns_steps": ns_steps,
            "ns_quintics": check_choice("ns_quintics", ns_quintics, get_args(Quintics)),
            "ns_divisor": check_choice("ns_divisor", ns_divisor, get_args(Divisor)),
            "row_norm": row_norm,
            "unit_norm": unit_norm,
            "beta2": beta2,
            "cautious": cautious,
        }
        if ns_coefficients is not None:
            ns_coefficients = check_quintics("ns_coefficients", ns_coefficients)
        self._coefficients, self._dtype = ns_coefficients, ns_dtype
        super().__init__(params, defaults)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim != 2:
                    raise ValueError(
                        f"a parameter of shape {tuple(weight.shape)}: Muon is for matrices; give "
                        "others to AdamW, as build_optimizers does"
                    )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Changes the weights by their gradients; returns what `closure` does."""
        loss = evaluated(closure)
        with torch.no_grad():
            for group in self.param_groups:
                by_shape: dict[tuple[object, ...], list[Tensor]] = {}
                for weight in group["params"]:
                    if weight.grad is not None:
                        key = (*weight.shape, weight.device, weight.dtype)
                        by_shape.setdefault(key, []).append(weight)
                for weights in by_shape.values():
                    self._step_alike(weights, group)
        return loss

    def _step_alike(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Matrices of one shape."""
        grads = [weight.grad for weight in weights if weight.grad is not None]
        states = [self.state[weight] for weight in weights]
        for state, grad in zip(states, grads, strict=True):
            if not state:
                state.update(new_state(grad, group))
        updates = update_of(
            grads, states, group, coefficients=self._coefficients, dtype=self._dtype
        )
        for weight, update in zip(weights, updates.unbind(), strict=True):
            apply_update(weight, update, group)


def new_state(matrix: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
    """What Muon keeps for a matrix (out, in) before its first step.

    Args:
        matrix: The weight, or its gradient.
        group: `Muon`'s settings, as in `param_groups`.
    """
    state = {"momentum_buffer": torch.zeros_like(matrix)}
    if group["beta2"] is not None:
        rows, columns = matrix.shape
        shape = (rows, 1) if rows >= columns else (1, columns)
        state["second_moment"] = torch.zeros(shape, device=matrix.device)
    return state


@torch.no_grad()
def update_of(
    grads: Sequence[Tensor],
    states: Sequence[Mapping[str, Tensor]],
    group: Mapping[str, Any],
    *,
    coefficients: Coefficients | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """What Muon subtracts from matrices of one shape, before the learning rate and without decay.

    Args:
        grads: (out, in) each; n of them.
        states: What `new_state` made for each, which is changed in place.
        group: `Muon`'s settings, as in `param_groups`.
        coefficients, dtype: `ns_coefficients` and `ns_dtype` of `Muon`.

    Returns:
        (n, out, in), for `apply_update`.
    """
    momentum, looks = group["momentum"], []
    for grad, state in zip(grads, states, strict=True):
        average = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        looks.append(grad.lerp(average, momentum) if group["nesterov"] else average)
    stacked = torch.stack(looks)
    updates = orthogonalize(
        with_like_rows(stacked) if group["row_norm"] else stacked,
        group["ns_steps"],
        coefficients=coefficients,
        quintics=group["ns_quintics"],
        divisor=group["ns_divisor"],
        dtype=dtype,
    )
    if group["unit_norm"]:
        norm = updates.float().norm(dim=(-2, -1), keepdim=True).clamp(min=_TINY)
        updates = updates.float() * (math.sqrt(min(updates.shape[-2:])) / norm)
    if group["beta2"] is not None:
        seconds = [state["second_moment"] for state in states]
        updates = with_like_squares(updates.float(), seconds, group["beta2"])
    return updates


def apply_update(weight: Tensor, update: Tensor, group: Mapping[str, Any]) -> None:
    """Changes a weight (out, in) by what `update_of` gave, and lets it decay."""
    rows, columns = weight.shape
    lr, decay = group["lr"], group["weight_decay"]
    step = lr * math.sqrt(max(1, rows / columns))
    update = update.to(weight.dtype)
    if group["cautious"]:
        if decay:
            update = update + decay * weight * (update * weight >= 0)
    else:
        weight.mul_(1 - lr * decay)
    weight.add_(update, alpha=-step)


def with_like_rows(matrix: Tensor) -> Tensor:
    """Each row (..., out, in) times a number so that all have the mean of their norms, in fp32."""
    wide = matrix.float()
    norms = wide.norm(dim=-1, keepdim=True)
    mean = norms.mean(dim=-2, keepdim=True)
    found: Tensor = wide * (mean / norms.clamp(min=_TINY).maximum(mean * _LEAST_ROW))
    return found


def with_like_squares(updates: Tensor, seconds: Sequence[Tensor], beta2: float) -> Tensor:
    """Updates (n, out, in), each row over the root of its mean square's average, or each column
    where they are wider than tall; then times a number that gives each matrix its norm back.

    Args:
        updates: In fp32.
        seconds: The averages, (out, 1) or (1, in) each, which are changed in place.
        beta2: Their decay.
    """
    axis = -1 if seconds[0].shape[-1] == 1 else -2
    squares = updates.square().mean(axis, keepdim=True)
    for second, square in zip(seconds, squares.unbind(), strict=True):
        second.lerp_(square, 1 - beta2)
    scale = torch.stack(list(seconds)).clamp(min=_LEAST_SQUARE).rsqrt()
    before = squares.sum((-2, -1), keepdim=True)
    after = (squares * scale.square()).sum((-2, -1), keepdim=True).clamp(min=_TINY)
    found: Tensor = updates * (scale * (before / after).sqrt())
    return found
