"""A model's weights, rearranged for making one token at a time, where that is possible.

- Queries, keys and values are one product, as are both halves of SwiGLU.
- Matrices are (d_in, d_out): a vector times such a matrix runs along memory.
- A norm's weights are multiplied into the matrix that follows, and LayerNorm's bias into its bias.
- The gates of value embeddings, which look at the same vector, are further columns of the product
  of queries, keys and values.

What decodes with them calls no module, so they are made only of a model whose modules do nothing
but what they were written to: see `obstacle`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bytemill.lm.model.adapters.lora import has_adapters, merged
from bytemill.lm.model.attention import Attention
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.layers import (
    Embedding,
    FeedForward,
    LayerNorm,
    Linear,
    RMSNorm,
    TiedHead,
)
from bytemill.lm.model.plain import hooked, is_plain_parameter
from bytemill.lm.model.residual.block import Block
from bytemill.lm.model.residual.refinements import Scalars, Smear
from bytemill.lm.model.rope import Rope
from bytemill.lm.model.transformer import Transformer

M = TypeVar("M")
N = TypeVar("N")

# So that the threads of `one_row.Product` get whole cache lines each.
_COLUMNS: Final = 64
_DTYPES: Final = (torch.float32, torch.bfloat16, torch.float16)
# What `nn.Module` itself keeps in a module's __dict__, and what decides no result. Whatever else is
# there, a model just made from the same config has too. (A `product` decides in training alone.)
_IGNORED: Final = frozenset({*vars(nn.Module()), "tied_to", "start", "ends", "product"})
_CLASSES: Final = (
    Transformer, Block, Attention, FeedForward, Linear, TiedHead, Embedding, RMSNorm, LayerNorm,
    Rope,
    Scalars, Smear, nn.ModuleList, nn.ModuleDict,
)  # fmt: skip
_METHODS: Final = tuple(
    (kind, name, getattr(kind, name))
    for kind in _CLASSES
    for name in ("forward", "__call__", "hidden", "logits")
    if hasattr(kind, name)
)


class Affine(NamedTuple):
    """What a norm multiplies with and adds, (C,) each; None without."""

    weight: Tensor | None = None
    bias: Tensor | None = None

    @classmethod
    def of(cls, norm: nn.Module | None) -> Affine:
        """A norm's."""
        return cls(getattr(norm, "weight", None), getattr(norm, "bias", None))


class Biases(NamedTuple):
    """What is added to what the matrices of a layer give; None for nothing."""

    qkv: Tensor | None
    output: Tensor | None
    up: Tensor | None
    down: Tensor | None


@dataclass(frozen=True)
class Layer(Generic[M]):
    """One block's weights; `M` is what stands for a matrix (d_in, d_out)."""

    qkv: M
    """(C, C + 2 n_kv_head head_dim); with value embeddings also a column for each of their gates,
    and columns of zeros, to a multiple of 64."""
    qk_weight: Tensor | None
    """QK-norm's weights for each head, (n_head + n_kv_head, head_dim); None without."""
    output: M
    """(C, C)."""
    up: M
    """(C, n_up d_ff): SwiGLU's gate comes first."""
    down: M
    """(d_ff, C)."""
    biases: Biases
    norm1: Affine
    norm2: Affine
    """Of norms that no matrix follows at once."""
    window: int | None
    """How many tokens are seen; None for all."""
    values: Tensor | None
    """The value embeddings, (V, n_kv_head head_dim); None without."""

    def map(self, change: Callable[[M], N]) -> Layer[N]:
        """The same with another thing for each matrix."""
        return Layer(
            change(self.qkv),
            self.qk_weight,
            change(self.output),
            change(self.up),
            change(self.down),
            self.biases,
            self.norm1,
            self.norm2,
            self.window,
            self.values,
        )


