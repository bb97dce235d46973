"""`Decoder`: `Transformer.forward` for one more token a row, in few operations.

What the model does for thousands of tokens at a time is, for one token, mostly reading weights and
calling kernels. So weights are laid out anew, once:

- queries, keys and values are one product, as are both halves of SwiGLU;
- matrices are (d_in, d_out): a row times such a matrix runs along memory, which for MKL on a CPU is
  1.6 times as fast as along the rows of (d_out, d_in);
- RMSNorm's weights are multiplied into the matrix that follows. Its scale is one number a token, so
  it can be applied to the product instead of the vector.

Logits agree with the model's up to rounding (1e-5 of the largest in fp32).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.cache import KVCache
from bytemill.lm.layers import RMSNorm
from bytemill.lm.loss import softcap
from bytemill.lm.model import Transformer


class Layer(NamedTuple):
    """One block's weights, (d_in, d_out) each."""

    qkv: Tensor
    """(C, C + 2 n_kv_head head_dim)."""
    qk_weight: Tensor | None
    """QK-norm's weights for each head, (n_head + n_kv_head, head_dim); None without."""
    output: Tensor
    """(C, C)."""
    up: Tensor
    """(C, d_ff), or (C, 2 d_ff): SwiGLU's gate comes first."""
    down: Tensor
    """(d_ff, C)."""


class DecodingWeights:
    """A model's weights, copied and laid out for `Decoder`. Training does not change the copy.

    Args:
        model: The model.
        dtype: To compute in; the weights' own if None.
    """

    @torch.inference_mode()
    def __init__(self, model: Transformer, dtype: torch.dtype | None = None) -> None:
        self.model = model
        self.config = model.config
        self.device = model.lm_head.weight.device
        self.dtype = model.lm_head.weight.dtype if dtype is None else dtype
        # Neither clones if the dtype is the weights' own: they are read as they are.
        self.embedding = model.token_embeddings.weight.detach()
        self.embedding_weight: Tensor | None = None
        if self.config.embedding_norm:
            self.embedding_weight = model.ln_embedding.weight
        self.layers = [self._layer(block) for block in model.layers]
        self.head = self._matrix(model.ln_final, model.lm_head.weight)
        table = model.rope.table.float()
        self.rope = torch.view_as_complex(table.contiguous()).unsqueeze(1)
        """(T, 1, head_dim / 2) complex64."""

    def _layer(self, block: torch.nn.Module) -> Layer:
        attn, ffn, config = block.attn, block.ffn, self.config
        qk_weight = None
        if config.qk_norm and attn.q_norm.weight is not None:
            heads = [attn.q_norm.weight] * config.n_head + [attn.k_norm.weight] * config.n_kv_head
            qk_weight = torch.stack(heads).float()
        up = [ffn.w1.weight, ffn.w3.weight] if config.mlp == "swiglu" else [ffn.w1.weight]
        return Layer(
            qkv=self._matrix(
                block.ln1, attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight
            ),
            qk_weight=qk_weight,
            output=self._matrix(None, attn.output_proj.weight),
            up=self._matrix(block.ln2, *up),
            down=self._matrix(None, ffn.w2.weight),
        )

    def _matrix(self, norm: RMSNorm | None, *weights: Tensor) -> Tensor:
        joined = torch.cat([weight.float() for weight in weights])
        if norm is not None and norm.weight is not None:
            joined = joined * norm.weight.float()
        return joined.t().to(self.dtype).contiguous()


