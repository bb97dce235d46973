"""Muon: momentum, made orthogonal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from bytemill.lm.optim.checks import check_below_one, check_least, evaluated
from bytemill.lm.optim.polar import Coefficients, orthogonalize


class Muon(Optimizer):
    """Momentum, made orthogonal: for the matrices inside a Transformer (Jordan et al. 2024).

    Equal to torch.optim.Muon, bit by bit, with its coefficients, one quintic a step, and its
    dtype: `ns_coefficients=((3.4445, -4.775, 2.0315),) * 5, ns_dtype=torch.bfloat16`. (These leave
    singular values from 0.68 down to 0.) Without coefficients the quintics are those of
    `bytemill.lm.optim.polar`, and matrices of one shape are made orthogonal together.

    Args:
        params: Tensors of two dimensions (out, in), or parameter groups.
        lr: Learning rate, times sqrt(max(1, out / in)).
        momentum: Decay of the average of the gradient.
        nesterov: Look one step ahead.
        weight_decay: Times `lr`, the share that a weight loses in each step.
        ns_steps: Newton-Schulz steps; see `orthogonalize`. With coefficients there is one for each.
        ns_coefficients: Their quintics; the best ones if None.
        ns_dtype: What they are computed in; see `orthogonalize`.

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
        ns_dtype: torch.dtype | None = None,
    ) -> None:
        lr = float(lr)  # NumPy's numbers, too
        check_least("lr", lr)
        check_least("weight_decay", weight_decay)
        check_below_one("momentum", momentum)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "ns_steps": ns_steps,
        }
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
        """Matrices of one shape, stacked: (count, out, in)."""
        momentum = group["momentum"]
        looks = []
        for weight in weights:
            grad = weight.grad
            if grad is None:
                continue
            state = self.state[weight]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(grad)
            average = state["momentum_buffer"].lerp_(grad, 1 - momentum)
            looks.append(grad.lerp(average, momentum) if group["nesterov"] else average)
        updates = orthogonalize(
            torch.stack(looks),
            group["ns_steps"],
            coefficients=self._coefficients,
            dtype=self._dtype,
        )
        rows, columns = weights[0].shape
        lr = group["lr"]
        for weight, update in zip(weights, updates.unbind(), strict=True):
            weight.mul_(1 - lr * group["weight_decay"])
            weight.add_(update.to(weight.dtype), alpha=-lr * math.sqrt(max(1, rows / columns)))
