"""Cross-entropy without the full logits."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.model import kernels
from bytemill.lm.model.arguments import check_range, integer

Reduction: TypeAlias = Literal["mean", "sum"]

# Elements of a chunk of logits. Small chunks stay in a CPU's cache between passes and fill no GPU,
# but each passes over the gradient of the whole weight.
_CHUNK_ELEMENTS = {"cpu": 1 << 21, "other": 1 << 27}
_CHUNKS, _FEW_ROWS = 8, 64


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -1,
    reduction: Reduction = "mean",
) -> Tensor:
    """-log softmax(logits)[target], in fp32: CS336 assignment 1, section 4.1.

    Args:
        logits: (..., V).
        targets: (...) integers from 0 up to V; `ignore_index` where a place does not count.
        ignore_index: The target that does not count, any integer. Unlike torch's it is -1, and a
            target of -100 is refused unless it is given here.
        reduction: "mean" over the places that count (0 if none does), or "sum".

    Returns:
        A scalar, in nats.

    Raises:
        TypeError: targets are not integers, or `ignore_index` is not one.
        ValueError: targets are not of the logits' shape without its last axis, or one is neither
            `ignore_index` nor in the vocabulary. Values are looked at on the CPU only, as an
            accelerator would have to be waited for; on CUDA such a target triggers a device-side
            assertion, as in torch's own cross-entropy.
    """
    _check_reduction(reduction)
    if not logits.ndim:
        raise ValueError("logits of shape (): expected (..., V)")
    target, valid = _counted(targets, logits.shape[:-1], logits.shape[-1], ignore_index)
    nll = _nll(kernels.widened(logits), target, valid)
    return nll / valid.sum().clamp_min(1) if reduction == "mean" else nll


def softcap(logits: Tensor, cap: float | None) -> Tensor:
    """cap * tanh(logits / cap), any shape: Gemma 2 (2024), section 2. None leaves logits alone."""
    return logits if cap is None else cap * torch.tanh(logits / cap)


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    softcap: float | None = None,
    ignore_index: int = -1,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
    vocab_size: int | None = None,
) -> Tensor:
    """Cross-entropy of the logits hidden @ weight^T, some rows at a time.

    A chunk's gradients are made while its logits are at hand, as in Liger Kernel (Hsu et al. 2024,
    section 3.2), so that the logits of all rows never exist at once; but they do where the faster
    forms step aside (`kernels.aside`), or gradients are differentiated again. Products are in
    autocast's dtype, or the inputs'; the rest in fp32.

    Args:
        hidden: (N, C).
        weight: (V, C).
        targets: (N,) integers from 0 up to V; `ignore_index` where a row does not count.
        softcap: s, for logits s * tanh(logits / s).
        ignore_index: The target that does not count, as of `cross_entropy`.
        reduction: "mean" over the rows that count (0 if none does), or "sum".
        chunk_size: Rows at a time; None chooses.
        vocab_size: V where the weight has more rows, which are padding; None: all are ids.

    Returns:
        A scalar in fp32, in nats.

    Raises:
        TypeError: As `cross_entropy`.
        ValueError: As `cross_entropy`; shapes that do not go together, or a `chunk_size` below 1.
    """
    _check_reduction(reduction)
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)}: expected (N, C) and "
            "(V, C)"
        )
    n_ids = weight.shape[0] if vocab_size is None else vocab_size
    target, valid = _counted(targets, hidden.shape[:1], n_ids, ignore_index)
    chunk_size = rows_of_chunk(hidden, weight.shape[0], chunk_size)
    kind = hidden.device.type
    dtype = kernels.autocast_dtype(kind) or torch.promote_types(hidden.dtype, weight.dtype)
    divisor = valid.sum().clamp_min(1) if reduction == "mean" else None
    with kernels.without_autocast(kind):
        if kernels.aside(hidden, weight, targets):
            return _plain(hidden, weight, target, valid, divisor, softcap, dtype, n_ids)
        loss: Tensor = _ChunkedCrossEntropy.apply(
            hidden, weight, target, valid, divisor, softcap, chunk_size, dtype, n_ids
        )
    return loss


def _plain(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    valid: Tensor,
    divisor: Tensor | None,
    cap: float | None,
    dtype: torch.dtype,
    n_ids: int,
) -> Tensor:
    """What `_ChunkedCrossEntropy` computes, all rows at once."""
    sums = torch.promote_types(dtype, torch.float32)
    logits = softcap(F.linear(hidden.to(dtype), weight.to(dtype)).to(sums)[:, :n_ids], cap)
    total = _nll(logits, target, valid)
    return total if divisor is None else total / divisor


def _nll(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """The sum of -log softmax(logits)[target] where it is valid; targets are ids everywhere."""
    picked = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return (logits.logsumexp(-1) - picked).masked_fill(~valid, 0.0).sum()


def rows_of_chunk(hidden: Tensor, vocab_size: int, chunk_size: int | None = None) -> int:
    """How many rows of `hidden` (N, C) to make logits of at a time: what is given, or a choice.

    Raises:
        TypeError: A `chunk_size` that is not an integer.
        ValueError: A `chunk_size` below 1.
    """
    if chunk_size is None:
        kind = "cpu" if hidden.device.type == "cpu" else "other"
        most = max(_FEW_ROWS, -(-hidden.shape[0] // _CHUNKS))
        return max(1, min(most, _CHUNK_ELEMENTS[kind] // vocab_size))
    chunk_size = integer("chunk_size", chunk_size)
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: it must be at least 1")
    return chunk_size


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        valid_rows: Tensor,
        divisor: Tensor | None,
        cap: float | None,
        chunk_size: int,
        dtype: torch.dtype,
        n_ids: int,
    ) -> Tensor:
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        h, w = hidden.to(dtype), weight.to(dtype)
        sums = torch.promote_types(dtype, torch.float32)
        total = torch.zeros((), dtype=sums, device=hidden.device)
        grad_hidden = torch.empty_like(h, dtype=sums) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=sums) if wants_weight else None
        for start in range(0, h.shape[0], chunk_size):
            rows = slice(start, start + chunk_size)
            target, valid = targets[rows, None], valid_rows[rows, None]
            logits = kernels.matmul(h[rows], w).to(sums)
            tanh = None
            if cap is not None:
                tanh = logits.div_(cap).tanh_()
                logits = tanh * cap
            if n_ids < w.shape[0]:  # padding has no share in the probabilities
                logits[:, n_ids:] = -math.inf
            log_p = logits.log_softmax(-1)
            del logits  # each of these is as large as a chunk: let none live on
            total -= log_p.gather(-1, target).masked_fill_(~valid, 0.0).sum()
            if grad_hidden is None and grad_weight is None:
                continue
            # The gradient of the logits is p - 1 at the target and p elsewhere. Rows that do not
            # count are dropped from the products, which are narrower than it is.
            grad = log_p.exp_()
            grad.scatter_add_(-1, target, grad.new_full((), -1.0).expand(target.shape))
            if tanh is not None:
                grad.mul_(tanh.square_().neg_().add_(1))  # its derivative is 1 - tanh^2
            grad = grad.to(dtype)
            del log_p, tanh
            if grad_hidden is not None:
                grad_hidden[rows] = kernels.matmul(grad, w.t()) * valid
            if grad_weight is not None:
                grad_weight += kernels.matmul(grad.t(), (h[rows] * valid).t())
            del grad
        # The inputs are kept for gradients that are differentiated again.
        ctx.save_for_backward(
            hidden, weight, targets, valid_rows, divisor, grad_hidden, grad_weight
        )
        ctx.plain = cap, dtype, n_ids
        return total if divisor is None else total / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, *rest, divisor, grad_hidden, grad_weight = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            options = (*rest, divisor, *ctx.plain)
            found = kernels.gradients(_plain, (hidden, weight), options, grad)
            return (*found, *(None,) * 7)
        if divisor is not None:
            grad = grad / divisor
        scaled = (
            None if part is None else (part * grad).to(whole.dtype)
            for part, whole in ((grad_hidden, hidden), (grad_weight, weight))
        )
        return (*scaled, *(None,) * 7)


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum"):
        raise ValueError(f'reduction={reduction!r}: it must be "mean" or "sum"')


def _counted(
    targets: Tensor, shape: torch.Size, vocab_size: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Targets as int64, those that do not count set to 0, and which ones count.

    Raises:
        TypeError, ValueError: As `cross_entropy`.
    """
    ignore_index = integer("ignore_index", ignore_index)
    check_targets(targets, shape)
    targets = targets.long()  # before comparing: in uint8, 255 would be -1
    valid = targets != ignore_index
    counted = targets.masked_fill(~valid, 0)
    check_range(
        counted,
        vocab_size,
        "target",
        f"mark places that do not count with the ignore_index, here {ignore_index}",
    )
    return counted, valid


def check_targets(targets: Tensor, shape: torch.Size) -> None:
    """Raises unless targets are integers of this very shape, which nothing broadcasts to.

    Raises:
        TypeError, ValueError: As `cross_entropy`.
    """
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise TypeError(f"targets of {targets.dtype}: they must be integers, such as int64")
    if targets.shape != shape:
        raise ValueError(
            f"targets {tuple(targets.shape)}: expected one for each place, {tuple(shape)}"
        )