class Decoder:
    """Sequences that grow by a token at a time, their keys and values cached.

    Args:
        weights: Of the model, in decoding layout.
        max_length: The most tokens of a sequence; the context length if None.

    Raises:
        ValueError: `max_length` is above the context length, or below 1.
    """

    def __init__(self, weights: DecodingWeights, max_length: int | None = None) -> None:
        self._weights = weights
        length = weights.config.context_length if max_length is None else max_length
        if not 1 <= length <= weights.config.context_length:
            raise ValueError(
                f"max_length={length}: it must be from 1 up to the model's context length, "
                f"{weights.config.context_length}"
            )
        self._max_length = length
        self._lengths: list[int] = []
        self._keys = self._values = torch.empty(0)
        self._row: _Row | None = None

    @property
    def lengths(self) -> list[int]:
        """The tokens that each row holds."""
        return list(self._lengths)

    @property
    def max_length(self) -> int:
        """The most tokens that a row can hold."""
        return self._max_length

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Begins anew, with a row for each prompt.

        Args:
            prompts: Ids of the vocabulary, at least one and at most `max_length` each.

        Returns:
            Logits of the tokens that follow, (B, V) fp32.

        Raises:
            ValueError: There is no prompt, or one is empty or too long.
        """
        lengths = [len(prompt) for prompt in prompts]
        if not lengths or not 1 <= min(lengths) <= max(lengths) <= self._max_length:
            raise ValueError(
                f"prompts of {lengths} tokens: each must have from 1 to {self._max_length}"
            )
        weights, model = self._weights, self._weights.model
        longest = max(lengths)
        padded = [[*prompt, *[prompt[0]] * (longest - len(prompt))] for prompt in prompts]
        ids = torch.tensor(padded, dtype=torch.int64, device=weights.device)
        cache = KVCache(
            weights.config,
            len(lengths),
            self._max_length,
            device=weights.device,
            dtype=weights.dtype,
        )
        with torch.autocast(
            weights.device.type, weights.dtype, enabled=weights.dtype != weights.embedding.dtype
        ):
            hidden = model.hidden(ids, cache, lengths=lengths)
            rows = torch.arange(len(lengths), device=weights.device)
            last = torch.tensor(lengths, device=weights.device) - 1
            logits = model.lm_head(hidden[rows, last]).float()
        self._keys, self._values, self._lengths = cache.keys, cache.values, lengths
        self._row = None
        return softcap(logits, weights.config.logit_softcap)

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Keeps these rows, in this order; a row may come more than once."""
        index = torch.tensor(rows, device=self._keys.device)
        self._keys = self._keys.index_select(1, index)
        self._values = self._values.index_select(1, index)
        self._lengths = [self._lengths[row] for row in rows]
        self._row = None

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Adds a token to each row.

        Args:
            tokens: (B,) int64.

        Returns:
            Logits of the tokens that follow, (B, V) fp32; the next step overwrites them.

        Raises:
            ValueError: A row is full, or the number of rows is another.
        """
        if tokens.shape != (len(self._lengths),):
            raise ValueError(
                f"tokens of shape {tuple(tokens.shape)}: expected ({len(self._lengths)},), one "
                "for each row"
            )
        if max(self._lengths) >= self._max_length:
            raise ValueError(
                f"a row holds {self._max_length} tokens, the most there is room for; begin anew "
                "with fewer of them, or stop"
            )
        weights = self._weights
        if len(self._lengths) == 1 and weights.dtype == torch.float32 and self._keys.is_cpu:
            if self._row is None:
                self._row = _Row(weights, self._keys[:, 0], self._values[:, 0])
            logits = self._row.step(int(tokens), self._lengths[0])
        else:
            logits = self._step(tokens)
        self._lengths = [length + 1 for length in self._lengths]
        cap = weights.config.logit_softcap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def _step(self, tokens: Tensor) -> Tensor:
        """Any number of rows, any device."""
        weights, config = self._weights, self._weights.config
        n_rows, heads = len(self._lengths), config.n_head + config.n_kv_head
        end = max(self._lengths) + 1
        mask = rows = None
        if end - 1 == min(self._lengths):
            positions = torch.full((1,), end - 1, device=weights.device)
        else:
            positions = torch.tensor(self._lengths, device=weights.device)
            rows = torch.arange(n_rows, device=weights.device)
            keys = torch.arange(end, device=weights.device)
            mask = (keys <= positions[:, None])[:, None, None]
        turn = weights.rope[positions]
        x = F.embedding(tokens, weights.embedding).to(weights.dtype)
        if config.embedding_norm:
            x = self._norm(x)
            if weights.embedding_weight is not None:
                x = (x * weights.embedding_weight).to(weights.dtype)
        for i, layer in enumerate(weights.layers):
            qkv = (self._norm(x) @ layer.qkv).unflatten(-1, (-1, config.head_dim))
            qk = qkv[:, :heads].float()
            if config.qk_norm:
                qk = qk * torch.rsqrt(qk.square().mean(-1, keepdim=True) + config.norm_eps)
                if layer.qk_weight is not None:
                    qk = qk * layer.qk_weight
            pairs = torch.view_as_complex(qk.unflatten(-1, (-1, 2)).contiguous())
            qk = torch.view_as_real(pairs * turn).flatten(-2).to(weights.dtype)
            k, v = self._keys[i], self._values[i]
            if rows is None:
                k[:, :, end - 1], v[:, :, end - 1] = qk[:, config.n_head :], qkv[:, heads:]
            else:
                k[rows, :, positions] = qk[:, config.n_head :]
                v[rows, :, positions] = qkv[:, heads:]
            # The query heads that share keys stand in for time, so nothing is repeated.
            q = qk[:, : config.n_head].unflatten(1, (config.n_kv_head, -1))
            y = F.scaled_dot_product_attention(q, k[:, :, :end], v[:, :, :end], attn_mask=mask)
            x = x + y.flatten(1) @ layer.output
            up = self._norm(x) @ layer.up
            if config.mlp == "swiglu":
                gate, up = up.chunk(2, -1)
                up = F.silu(gate) * up
            else:
                up = F.relu(up).square()
            x = x + up @ layer.down
        return (self._norm(x) @ weights.head).float()

    def _norm(self, x: Tensor) -> Tensor:
        """RMSNorm without weights, (B, C)."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self._weights.config.norm_eps)
        return (wide * scale).to(x.dtype)


