"""`Block`: attention and a feed-forward layer, which a model has one after the other."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bytemill.lm.model.attention import Attention
from bytemill.lm.model.cache import Place
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.layers import FeedForward, LayerNorm, RMSNorm
from bytemill.lm.model.ops import dropout
from bytemill.lm.model.variants import Normal


class Block(nn.Module):
    """Attention and a feed-forward layer, each added to the residual stream; (B, T, C) likewise.

    With norms before them (Xiong et al. 2020), x + attn(ln1(x)), then x + ffn(ln2(x)); see
    `bytemill.lm.model.variants.NORM_POSITIONS` for the others. Its parts start as they do alone,
    but attn.output_proj and ffn.w2 at 0 with `zero_init_output`.

    Args:
        config: The model that it is of; vocabulary and context length do not matter.
        layer: Which of the model's blocks it is.
        **factory: `device`, `dtype` and `generator`, as of `Linear`.
    """

    def __init__(self, config: ModelConfig, layer: int = 0, **factory: Any) -> None:
        super().__init__()
        width, initial = config.d_model, config.initial
        output_start = Normal(0.0) if config.zero_init_output else None
        self.norms = config.norms
        self.dropout = config.dropout
        if self.norms.in_blocks:
            self.ln1 = norm_of(config, factory)
        self.attn = Attention(
            config.d_model,
            config.n_head,
            config.n_kv_head,
            qk_norm=config.qk_norm,
            norm_eps=config.norm_eps,
            norm_weights=config.norm_weights,
            window=config.windows[layer],
            scale=config.score_scale,
            value_gate=layer in config.value_layers,
            bias=config.bias,
            start=initial.attention(width),
            output_start=output_start,
            **factory,
        )
        if self.norms.in_blocks:
            self.ln2 = norm_of(config, factory)
        self.ffn = FeedForward(
            width,
            config.d_ff,
            config.mlp,
            start=initial.feed_forward(width),
            output_start=output_start,
            bias=config.bias,
            **factory,
        )

    def forward(
        self,
        x: Tensor,
        table: Tensor | None = None,
        place: Place | None = None,
        value: Tensor | None = None,
    ) -> Tensor:
        """One block; the arguments are `Attention`'s."""
        norms = self.norms
        y = self.attn(self.ln1(x) if norms.before else x, table, place, value)
        x = x + dropout(y, self.dropout, self.training)
        if norms.after:
            x = self.ln1(x)
        y = self.ffn(self.ln2(x) if norms.before else x)
        x = x + dropout(y, self.dropout, self.training)
        if norms.after:
            x = self.ln2(x)
        return x


def norm_of(config: ModelConfig, factory: dict[str, Any]) -> RMSNorm | LayerNorm:
    """A norm of the residual stream."""
    of = (config.d_model, config.norm_eps, config.norm_weights)
    if config.norm == "layer":
        return LayerNorm(*of, bias=config.bias, **factory)
    return RMSNorm(*of, **factory)
