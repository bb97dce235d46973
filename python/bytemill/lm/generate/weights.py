"""A model's weights, laid out anew for making one token at a time.

- Queries, keys and values are one product, as are both halves of SwiGLU.
- Matrices are (d_in, d_out): a vector times such a matrix runs along memory.
- RMSNorm's weights are multiplied into the matrix that follows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bytemill.lm.model.layers import RMSNorm
from bytemill.lm.model.transformer import Block, Transformer


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
        self.layers = [self._layer(block) for block in model.layers if isinstance(block, Block)]
        self.head = self._matrix(model.ln_final, model.lm_head.weight)
        table = model.rope.table.float()
        self.rope = torch.view_as_complex(table.contiguous()).unsqueeze(1)
        """(T, 1, head_dim / 2) complex64."""

    def _layer(self, block: Block) -> Layer:
        attn, ffn, config = block.attn, block.ffn, self.config
        qk_weight = None
        if config.qk_norm and config.norm_weights:
            norms = [attn.q_norm] * config.n_head + [attn.k_norm] * config.n_kv_head
            qk_weight = torch.stack([n.weight for n in norms if n.weight is not None]).float()
        up = [ffn.w1.weight, ffn.w3.weight] if config.mlp == "swiglu" else [ffn.w1.weight]
        return Layer(
            qkv=self._matrix(block.ln1, attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight),
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