class _Row:
    """One sequence on a CPU in fp32: every buffer and view is made once, and written in place.

    Args:
        weights: The weights.
        keys, values: (n_layer, n_kv_head, max_length, head_dim), written to.
    """

    def __init__(self, weights: DecodingWeights, keys: Tensor, values: Tensor) -> None:
        config = weights.config
        heads, size = config.n_head + config.n_kv_head, config.head_dim
        self._weights = weights
        self._layers = list(zip(weights.layers, keys, values, strict=True))
        self._x = torch.empty(1, config.d_model)
        self._flat = self._x[0]
        self._qkv = torch.empty(1, weights.layers[0].qkv.shape[1])
        split = self._qkv.view(-1, size)
        self._qk, self._k, self._v = split[:heads], split[config.n_head : heads], split[heads:]
        self._pairs = torch.view_as_complex(self._qk.unflatten(-1, (-1, 2)))
        # The query heads that share keys are the rows of one product.
        self._q = split[: config.n_head].view(config.n_kv_head, -1, size)
        self._up = torch.empty(1, weights.layers[0].up.shape[1])
        self._gate, self._down_in = self._up, self._up
        if config.mlp == "swiglu":
            self._gate, self._down_in = self._up.chunk(2, -1)
        self._logits = torch.empty(1, config.vocab_size)
        self._score_scale = 1 / math.sqrt(size)
        self._eps = torch.tensor(config.norm_eps)

    def step(self, token: int, position: int) -> Tensor:
        """Adds a token at a position; logits (1, V), overwritten by the next step."""
        weights, config, x = self._weights, self._weights.config, self._x
        x.copy_(weights.embedding[token])
        if config.embedding_norm:
            x.mul_(self._scale())
            if weights.embedding_weight is not None:
                x.mul_(weights.embedding_weight)
        turn, end = weights.rope[position], position + 1
        for layer, keys, values in self._layers:
            torch.addmm(self._qkv, x, layer.qkv, beta=0, alpha=self._scale(), out=self._qkv)
            if config.qk_norm:
                square = torch.linalg.vecdot(self._qk, self._qk).unsqueeze(-1)
                scale = torch.add(self._eps, square, alpha=1 / config.head_dim).rsqrt_()
                self._qk.mul_(scale)
                if layer.qk_weight is not None:
                    self._qk.mul_(layer.qk_weight)
            self._pairs.mul_(turn)
            keys[:, position].copy_(self._k)
            values[:, position].copy_(self._v)
            scores = torch.bmm(self._q, keys[:, :end].transpose(1, 2)).mul_(self._score_scale)
            y = torch.bmm(scores.softmax(-1), values[:, :end])
            x.addmm_(y.view(1, -1), layer.output)
            torch.addmm(self._up, x, layer.up, beta=0, alpha=self._scale(), out=self._up)
            if config.mlp == "swiglu":
                self._down_in.mul_(F.silu(self._gate))
            else:
                self._up.relu_().square_()
            x.addmm_(self._down_in, layer.down)
        return torch.addmm(
            self._logits, x, weights.head, beta=0, alpha=self._scale(), out=self._logits
        )

    def _scale(self) -> float:
        """RMSNorm's scale of x."""
        config = self._weights.config
        square = torch.dot(self._flat, self._flat).item()
        return 1 / math.sqrt(square / config.d_model + config.norm_eps)
