"""One more token for each sequence, from weights laid out for that: the walk through the blocks.

`Step.logits` is `Transformer.forward` for a single position, with a few large operations in place
of many. How a product, a norm and attention are computed is left to two classes: `one_row` for a
single sequence on a CPU, `rows` for all else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.generate.weights import Affine, DecodingWeights, Layer
from bytemill.lm.model.variants import VALUE_GATE_MOST

M = TypeVar("M")


class Step(ABC, Generic[M]):
    """Adds a token to each row; `M` is what stands for a matrix.

    Args:
        weights: Of the model.
        layers: Its blocks.
        head: Its head, with the last norm's weights.
    """

    def __init__(self, weights: DecodingWeights, layers: list[Layer[M]], head: M) -> None:
        self.weights, self.config = weights, weights.config
        self._layers, self._head = layers, head

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) before softcap, for tokens (B,)."""
        norms, joined = self.config.norms, self.config.activation.joined
        weights, backout_layer = self.weights, self.config.backout_layer
        x = self._embedded(tokens)
        if weights.smear_gate is not None:
            previous = self._embedded(self.remember(tokens))
            share = (x[..., : len(weights.smear_gate)] @ weights.smear_gate).sigmoid()
            x = x.addcmul(share.unsqueeze(-1), previous, value=weights.smear_scale)
        x = self.placed(x)
        first = middle = x
        for i, layer in enumerate(self._layers):
            if weights.resid is not None:
                x = x * weights.resid[i]
            if weights.x0 is not None:
                x = x.add(first, alpha=weights.x0[i])
            biases = layer.biases
            qkv = _plus(self.product(x, layer.qkv, norms.before), biases.qkv)
            if layer.values is not None:
                qkv = self._with_values(qkv, F.embedding(tokens, layer.values))
            y = self.attend(i, layer, qkv)
            x = _plus(self.add(x, y, layer.output), biases.output)
            if norms.after:
                x = self.normed(x, layer.norm1)
            y = joined(_plus(self.product(x, layer.up, norms.before), biases.up))
            x = _plus(self.add(x, y, layer.down), biases.down)
            if norms.after:
                x = self.normed(x, layer.norm2)
            if i == backout_layer:
                middle = x.clone()  # x may be overwritten
        if backout_layer is not None:
            x = x.sub(middle, alpha=weights.backout)
        return _plus(self.product(x, self._head, norms.final), weights.head_bias)

    def _embedded(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        if self.config.embedding_norm:
            x = self.normed(x, self.weights.embedding_norm)
        return x

    def _with_values(self, qkv: Tensor, more: Tensor) -> Tensor:
        """Queries, keys and values (..., C + 2 n_kv_head head_dim) of a product that has the gates
        of value embeddings (B, n_kv_head head_dim) behind them."""
        config = self.config
        end = config.d_model + 2 * config.kv_width
        gates = qkv[..., end : end + config.n_kv_head].sigmoid()
        qkv = qkv[..., :end]
        values = qkv[..., end - config.kv_width :]
        values = values.view(*values.shape[:-1], config.n_kv_head, -1)
        more = more.to(qkv.dtype).view(values.shape)
        values.addcmul_(gates.unsqueeze(-1), more, value=VALUE_GATE_MOST)
        return qkv

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """What the residual stream starts with, (B, C), which no other call overwrites."""

    @abstractmethod
    def remember(self, tokens: Tensor) -> Tensor:
        """Keeps the tokens (B,) for the next step; those before them, of which there are some."""

    @abstractmethod
    def placed(self, x: Tensor) -> Tensor:
        """x plus the learned vectors of its positions, if there are such; x may be overwritten."""

    @abstractmethod
    def normed(self, x: Tensor, of: Affine) -> Tensor:
        """The norm of x, which may be overwritten."""

    @abstractmethod
    def product(self, x: Tensor, matrix: M, norm: bool) -> Tensor:
        """x, or its norm without weights, times a matrix."""

    @abstractmethod
    def add(self, x: Tensor, y: Tensor, matrix: M) -> Tensor:
        """x plus y times a matrix; x may be overwritten."""

    @abstractmethod
    def attend(self, i: int, layer: Layer[M], qkv: Tensor) -> Tensor:
        """Keeps keys and values of the i-th layer, and lets the queries look; (B, C)."""


def _plus(x: Tensor, bias: Tensor | None) -> Tensor:
    """x, which is overwritten, plus a bias."""
    return x if bias is None else x.add_(bias)
