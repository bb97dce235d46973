"""AdamW, as in the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from bytemill.lm.optim.checks import check_betas, check_least, evaluated


class AdamW(Optimizer):
    """AdamW as in the paper (Loshchilov and Hutter 2019, algorithm 2; CS336, section 4.3).

    Plain rather than fast: `build_optimizers` takes torch's, which gives the same numbers.

    Args:
        params: Tensors, or parameter groups.
        lr: Learning rate.
        betas: Decay of the averages of the gradient and of its square.
        eps: Added to the root of the second average.
        weight_decay: Times `lr`, the share that a weight loses in each step.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        lr = float(lr)  # NumPy's numbers, too
        check_least("lr", lr)
        check_least("eps", eps)
        check_least("weight_decay", weight_decay)
        check_betas(betas)
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
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
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._step_one(weight, weight.grad, group)
        return loss

    def _step_one(self, weight: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mean = state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        # The averages begin at zero; these undo the bias.
        mean = mean / (1 - beta1 ** state["step"])
        square = square / (1 - beta2 ** state["step"])
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(group["lr"] * mean / (square.sqrt() + group["eps"]))
