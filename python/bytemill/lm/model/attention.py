"""Causal self-attention with RoPE, grouped queries, windows and a cache."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bytemill.lm.model import ops
from bytemill.lm.model.cache import Past, Place, sees, uncompiled
from bytemill.lm.model.documents import current
from bytemill.lm.model.kernels import name_limits, transformed, watched, widened
from bytemill.lm.model.layers import Linear, RMSNorm
from bytemill.lm.model.rope import rope
from bytemill.lm.model.variants import (
    GATE_START,
    VALUE_GATE_MOST,
    VALUE_GATE_WIDTH,
    Start,
)

# For growing keys cuDNN would make a new plan at each length, which takes milliseconds.
_GROWING: Final = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]

_store = uncompiled(Place.store)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """exp(x) over its sum along `dim`, in fp32; the largest is subtracted first, against overflow.

    Returns x's shape and dtype. CS336 assignment 1, section 3.5.4.
    """
    wide = widened(x)
    exps = (wide - wide.amax(dim, keepdim=True)).exp()
    return (exps / exps.sum(dim, keepdim=True)).to(x.dtype)


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, Vaswani et al. 2017, equation 1: the plain form, a test oracle.

    Args:
        q: (..., T, d).
        k: (..., S, d).
        v: (..., S, d_v).
        mask: (..., T, S) bool, True where a query may look; None is everywhere.

    Returns:
        (..., T, d_v).
    """
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return softmax(scores) @ v


def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int | None = None, scale: float | None = None
) -> Tensor:
    """Attention in which each token sees itself and those before it, or of these those of its own
    document (`bytemill.lm.model.documents.within`).

    Args:
        q: (B, T, n_head, head_dim).
        k, v: (B, T, n_kv_head, head_dim), each head shared by n_head / n_kv_head query heads.
        window: How many tokens each one sees, itself included; None for all.
        scale: What scores are multiplied by; 1 / sqrt(head_dim) if None.

    Returns:
        (B, T, n_head head_dim).
    """
    length, mask, documents = q.shape[1], None, current()
    if documents is not None:
        mask = documents.mask(window)
    elif window is not None and window < length:
        positions = torch.arange(length, device=q.device)
        mask = sees(positions, positions, window)
    past = Past(k.transpose(1, 2), v.transpose(1, 2), mask, mask is None)
    return attend(q, past, scale)


def attend(q: Tensor, past: Past, scale: float | None = None) -> Tensor:
    """Attention of queries (B, T, n_head, head_dim) over a past; (B, T, n_head head_dim).

    Scores are multiplied by `scale`, or 1 / sqrt(head_dim) if None.
    """
    q = q.transpose(1, 2)
    with sdpa_kernel(SDPBackend.MATH) if _needs_plain(q) else nullcontext():
        y = F.scaled_dot_product_attention(
            q,
            past.keys.to(q.dtype),
            past.values.to(q.dtype),
            attn_mask=past.mask,
            is_causal=past.causal,
            scale=scale,
            enable_gqa=past.keys.shape[1] != q.shape[1],
        )
    return name_limits(y).transpose(1, 2).flatten(-2)


def _needs_plain(q: Tensor) -> bool:
    """Whether attention must be made of products: fused kernels have one derivative only.

    And not every version of torch counts the FLOPs of that on CPUs.
    """
    if torch.compiler.is_compiling():
        return False
    return transformed() or (q.device.type == "cpu" and watched())


