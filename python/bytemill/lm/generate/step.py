"""One more token for each sequence, from weights laid out for that: the walk through the blocks.

`Step.logits` is `Transformer.forward` for a single position, with a few large operations in place
of many. How a product, a norm and attention are computed is left to two classes: `one_row` for a
single sequence on a CPU, `rows` for all else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from torch import Tensor

from bytemill.lm.generate.weights import DecodingWeights, Layer

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
        x = self.embed(tokens)
        if self.config.embedding_norm:
            x = self.normed(x, self.weights.embedding_weight)
        for i, layer in enumerate(self._layers):
            y = self.attend(i, layer, self.product(x, layer.qkv, norms.before))
            x = self.add(x, y, layer.output)
            if norms.after:
                x = self.normed(x, layer.norm1)
            y = joined(self.product(x, layer.up, norms.before))
            x = self.add(x, y, layer.down)
            if norms.after:
                x = self.normed(x, layer.norm2)
        return self.product(x, self._head, norms.final)

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """What the residual stream starts with, (B, C)."""

    @abstractmethod
    def normed(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """RMSNorm of x, which may be overwritten."""

    @abstractmethod
    def product(self, x: Tensor, matrix: M, norm: bool) -> Tensor:
        """x, or its RMSNorm without weights, times a matrix."""

    @abstractmethod
    def add(self, x: Tensor, y: Tensor, matrix: M) -> Tensor:
        """x plus y times a matrix; x may be overwritten."""

    @abstractmethod
    def attend(self, i: int, layer: Layer[M], qkv: Tensor) -> Tensor:
        """Keeps keys and values of the i-th layer, and lets the queries look; (B, C)."""
