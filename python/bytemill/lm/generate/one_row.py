"""One sequence on a CPU in fp32, a token at a time, as fast as memory gives the weights."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from bytemill.lm.generate.step import Step
from bytemill.lm.generate.weights import Affine, DecodingWeights, Layer
from bytemill.lm.model.cache import KVCache

# Below this many numbers a plain product is faster: it takes 3 us to call, a bag 9.
_LEAST_FOR_BAGS: Final = 1 << 16


class OneRow(Step["Product"]):
    """Makes one token at a time; buffers and views are made once, and written in place.

    Args:
        weights: The weights.
        cache: Of one row; the tokens are added to it.
    """

    def __init__(self, weights: DecodingWeights, cache: KVCache) -> None:
        layers = [layer.map(Product) for layer in weights.layers]
        super().__init__(weights, layers, Product(weights.head))
        config, size = self.config, self.config.head_dim
        self._cache = cache
        self._past = list(zip(cache.keys[:, 0], cache.values[:, 0], strict=True))
        self._eps = torch.tensor(config.norm_eps)
        self._is_centered = config.norm == "layer"
        self._groups = (config.n_kv_head, -1, size)
        self._score_scale = config.score_scale or 1 / math.sqrt(size)
        self._position = 0
        self._turn: Tensor | None = None

    def step(self, tokens: Tensor) -> Tensor:
        """Adds a token (1,); the logits of the next, (1, V)."""
        (self._position,) = self._cache.lengths
        if self.weights.rope is not None:
            self._turn = self.weights.rope[self._position]
        logits = self.logits(tokens)
        self._cache.advance((1,))
        return logits.view(1, -1)

    def embed(self, tokens: Tensor) -> Tensor:
        """(C,)."""
        return self.weights.embedding[int(tokens)].clone()

    def remember(self, tokens: Tensor) -> Tensor:
        """(1,)."""
        ids = self._cache.ids
        if ids is None:
            raise ValueError("the cache keeps no ids; make it from the config of this model")
        ids[:, self._position] = tokens
        return ids[0, self._position - 1 : self._position]

    def placed(self, x: Tensor) -> Tensor:
        """Of x (C,), in place."""
        table = self.weights.positions
        return x if table is None else x.add_(table[self._position])

    def normed(self, x: Tensor, of: Affine) -> Tensor:
        """Of x (C,), in place."""
        if self._is_centered:
            x.sub_(x.mean())
        x.mul_(self._scale(x))
        x = x if of.weight is None else x.mul_(of.weight)
        return x if of.bias is None else x.add_(of.bias)

    def product(self, x: Tensor, matrix: Product, norm: bool) -> Tensor:
        """(d_in,) to (d_out,), which the next call may overwrite."""
        if not norm:
            return matrix(x, 1.0)
        if self._is_centered:
            x = x - x.mean()
        return matrix(x, self._scale(x))

    def add(self, x: Tensor, y: Tensor, matrix: Product) -> Tensor:
        """(C,), in place."""
        return x.add_(matrix(y, 1.0))

    def attend(self, i: int, layer: Layer[Product], qkv: Tensor) -> Tensor:
        """(C + 2 n_kv_head head_dim,) to (C,)."""
        config, (keys, values) = self.config, self._past[i]
        n_head, heads = config.n_head, config.n_head + config.n_kv_head
        split = qkv.view(-1, config.head_dim)
        qk = split[:heads]
        if config.qk_norm:
            square = torch.linalg.vecdot(qk, qk).unsqueeze(-1)
            qk.mul_(torch.add(self._eps, square, alpha=1 / config.head_dim).rsqrt_())
            if layer.qk_weight is not None:
                qk.mul_(layer.qk_weight)
        if self._turn is not None:
            torch.view_as_complex(qk.view(heads, -1, 2)).mul_(self._turn)
        position, end = self._position, self._position + 1
        keys[:, position].copy_(qk[n_head:])
        values[:, position].copy_(split[heads:])
        first = 0 if layer.window is None else max(0, end - layer.window)
        # The query heads that share keys are the rows of one product.
        scores = torch.bmm(qk[:n_head].view(self._groups), keys[:, first:end].transpose(1, 2))
        y = torch.bmm(scores.mul_(self._score_scale).softmax(-1), values[:, first:end])
        return y.view(-1)

    def _scale(self, x: Tensor) -> float:
        """RMSNorm's scale of x."""
        square = torch.dot(x, x).item()
        return 1 / math.sqrt(square / self.config.d_model + self.config.norm_eps)


class Product:
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