class DecodingWeights:
    """A model's weights, copied and laid out for `Decoder`. Training does not change the copy.

    Adapters (`bytemill.lm.model.adapters.lora`) are merged into the copy: a model with them is
    as fast as one without. Of a model that has an `obstacle` nothing is copied: it is asked for
    each token as it then is.

    Args:
        model: A `Transformer`, or a module around one: called with ids, a cache and `lengths`, it
            gives what `Transformer.forward` does.
        dtype: To compute in; the weights' own if None.

    Raises:
        TypeError: There is no `Transformer` in the model.
    """

    @torch.inference_mode()
    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None) -> None:
        if type(model) is Transformer and has_adapters(model) and hooked(model) is None:
            model = merged(model)
        self.model = model
        self.config = config_of(model)
        first = next(p for p in model.parameters() if p.is_floating_point())
        self.device = first.device
        self.own_dtype = first.dtype
        self.dtype = first.dtype if dtype is None else dtype
        self.layers: list[Layer[Tensor]] = []
        self.obstacle = obstacle(model)
        """Why the model's modules are called for each token; None if they need not be."""
        if self.obstacle is None and isinstance(model, Transformer):
            self._copy(model)

    def _copy(self, model: Transformer) -> None:
        config = self.config
        # Neither clones if the dtype is the weights' own: they are read as they are.
        self.embedding = model.token_embeddings.weight.detach()
        self.embedding_norm = Affine.of(getattr(model, "ln_embedding", None))
        self.positions: Tensor | None = None
        """Learned positions, (T, C)."""
        if config.position == "learned":
            self.positions = model.position_embeddings.weight.detach()
        self.layers = [
            self._layer(block, model.value_embeddings[str(i)] if i in config.value_layers else None)  # type: ignore[arg-type]
            for i, block in enumerate(model.layers)
        ]
        final = model.ln_final if config.norms.final else None
        head = model.lm_head.weight[: config.vocab_size]
        self.head, self.head_bias = self._matrix(final, [head]), self._bias(final, [(head, None)])
        self.resid = model.resid.weight.tolist() if config.resid_scalars else None
        self.x0 = model.x0.weight.tolist() if config.x0_scalars else None
        self.backout = model.backout.weight.item() if config.backout else 0.0
        self.smear_gate: Tensor | None = None
        """(24 or C,)."""
        self.smear_scale = 0.0
        if config.smear:
            self.smear_gate = model.smear.gate.weight[0].to(self.dtype)
            self.smear_scale = model.smear.scale.weight.item()
        self.rope: Tensor | None = None
        """(T, 1, head_dim / 2) complex64."""
        if config.position == "rope":
            table = model.rope.table.float()
            self.rope = torch.view_as_complex(table.contiguous()).unsqueeze(1)

    def _layer(self, block: Block, values: Embedding | None) -> Layer[Tensor]:
        attn, ffn, config = block.attn, block.ffn, self.config
        qk_weight = None
        if config.qk_norm and config.norm_weights:
            norms = [attn.q_norm] * config.n_head + [attn.k_norm] * config.n_kv_head
            qk_weight = torch.stack([n.weight for n in norms if n.weight is not None]).float()
        up = _parts_of(ffn.w1, ffn.w3) if config.activation.n_up == 2 else _parts_of(ffn.w1)
        before = (block.ln1, block.ln2) if config.norms.before else (None, None)
        after = (block.ln1, block.ln2) if config.norms.after else (None, None)
        qkv = _parts_of(attn.q_proj, attn.k_proj, attn.v_proj)
        output, down = _parts_of(attn.output_proj), _parts_of(ffn.w2)
        if values is not None:
            gates = attn.value_gate.weight
            rows = -(-config.n_kv_head // _COLUMNS) * _COLUMNS
            empty = (0, config.d_model - gates.shape[1], 0, rows - config.n_kv_head)
            qkv.append((F.pad(gates, empty), None))
        return Layer(
            qkv=self._matrix(before[0], [weight for weight, _ in qkv]),
            qk_weight=qk_weight,
            output=self._matrix(None, [weight for weight, _ in output]),
            up=self._matrix(before[1], [weight for weight, _ in up]),
            down=self._matrix(None, [weight for weight, _ in down]),
            biases=Biases(
                self._bias(before[0], qkv),
                self._bias(None, output),
                self._bias(before[1], up),
                self._bias(None, down),
            ),
            norm1=Affine.of(after[0]),
            norm2=Affine.of(after[1]),
            window=attn.window,
            values=None if values is None else values.weight.detach(),
        )

    def _bias(self, norm: nn.Module | None, parts: Parts) -> Tensor | None:
        """What is added to the product of `_matrix`."""
        before = Affine.of(norm).bias
        if before is None and all(bias is None for _, bias in parts):
            return None
        made = []
        for weight, bias in parts:
            own = weight.new_zeros(len(weight)).float() if bias is None else bias.float()
            made.append(own if before is None else own + weight.float() @ before.float())
        return torch.cat(made).to(self.dtype)

    def _matrix(self, norm: RMSNorm | LayerNorm | None, weights: list[Tensor]) -> Tensor:
        joined = torch.cat([weight.float() for weight in weights])
        if norm is not None and norm.weight is not None:
            joined = joined * norm.weight.float()
        return joined.t().to(self.dtype).contiguous()


Parts: TypeAlias = list[tuple[Tensor, Tensor | None]]
"""Matrices (d_out, d_in) that become one, each with its bias (d_out,)."""


def _parts_of(*linears: Linear) -> Parts:
    return [(linear.weight, linear.bias) for linear in linears]


def config_of(model: nn.Module) -> ModelConfig:
    """The config of a `Transformer`, or of the one that a module wraps.

    Raises:
        TypeError: There is none in it, or several that differ.
    """
    found = {m.config for m in model.modules() if isinstance(m, Transformer)}
    if len(found) != 1:
        within = f"{len(found)} Transformers of different configs" if found else "no Transformer"
        raise TypeError(
            f"a {type(model).__name__} with {within} in it: give a Transformer, or a module around "
            "one"
        )
    return found.pop()


def obstacle(model: nn.Module) -> str | None:
    """Why a model cannot be decoded from its weights alone, in words; None if it can.

    It can if it is just what `Transformer(model.config)` makes: every module of the very class,
    with the same attributes, parameters and buffers, without hooks, and out of training if it has
    dropout. Then nothing but the values of parameters and buffers decides what it computes.
    """
    if type(model) is not Transformer:
        return f"the model is a {type(model).__name__}"
    for kind, name, method in _METHODS:
        if getattr(kind, name) is not method:
            return f"the class {kind.__name__} was changed"
    modules, expected = dict(model.named_modules()), _parts(model.config)
    if modules.keys() != expected.keys():
        return f"the modules {', '.join(sorted(modules.keys() ^ expected.keys()))}"
    dtypes, devices = set(), set()
    for name, module in modules.items():
        found = _Part.of(module)
        if found != expected[name]:
            return f"{name or 'the model'} is not what its config makes"
        if (reason := hooked(module)) is not None:
            return f"{name or 'the model'} has {reason}"
        if isinstance(module, Linear) and module.product is not None and module.training:
            return f"{name} multiplies in its own way in training; call the model's eval()"
        if module.training and model.config.dropout:
            return "dropout in training; call the model's eval() to generate without"
        for weight in module._parameters.values():
            if weight is None:
                continue
            if not is_plain_parameter(weight):
                return f"{name} has a weight of type {type(weight).__name__}"
            dtypes.add(weight.dtype)
            devices.add(weight.device)
    if (
        isinstance(model.lm_head, TiedHead)
        and model.lm_head.tied_to[0] is not model.token_embeddings
    ):
        return "the head is tied to another embedding"
    if len(devices) > 1 or len(dtypes) > 1 or not dtypes <= set(_DTYPES):
        return "weights of several devices or dtypes, or of one that is not for decoding"
    return None


@dataclass(frozen=True)
class _Part:
    """A module without its values."""

    kind: type
    attributes: dict[str, Any]
    shapes: dict[str, tuple[int, ...] | None]

    @classmethod
    def of(cls, module: nn.Module) -> _Part:
        own = {k: v for k, v in vars(module).items() if k not in _IGNORED}
        tensors = {**module._parameters, **module._buffers}
        shapes = {k: None if v is None else tuple(v.shape) for k, v in tensors.items()}
        return cls(type(module), own, shapes)


@lru_cache(maxsize=8)
def _parts(config: ModelConfig) -> dict[str, _Part]:
    model = Transformer(config, device="meta")
    return {name: _Part.of(module) for name, module in model.named_modules()}
