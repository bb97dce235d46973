"""`Transformer`: a decoder-only language model; its config says which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bytemill.lm.model.attention import Attention
from bytemill.lm.model.cache import KVCache, Place
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.layers import Embedding, FeedForward, Linear, RMSNorm
from bytemill.lm.model.loss import Reduction, chunked_cross_entropy, softcap
from bytemill.lm.model.rope import Rope


class Block(nn.Module):
    """A pre-norm block (Xiong et al. 2020): x + attn(ln1(x)), then x + ffn(ln2(x)); (B, T, C)."""

    def __init__(self, config: ModelConfig, layer: int, **factory: Any) -> None:
        super().__init__()
        norm = (config.d_model, config.norm_eps, config.norm_weights)
        self.ln1 = RMSNorm(*norm, **factory)
        self.attn = Attention(config, layer, **factory)
        self.ln2 = RMSNorm(*norm, **factory)
        gated = config.mlp == "swiglu"
        self.ffn = FeedForward(config.d_model, config.d_ff, gated=gated, **factory)

    def forward(self, x: Tensor, table: Tensor, place: Place | None = None) -> Tensor:
        """One block; the arguments are `Attention`'s."""
        x = x + self.attn(self.ln1(x), table, place)
        return x + self.ffn(self.ln2(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A decoder-only Transformer.

    Its state dict has CS336's names: `token_embeddings.weight`, `layers.0.attn.q_proj.weight`,
    `layers.0.attn.output_proj.weight`, `layers.0.ffn.w1.weight`, `layers.0.ln1.weight`,
    `ln_final.weight`, `lm_head.weight`. Keep the weights in fp32 and compute in bf16 under
    `torch.autocast`, or move all to bf16 for inference: norms, RoPE, softmax, softcap and loss are
    computed in fp32 either way.

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
        factory: Any = {"device": device, "dtype": dtype}
        self.token_embeddings = Embedding(config.vocab_size, config.d_model, **factory)
        if config.embedding_norm:
            self.ln_embedding = RMSNorm(
                config.d_model, config.norm_eps, config.norm_weights, **factory
            )
        self.layers = nn.ModuleList(Block(config, i, **factory) for i in range(config.n_layer))
        self.ln_final = RMSNorm(config.d_model, config.norm_eps, config.norm_weights, **factory)
        self.lm_head = Linear(config.d_model, config.vocab_size, **factory)
        self.rope = Rope(config.head_dim, config.context_length, config.rope_theta, device=device)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws the weights anew.

        Matrices are normal with variance 2 / (d_in + d_out), embeddings with variance 1, both cut
        at three standard deviations (CS336 assignment 1, section 3.4.1). With `zero_init_output`
        the layers that add to the residual stream start at 0, the head at a deviation of 0.001.
        """
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                continue
            if parameter.ndim == 1:
                parameter.fill_(1.0)
                continue
            std = 1.0 if name == "token_embeddings.weight" else math.sqrt(2 / sum(parameter.shape))
            if self.config.zero_init_output:
                if name.endswith(("attn.output_proj.weight", "ffn.w2.weight")):
                    parameter.zero_()
                    continue
                if name == "lm_head.weight":
                    std = 0.001
            # Drawn where the generator lives, so that a seed gives one model on every device.
            device = parameter.device if generator is None else generator.device
            drawn = torch.empty(parameter.shape, device=device)
            nn.init.trunc_normal_(drawn, 0.0, std, -3 * std, 3 * std, generator=generator)
            parameter.copy_(drawn)

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
        """The vectors that the head turns into logits: after the last norm.

        Args and errors as `forward`.

        Returns:
            (B, T, C) in the compute dtype.
        """
        self._check(ids)
        place = None
        if cache is not None:
            place = cache.place(ids.shape[0], ids.shape[1], lengths)
        elif lengths is not None:
            raise ValueError("lengths without a cache: padding on the right then changes nothing")
        table = self.rope.at(ids.shape[1], 0 if place is None else place.positions)
        x = self.token_embeddings(ids)
        if self.config.embedding_norm:
            x = self.ln_embedding(x)
        for layer in self.layers:
            x = layer(x, table, place)
        if place is not None:
            place.finish()
        return self.ln_final(x)  # type: ignore[no-any-return]

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
        return self._logits(self.hidden(ids, cache, lengths=lengths))

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.lm_head(hidden)
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

        Args:
            ids: (B, T) int64.
            targets: (B, T) int64; -1 where a place does not count.
            reduction: "mean" over the places that count (0 if none does), or "sum".
            chunk: Positions at a time; None chooses.

        Returns:
            A scalar in fp32.

        Raises:
            TypeError, ValueError: As `forward`; or targets are not ids' shape.
        """
        if targets.shape != ids.shape:
            raise ValueError(
                f"targets {tuple(targets.shape)} must have the shape of ids, {tuple(ids.shape)}"
            )
        return chunked_cross_entropy(
            self.hidden(ids).flatten(0, 1),
            self.lm_head.weight,
            targets.flatten(),
            softcap=self.config.logit_softcap,
            reduction=reduction,
            chunk_size=chunk,
        )

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
        # On an accelerator this would wait for it, every time.
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():
            low, high = (int(end) for end in ids.aminmax())
            if low < 0 or high >= config.vocab_size:
                raise ValueError(
                    f"id {low if low < 0 else high} is not in the vocabulary: ids run from 0 to "
                    f"{config.vocab_size - 1}; is this the model's tokenizer?"
                )
