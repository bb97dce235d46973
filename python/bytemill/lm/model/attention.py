"""Causal self-attention with RoPE, grouped queries and a cache."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bytemill.lm.model.cache import Place
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.kernels import widened
from bytemill.lm.model.layers import Linear, RMSNorm
from bytemill.lm.model.rope import rope


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


class Attention(nn.Module):
    """Multi-head causal self-attention of one block, (B, T, C) to (B, T, C)."""

    def __init__(self, config: ModelConfig, layer: int, **factory: Any) -> None:
        super().__init__()
        self.layer = layer
        self.n_head, self.n_kv_head = config.n_head, config.n_kv_head
        self.head_dim = config.head_dim
        kv = config.n_kv_head * config.head_dim
        self.q_proj = Linear(config.d_model, config.d_model, **factory)
        self.k_proj = Linear(config.d_model, kv, **factory)
        self.v_proj = Linear(config.d_model, kv, **factory)
        self.output_proj = Linear(config.d_model, config.d_model, **factory)
        self.qk_norm = config.qk_norm
        if config.qk_norm:
            norm = (config.head_dim, config.norm_eps, config.norm_weights)
            self.q_norm = RMSNorm(*norm, **factory)
            self.k_norm = RMSNorm(*norm, **factory)

    def forward(self, x: Tensor, table: Tensor, place: Place | None = None) -> Tensor:
        """Attention over x, and what `place`'s cache holds before it.

        Args:
            x: (B, T, C).
            table: RoPE's rows for x's positions; see `bytemill.lm.model.rope.rope`.
            place: Where in a cache x goes; None attends within x alone.
        """
        heads = (-1, self.head_dim)
        q = self.q_proj(x).unflatten(-1, heads)
        k = self.k_proj(x).unflatten(-1, heads)
        v = self.v_proj(x).unflatten(-1, heads)
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rope(q, table), rope(k, table)
        mask, causal = None, True
        if place is None:
            k, v = k.transpose(1, 2), v.transpose(1, 2)
        else:
            k, v = place.store(self.layer, k, v)
            mask, causal = place.mask, place.causal
        q = q.transpose(1, 2)
        y = F.scaled_dot_product_attention(
            q,
            k.to(q.dtype),
            v.to(q.dtype),
            attn_mask=mask,
            is_causal=causal,
            enable_gqa=self.n_kv_head != self.n_head,
        )
        out: Tensor = self.output_proj(y.transpose(1, 2).flatten(-2))
        return out
