"""`Decoder`: sequences that grow by a token at a time, their keys and values cached.

What the model does for thousands of tokens at once is, for one token a row, mostly reading weights
and calling kernels: so it does so with weights laid out for that, and with few operations. Logits
agree with the model's up to rounding (1e-5 of the largest in fp32).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bytemill.lm.generate.one_row import DecodingRow
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.cache import KVCache
from bytemill.lm.model.loss import softcap


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
        self._row: DecodingRow | None = None

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
                self._row = DecodingRow(weights, self._keys[:, 0], self._values[:, 0])
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
            qkv = (self._norm(x) @ layer.qkv).view(n_rows, -1, config.head_dim)
            qk = qkv[:, :heads].float()
            if config.qk_norm:
                qk = qk * torch.rsqrt(qk.square().mean(-1, keepdim=True) + config.norm_eps)
                if layer.qk_weight is not None:
                    qk = qk * layer.qk_weight
            pairs = torch.view_as_complex(qk.reshape(n_rows, heads, -1, 2))
            qk = torch.view_as_real(pairs * turn).flatten(-2).to(weights.dtype)
            k, v = self._keys[i], self._values[i]
            if rows is None:
                k[:, :, end - 1], v[:, :, end - 1] = qk[:, config.n_head :], qkv[:, heads:]
            else:
                k[rows, :, positions] = qk[:, config.n_head :]
                v[rows, :, positions] = qkv[:, heads:]
            # The query heads that share keys stand in for time, so nothing is repeated.
            q = qk[:, : config.n_head].reshape(n_rows, config.n_kv_head, -1, config.head_dim)
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
