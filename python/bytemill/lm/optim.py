"""AdamW, Muon, parameter groups with their own learning rates, and clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bytemill.lm.polar import Coefficients, check_steps, orthogonalize

REFERENCE_WIDTH = 768
"""The model width (d_model) for which the learning rates are given."""


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
        _check_least("lr", lr)
        _check_least("eps", eps)
        _check_least("weight_decay", weight_decay)
        _check_betas(betas)
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Changes the weights by their gradients; returns what `closure` does."""
        loss = _evaluated(closure)
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


class Muon(Optimizer):
    """Momentum, made orthogonal: for the matrices inside a Transformer (Jordan et al. 2024).

    Equal to torch.optim.Muon when given its coefficients and dtype (its five equal steps leave
    singular values from 0.68 down to 0; see `bytemill.lm.polar` for those taken here). Matrices of
    one shape are made orthogonal together.

    Args:
        params: Tensors of two dimensions (out, in), or parameter groups.
        lr: Learning rate, times sqrt(max(1, out / in)).
        momentum: Decay of the average of the gradient.
        nesterov: Look one step ahead.
        weight_decay: Times `lr`, the share that a weight loses in each step.
        ns_steps: Newton-Schulz steps; see `orthogonalize`.
        ns_coefficients: Their quintics; the best ones if None.
        ns_dtype: What they are computed in; see `orthogonalize`.

    Raises:
        ValueError: An argument is out of range, or a parameter is no matrix.
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
        _check_least("lr", lr)
        _check_least("weight_decay", weight_decay)
        _check_below_one("momentum", momentum)
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
        loss = _evaluated(closure)
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
                _check_least(name, value)
        _check_below_one("momentum", self.momentum)
        if self.betas is not None:
            _check_betas(self.betas)
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


def clip_gradients(parameters: Iterable[Tensor] | Tensor, max_norm: float) -> Tensor:
    """Scales all gradients together so that their common L2 norm is at most `max_norm`.

    As torch.nn.utils.clip_grad_norm_ (CS336, section 4.5): the factor is
    max_norm / (norm + 1e-6), where that is below 1. Gradients that are None are left out.

    Returns:
        The norm before, a scalar in float32 on the gradients' device; NaN or infinite gradients
        make it so, and then the gradients are not to be used.

    Raises:
        ValueError: `max_norm` is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm={max_norm}: it must be above 0; to clip nothing, do not call")
    weights = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    grads = [weight.grad for weight in weights if weight.grad is not None]
    if not grads:
        return torch.zeros(())
    device = grads[0].device
    norms = [norm.float().to(device) for norm in torch._foreach_norm(grads)]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    # No branch on the norm's value: that would make a GPU wait.
    factor = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factor.to(grad.device, grad.dtype))
    return total


def _group_of(name: str, weight: Tensor) -> str:
    if name.startswith("token_embeddings."):
        return "embedding"
    if name.startswith("lm_head."):
        return "head"
    return "matrices" if weight.ndim == 2 else "vectors"


def _evaluated(closure: Callable[[], float] | None) -> float | None:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _check_least(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value}: it must be a finite number of at least 0")


def _check_below_one(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value}: it must be at least 0 and below 1")


def _check_betas(betas: tuple[float, float]) -> None:
    if len(betas) != 2:
        raise ValueError(f"betas={betas}: it must be two numbers")
    for beta in betas:
        _check_below_one("betas", beta)
