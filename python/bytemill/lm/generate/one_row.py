"""One sequence on a CPU in fp32, a token at a time, as fast as memory gives the weights."""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.generate.weights import DecodingWeights

# Below this many numbers a plain product is faster: it takes 3 us to call, a bag 9.
_LEAST_FOR_BAGS: Final = 1 << 16


class DecodingRow:
    """Makes one token at a time; buffers and views are made once, and written in place.

    Args:
        weights: The weights.
        keys, values: (n_layer, n_kv_head, max_length, head_dim), written to.
    """

    def __init__(self, weights: DecodingWeights, keys: Tensor, values: Tensor) -> None:
        config = weights.config
        heads, size = config.n_head + config.n_kv_head, config.head_dim
        self._weights = weights
        self._layers = [
            (
                _Product(layer.qkv),
                layer.qk_weight,
                _Product(layer.output),
                _Product(layer.up),
                _Product(layer.down),
                k,
                v,
            )
            for layer, k, v in zip(weights.layers, keys, values, strict=True)
        ]
        self._head = _Product(weights.head)
        self._x = torch.empty(config.d_model)
        self._split = config.n_head, heads
        self._groups = (config.n_kv_head, -1, size)
        self._score_scale = 1 / math.sqrt(size)
        self._eps = torch.tensor(config.norm_eps)

    def step(self, token: int, position: int) -> Tensor:
        """Adds a token at a position; the logits of the next, (1, V)."""
        weights, config, x = self._weights, self._weights.config, self._x
        size, gated, (n_head, heads) = config.head_dim, config.mlp == "swiglu", self._split
        x.copy_(weights.embedding[token])
        if config.embedding_norm:
            x.mul_(self._norm())
            if weights.embedding_weight is not None:
                x.mul_(weights.embedding_weight)
        turn, end = weights.rope[position], position + 1
        for qkv, qk_weight, output, up, down, keys, values in self._layers:
            split = qkv(x, self._norm()).view(-1, size)
            qk = split[:heads]
            if config.qk_norm:
                square = torch.linalg.vecdot(qk, qk).unsqueeze(-1)
                qk.mul_(torch.add(self._eps, square, alpha=1 / size).rsqrt_())
                if qk_weight is not None:
                    qk.mul_(qk_weight)
            torch.view_as_complex(qk.view(heads, -1, 2)).mul_(turn)
            keys[:, position].copy_(qk[n_head:])
            values[:, position].copy_(split[heads:])
            # The query heads that share keys are the rows of one product.
            scores = torch.bmm(qk[:n_head].view(self._groups), keys[:, :end].transpose(1, 2))
            y = torch.bmm(scores.mul_(self._score_scale).softmax(-1), values[:, :end])
            x.add_(output(y.view(-1), 1.0))
            inner = up(x, self._norm())
            if gated:
                gate, inner = inner.chunk(2)
                inner = F.silu(gate).mul_(inner)
            else:
                inner.relu_().square_()
            x.add_(down(inner, 1.0))
        return self._head(x, self._norm()).view(1, -1)

    def _norm(self) -> float:
        """RMSNorm's scale of x."""
        config = self._weights.config
        square = torch.dot(self._x, self._x).item()
        return 1 / math.sqrt(square / config.d_model + config.norm_eps)


class _Product:
    """A vector times a matrix (d_in, d_out).

    MKL's kernel for it, on the machines it was timed on, takes half of what memory gives; that
    of `embedding_bag` in FBGEMM takes nearly all: the sum of a table's rows, each times a number,
    is such a product. Each thread gets a bag of its own, with its share of the columns: seen as a
    table of (bags d_in, d_out / bags), bag b has the rows b, bags + b, 2 bags + b, ... of it.
    """

    def __init__(self, matrix: Tensor) -> None:
        d_in, d_out = matrix.shape
        has_kernel = "fbgemm" in torch.backends.quantized.supported_engines
        self._bags = 0
        if has_kernel and matrix.numel() >= _LEAST_FOR_BAGS:
            threads = torch.get_num_threads()
            # Whole cache lines (16 numbers) for each.
            self._bags = max(n for n in range(1, threads + 1) if n == 1 or not d_out % (16 * n))
        if not self._bags:
            self._matrix, self._out = matrix, torch.empty(1, d_out)
            return
        self._matrix = matrix.view(d_in * self._bags, d_out // self._bags)
        bag = torch.arange(self._bags, dtype=torch.int32)
        self._rows = (torch.arange(d_in, dtype=torch.int32) * self._bags + bag[:, None]).flatten()
        self._offsets = bag * d_in
        self._factors = torch.empty(self._bags, d_in)

    def __call__(self, x: Tensor, scale: float) -> Tensor:
        """scale * x @ matrix, for x (d_in,); (d_out,), which the next call may overwrite."""
        if not self._bags:
            out = self._out
            return torch.addmm(out, x[None], self._matrix, beta=0, alpha=scale, out=out)[0]
        torch.mul(x.expand_as(self._factors), scale, out=self._factors)
        # In order: no scaling by frequency, mode 0 (sum), dense gradients.
        sums: Tensor = torch.embedding_bag(
            self._matrix, self._rows, self._offsets, False, 0, False, self._factors.view(-1)
        )[0]
        return sums.view(-1)