def multihead_self_attention(
    x: Tensor,
    q_proj: Tensor,
    k_proj: Tensor,
    v_proj: Tensor,
    output_proj: Tensor,
    n_head: int,
    *,
    table: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """Causal multi-head self-attention from four weights: Vaswani et al. 2017, section 3.2.2.

    Args:
        x: (..., T, C).
        q_proj: (n_head head_dim, C).
        k_proj, v_proj: (n_kv_head head_dim, C); fewer heads than n_head are shared.
        output_proj: (C, n_head head_dim).
        n_head: Query heads.
        table: For RoPE: the rows of `rope_table` for x's positions, (T, head_dim / 2, 2) or
            (..., T, head_dim / 2, 2); None for no positions.
        window: How many tokens each one sees, itself included; None for all.

    Returns:
        (..., T, C).

    Raises:
        ValueError: The rows of q_proj do not divide among the heads, or those of k_proj and v_proj
            are not whole heads that n_head is a multiple of.
    """
    if n_head < 1 or q_proj.shape[0] % n_head:
        raise ValueError(f"n_head={n_head}: the {q_proj.shape[0]} rows of q_proj do not divide so")
    size = q_proj.shape[0] // n_head
    kv_heads, rest = divmod(k_proj.shape[0], size)
    if k_proj.shape[0] != v_proj.shape[0] or rest or not kv_heads or n_head % kv_heads:
        raise ValueError(
            f"k_proj has {k_proj.shape[0]} rows and v_proj {v_proj.shape[0]}: both must have "
            f"{size} for each of as many heads as divide n_head={n_head}"
        )
    heads = (*x.shape[:-1], -1, size)
    q, k, v = (ops.linear(x, weight).view(heads) for weight in (q_proj, k_proj, v_proj))
    if table is not None:
        table = table.unsqueeze(-3)  # the same for all heads
        q, k = rope(q, table), rope(k, table)
    q, k, v = (part.reshape(-1, *part.shape[-3:]) for part in (q, k, v))
    y = causal_attention(q, k, v, window).reshape(*x.shape[:-1], -1)
    return ops.linear(y, output_proj)


def growing(device: torch.device) -> AbstractContextManager[object]:
    """The context for attention over keys that grow by each token: without cuDNN's on CUDA."""
    return sdpa_kernel(_GROWING) if device.type == "cuda" else nullcontext()


class Attention(nn.Module):
    """Multi-head causal self-attention, (B, T, C) to (B, T, C).

    Its projections start as `Linear`s do, its norms with weights of 1.

    Args:
        d_model: C.
        n_head: Query heads, which C is divided among.
        n_kv_head: Heads of keys and values; as many as `n_head` if None.
        qk_norm: RMSNorm of each head's queries and keys, with `norm_eps` and `norm_weights`.
        window: How many tokens each one sees, itself included; None for all.
        scale: What scores are multiplied by; 1 / sqrt(head_dim) if None.
        value_gate: Whether values are added to what v_proj gives, each head's times a gate.
        start: Of q_proj, k_proj and v_proj, as of `Linear`.
        output_start: Of output_proj.
        bias: Whether these four have biases.
        **factory: `device`, `dtype` and `generator`, as of `Linear`.

    Raises:
        ValueError: Heads do not divide what they should.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        n_kv_head: int | None = None,
        *,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
        norm_weights: bool = True,
        window: int | None = None,
        scale: float | None = None,
        value_gate: bool = False,
        start: Start | None = None,
        output_start: Start | None = None,
        bias: bool = False,
        **factory: Any,
    ) -> None:
        super().__init__()
        n_kv_head = n_head if n_kv_head is None else n_kv_head
        if min(n_head, n_kv_head) < 1 or d_model % n_head or n_head % n_kv_head:
            raise ValueError(
                f"d_model={d_model}, n_head={n_head}, n_kv_head={n_kv_head}: n_head must divide "
                "d_model, and n_kv_head n_head"
            )
        if window is not None and window < 1:
            raise ValueError(f"window={window}: it must be at least 1, the token itself")
        self.window, self.scale = window, scale
        self.head_dim = d_model // n_head
        kv_width = n_kv_head * self.head_dim
        self.q_proj = Linear(d_model, d_model, bias=bias, start=start, **factory)
        self.k_proj = Linear(d_model, kv_width, bias=bias, start=start, **factory)
        self.v_proj = Linear(d_model, kv_width, bias=bias, start=start, **factory)
        self.output_proj = Linear(d_model, d_model, bias=bias, start=output_start, **factory)
        if value_gate:
            width = min(d_model, VALUE_GATE_WIDTH)
            self.value_gate = Linear(width, n_kv_head, start=GATE_START, **factory)
        self.qk_norm = qk_norm
        if qk_norm:
            norm = (self.head_dim, norm_eps, norm_weights)
            self.q_norm = RMSNorm(*norm, **factory)
            self.k_norm = RMSNorm(*norm, **factory)

    def forward(
        self,
        x: Tensor,
        table: Tensor | None = None,
        place: Place | None = None,
        value: Tensor | None = None,
    ) -> Tensor:
        """Attention over x, and what `place`'s cache holds before it.

        Args:
            x: (B, T, C).
            table: RoPE's rows for x's positions, (T, head_dim / 2, 2) or (B, T, head_dim / 2, 2),
                as of `bytemill.lm.model.rope.Rope.at`; None for no positions.
            place: Where in a cache x goes; None attends within x alone.
            value: (B, T, n_kv_head head_dim), what the gates let into the values.
        """
        x = x.to(ops.compute_dtype(x))  # once, and not by each projection
        heads = (-1, self.head_dim)
        q = self.q_proj(x).unflatten(-1, heads)
        k = self.k_proj(x).unflatten(-1, heads)
        v = self.v_proj(x).unflatten(-1, heads)
        if value is not None:
            gate = VALUE_GATE_MOST * self.value_gate(x[..., :VALUE_GATE_WIDTH]).sigmoid()
            v = v + gate.unsqueeze(-1) * value.to(v.dtype).view(v.shape)
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if table is not None:
            table = table.unsqueeze(-3)  # the same for all heads
            q, k = rope(q, table), rope(k, table)
        if place is None:
            y = causal_attention(q, k, v, self.window, self.scale)
        else:
            y = attend(q, _store(place, k, v, self.window), self.scale)
        out: Tensor = self.output_proj(y)
        return out
