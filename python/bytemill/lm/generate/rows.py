"""Any number of sequences on any device, a token of each at a time."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.generate.step import Step
from bytemill.lm.generate.weights import Affine, DecodingWeights, Layer
from bytemill.lm.model.cache import KVCache


class Rows(Step[Tensor]):
    """One pass for a token of each row.

    Args:
        weights: The weights.
        cache: What came before; the tokens are added to it.
    """

    def __init__(self, weights: DecodingWeights, cache: KVCache) -> None:
        super().__init__(weights, weights.layers, weights.head)
        config = self.config
        self._place = cache.place(cache.batch_size, 1)
        self._is_centered = config.norm == "layer"
        self._turn: Tensor | None = None
        if weights.rope is not None:
            self._turn = self._place.rows_of(weights.rope).view(-1, 1, config.head_dim // 2)

    def step(self, tokens: Tensor) -> Tensor:
        """Adds tokens (B,); the logits of the next, (B, V) fp32."""
        logits = self.logits(tokens).float()
        self._place.finish()
        return logits

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, C) in the compute dtype."""
        return F.embedding(tokens, self.weights.embedding).to(self.weights.dtype)

    def remember(self, tokens: Tensor) -> Tensor:
        """(B,)."""
        before = self._place.remember(tokens[:, None])
        return tokens if before is None else before[0][:, 0]

    def placed(self, x: Tensor) -> Tensor:
        """Of x (B, C)."""
        table = self.weights.positions
        if table is None:
            return x
        return x + self._place.rows_of(table).view(-1, x.shape[-1]).to(x.dtype)

    def normed(self, x: Tensor, of: Affine) -> Tensor:
        """Of x (B, C)."""
        y = self._norm(x, self._is_centered)
        y = y if of.weight is None else y * of.weight
        return (y if of.bias is None else y + of.bias).to(x.dtype)

    def product(self, x: Tensor, matrix: Tensor, norm: bool) -> Tensor:
        """(B, d_in) to (B, d_out)."""
        return (self._norm(x, self._is_centered) if norm else x) @ matrix

    def add(self, x: Tensor, y: Tensor, matrix: Tensor) -> Tensor:
        """(B, C)."""
        return (y @ matrix).add_(x)

    def attend(self, i: int, layer: Layer[Tensor], qkv: Tensor) -> Tensor:
        """(B, C + 2 n_kv_head head_dim) to (B, C)."""
        config = self.config
        n_rows, n_head, heads = qkv.shape[0], config.n_head, config.n_head + config.n_kv_head
        qkv = qkv.view(n_rows, -1, config.head_dim)
        # In place, as far as the dtype lets it: what is small costs more to make than to compute.
        qk = qkv[:, :heads].float()
        if config.qk_norm:
            qk.mul_(self._scale(qk))
            if layer.qk_weight is not None:
                qk.mul_(layer.qk_weight)
        if self._turn is not None:
            torch.view_as_complex(qk.view(n_rows, heads, -1, 2)).mul_(self._turn)
        qk = qk.to(self.weights.dtype)
        past = self._place.store(qk[:, None, n_head:], qkv[:, None, heads:], layer.window)
        # The query heads that share keys stand in for time, so nothing is repeated.
        q = qk[:, :n_head].reshape(n_rows, config.n_kv_head, -1, config.head_dim)
        y = F.scaled_dot_product_attention(
            q, past.keys, past.values, attn_mask=past.mask, scale=config.score_scale
        )
        return y.flatten(1)

    def _norm(self, x: Tensor, centered: bool = False) -> Tensor:
        """RMSNorm without weights over the last axis; LayerNorm, if its mean is taken out."""
        wide = x.float()
        if centered:
            wide = wide - wide.mean(-1, keepdim=True)
        return (wide * self._scale(wide)).to(x.dtype)

    def _scale(self, wide: Tensor) -> Tensor:
        """What RMSNorm multiplies with, (..., 1)."""
        sums = wide.square().sum(-1, keepdim=True)
        return sums.div_(_number(wide.shape[-1])).add_(_number(self.config.norm_eps)).rsqrt_()


@lru_cache(maxsize=64)
def _number(value: float) -> Tensor:
    """What torch makes of a number anew for each operation with one. It lies on the CPU, whatever
    the device of the other operand."""
    return torch.tensor(value, dtype=torch.float32, device="cpu")
