"""`Transformer`: a decoder-only language model; its config says which.

From ids to logits: `Transformer.hidden` embeds them, walks through the blocks and normalizes;
`Transformer.forward` puts the head on top. What variants change is in `bytemill.lm.model.variants`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bytemill.lm.model.arguments import check_range
from bytemill.lm.model.cache import KVCache, Place, uncompiled
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.kernels import aside
from bytemill.lm.model.layers import Embedding, LayerNorm, Linear, RMSNorm, TiedHead
from bytemill.lm.model.loss import (
    Reduction,
    check_targets,
    chunked_cross_entropy,
    cross_entropy,
    rows_of_chunk,
    softcap,
)
from bytemill.lm.model.ops import dropout
from bytemill.lm.model.plain import has_plain_weight
from bytemill.lm.model.residual.block import Block, norm_of
from bytemill.lm.model.residual.refinements import Scalars, Smear
from bytemill.lm.model.rope import Rope
from bytemill.lm.model.variants import (
    BACKOUT_START,
    POSITION_START,
    RESID_START,
    X0_START,
    Normal,
    Uniform,
)

_place, _finish = uncompiled(KVCache.place), uncompiled(Place.finish)
_rows_of, _remember = uncompiled(Place.rows_of), uncompiled(Place.remember)


class Transformer(nn.Module):
    """A decoder-only Transformer.

    Its state dict has CS336's names: `token_embeddings.weight`, `layers.0.attn.q_proj.weight`,
    `layers.0.attn.output_proj.weight`, `layers.0.ffn.w1.weight`, `layers.0.ln1.weight`,
    `ln_final.weight`, `lm_head.weight`; with tied embeddings the last is not there. Keep the
    weights in fp32 and compute in bf16 under `torch.autocast`, or move all to bf16 for inference:
    norms, RoPE, softmax, softcap and loss are computed in fp32 either way.

    Args:
        config: Its shape.
        device, dtype: Of the weights; torch's defaults. On "meta" they get no values.
        generator: For the initial weights; None is torch's global one.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        factory: Any = {"device": device, "dtype": dtype, "generator": generator}
        n_ids, width = config.padded_vocab_size, config.d_model
        embedding_start, head_start = _end_starts(config)
        self.token_embeddings = Embedding(n_ids, width, start=embedding_start, **factory)
        if config.embedding_norm:
            self.ln_embedding = norm_of(config, factory)
        self.layers = nn.ModuleList(Block(config, i, **factory) for i in range(config.n_layer))
        if config.norms.final:
            self.ln_final = norm_of(config, factory)
        self.lm_head: Linear | TiedHead
        if config.tie_embeddings:
            self.lm_head = TiedHead(self.token_embeddings)
        else:
            self.lm_head = Linear(width, n_ids, start=head_start, **factory)
        if config.value_embeddings:
            start = Uniform.of_std(width**-0.5)
            self.value_embeddings = nn.ModuleDict(
                {
                    str(i): Embedding(n_ids, config.kv_width, start=start, **factory)
                    for i in config.value_layers
                }
            )
        if config.resid_scalars:
            self.resid = Scalars(config.n_layer, *RESID_START, **factory)
        if config.x0_scalars:
            self.x0 = Scalars(config.n_layer, *X0_START, **factory)
        if config.smear:
            self.smear = Smear(width, **factory)
        if config.backout:
            self.backout = Scalars(1, BACKOUT_START, BACKOUT_START, **factory)
        if config.position == "learned":
            self.position_embeddings = Embedding(
                config.context_length, width, start=Normal(POSITION_START), **factory
            )
        if config.position == "rope":
            self.rope = Rope(
                config.head_dim, config.context_length, config.rope_theta, device=device
            )

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws the weights anew.

        Matrices are normal with variance 2 / (d_in + d_out), embeddings with variance 1, both cut
        at three standard deviations (CS336 assignment 1, section 3.4.1). With `zero_init_output`
        the layers that add to the residual stream start at 0, the head at a deviation of 0.001.
        A weight that is embedding and head starts as a head does, with variance 2 / (C + V): with
        an embedding's, each token would predict itself with logits of about C. For the rest see
        `ModelConfig.init` and the figures of `bytemill.lm.model.variants`.
        """
        for module in self.modules():
            if isinstance(module, (Linear, Embedding, RMSNorm, LayerNorm, Scalars)):
                module.reset_parameters(generator)

    def n_params(self) -> int:
        """The number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    def hidden(
        self,
        ids: Tensor,
        cache: KVCache | None = None,
        *,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """The vectors that the head turns into logits: after the last norm, if there is one.

        Args and errors as `forward`.

        Returns:
            (B, T, C) in the compute dtype.
        """
        self._check(ids)
        place = None
        if cache is not None:
            place = _place(cache, ids.shape[0], ids.shape[1], lengths)
        elif lengths is not None:
            raise ValueError("lengths without a cache: padding on the right then changes nothing")
        table = None
        if self.config.position == "rope":
            table = self.rope.table
            table = table[: ids.shape[1]] if place is None else _rows_of(place, table)
        x = self._embedded(ids)
        if self.config.smear:
            before = None if place is None else _remember(place, ids)
            x = self.smear(x, None if before is None else self._before(*before))
        if self.config.position == "learned":
            at = self.position_embeddings.weight
            x = x + (at[: ids.shape[1]] if place is None else _rows_of(place, at)).to(x.dtype)
        x = self._through_layers(x, ids, table, place)
        if place is not None:
            _finish(place)
        if self.config.norms.final:
            x = self.ln_final(x)
        return x

    def _embedded(self, ids: Tensor) -> Tensor:
        x: Tensor = self.token_embeddings(ids)
        return self.ln_embedding(x) if self.config.embedding_norm else x

    def _before(self, ids: Tensor, is_there: Tensor) -> Tensor:
        """Vectors (B, 1, C) of tokens that came before, of zeros where there is none."""
        return self._embedded(ids).masked_fill(~is_there.unsqueeze(-1), 0)

    def _through_layers(
        self, x: Tensor, ids: Tensor, table: Tensor | None, place: Place | None
    ) -> Tensor:
        """What the layers make of x (B, T, C); `bytemill.lm.generate.step` does the same."""
        config = self.config
        value_layers, backout_layer = config.value_layers, config.backout_layer
        x = first = middle = dropout(x, config.dropout, self.training)
        for i, layer in enumerate(self.layers):
            if config.resid_scalars:
                x = x * self.resid.weight[i]
            if config.x0_scalars:
                x = x + first * self.x0.weight[i]
            if i in value_layers:
                x = layer(x, table, place, self.value_embeddings[str(i)](ids))
            else:
                x = layer(x, table, place)
            if i == backout_layer:
                middle = x
        return x - middle * self.backout.weight[0] if config.backout else x

    def forward(
        self,
        ids: Tensor,
        cache: KVCache | None = None,
        *,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """Logits of the token that follows each one.

        Args:
            ids: (B, T) int64, from 0 up to V.
            cache: What came before; ids are added to it.
            lengths: With a cache: how many of its T ids each row has, from the left; the rest is
                padding, whose logits mean nothing. None: all.

        Returns:
            (B, T, V) fp32, in nats before normalization.

        Raises:
            TypeError: ids are not integers.
            ValueError: ids are not (B, T), longer than the context or what is left of the cache, or
                not in the vocabulary (checked on the CPU only).
        """
        return self.logits(self.hidden(ids, cache, lengths=lengths))

    def logits(self, hidden: Tensor) -> Tensor:
        """What the head makes of vectors (..., C) that `hidden` gave; (..., V) fp32."""
        logits = self.lm_head(hidden)
        if logits.shape[-1] > self.config.vocab_size:  # padding
            logits = logits[..., : self.config.vocab_size]
        return softcap(logits.float(), self.config.logit_softcap)

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        *,
        reduction: Reduction = "mean",
        chunk: int | None = None,
    ) -> Tensor:
        """Cross-entropy of the targets, in nats, without holding the full logits.

        A head that is not this model's own, or has hooks, is called as it is, some rows at a time,
        and for gradients once more in the backward pass; so is another `logits`. A model with hooks
        of its own, or another `forward`, is called as a whole.

        Args:
            ids: (B, T) int64.
            targets: (B, T) integers from 0 up to V; -1 where a place does not count. Unlike in
                torch -100 is refused.
            reduction: "mean" over the places that count (0 if none does), or "sum".
            chunk: Positions at a time; None chooses.

        Returns:
            A scalar in fp32.

        Raises:
            TypeError, ValueError: As `forward`, and as `loss.cross_entropy`: targets are not
                integers of ids' shape, or one is neither -1 nor in the vocabulary (on the CPU; on
                CUDA a device-side assertion is triggered).
        """
        check_targets(targets, ids.shape)
        if not torch.compiler.is_compiling() and self._is_called_otherwise():
            logits = self(ids).flatten(0, 1)
            return cross_entropy(logits, targets.flatten(), reduction=reduction)
        hidden = self.hidden(ids).flatten(0, 1)
        return self.loss_of(hidden, targets.flatten(), reduction=reduction, chunk=chunk)

    def loss_of(
        self,
        hidden: Tensor,
        targets: Tensor,
        *,
        reduction: Reduction = "mean",
        chunk: int | None = None,
    ) -> Tensor:
        """`loss` of vectors (N, C) that `hidden` gave, for targets (N,)."""
        check_targets(targets, hidden.shape[:1])
        if self._makes_logits_itself() and has_plain_weight(self.lm_head):
            return chunked_cross_entropy(
                hidden,
                self.lm_head.weight,
                targets,
                softcap=self.config.logit_softcap,
                reduction=reduction,
                chunk_size=chunk,
                vocab_size=self.config.vocab_size,
            )
        total = hidden.new_zeros((), dtype=torch.float32)
        size = rows_of_chunk(hidden, self.config.vocab_size, chunk)
        for rows, wanted in zip(torch.split(hidden, size), torch.split(targets, size), strict=True):
            if torch.is_grad_enabled() and not aside(hidden):
                part = checkpoint(self._nll, rows, wanted, use_reentrant=False)
            else:
                part = self._nll(rows, wanted)
            total = total + part
        return total / (targets != -1).sum().clamp_min(1) if reduction == "mean" else total

    def _makes_logits_itself(self) -> bool:
        """Whether `logits` is this class's own."""
        if type(self).logits is not _LOGITS:
            return False
        return torch.compiler.is_compiling() or "logits" not in self.__dict__

    def _is_called_otherwise(self) -> bool:
        """Whether calling the model does more than `forward` below: hooks, or another method."""
        is_own = type(self).forward is _FORWARD and "forward" not in self.__dict__
        return not is_own or bool(self._forward_hooks or self._forward_pre_hooks)

    def _nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(self.logits(hidden), targets, reduction="sum")

    def _check(self, ids: Tensor) -> None:
        if ids.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"ids of {ids.dtype}: they must be int64")
        if ids.ndim != 2 or not ids.numel():
            raise ValueError(f"ids of shape {tuple(ids.shape)}: expected (B, T), neither of them 0")
        config = self.config
        if ids.shape[1] > config.context_length:
            raise ValueError(
                f"{ids.shape[1]} tokens are more than the context length, {config.context_length}; "
                "give fewer, or make a model with a longer context"
            )
        check_range(ids, config.vocab_size, "id", "is this the model's tokenizer?")


def _end_starts(config: ModelConfig) -> tuple[Normal, Normal]:
    """What embedding and head are drawn from at the start."""
    of_head = Normal(math.sqrt(2 / (config.d_model + config.vocab_size)))
    if config.tie_embeddings:
        return of_head, of_head
    near_zero = Normal(0.001, config.initial.embedding.cut)
    return config.initial.embedding, near_zero if config.zero_init_output else of_head


# As they are before anyone changes them.
_FORWARD, _LOGITS = Transformer.forward, Transformer.logits
