"""What a model takes: parameters, FLOPs, memory, and days of a GPU.

FLOPs are those of the matrix products, 2 m n k for (m, k) @ (k, n), as in CS336's first assignment
and in appendix B of Chowdhery et al. 2022 (PaLM), https://arxiv.org/abs/2204.02311: element-wise
work is left out, attention counts all T x T scores though the causal half would do (T x window of a
layer that sees so many tokens, though masks leave more to compute), the backward pass is twice the
forward pass, and what is computed a second time to save memory is not counted.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final, Literal

from bytemill.lm.model.cost.activations import (
    FP32,
    ComputeDtype,
    activation_bytes_per_token,
    smear_gate,
    width_of,
)
from bytemill.lm.model.variants import VALUE_GATE_WIDTH

if TYPE_CHECKING:
    from bytemill.lm.model.config import ModelConfig

Optimizer = Literal["adamw", "muon", "sgd"]

# Numbers of fp32 that an optimizer keeps for each parameter: of the matrices in the layers, and of
# all others. Muon has a momentum for the former and leaves the latter to AdamW; what it keeps for
# rows and columns is not counted.
STATES: Final[dict[str, tuple[int, int]]] = {"adamw": (2, 2), "muon": (1, 2), "sgd": (0, 0)}
SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters, all layers together."""

    embedding: int
    """(V, C)."""
    attention: int
    """Query, key, value and output projections: 2 C (C + n_kv_head head_dim) each layer; and
    the gates of value embeddings, 12 n_kv_head where there are some."""
    feed_forward: int
    """2 C d_ff each layer, 3 C d_ff for SwiGLU."""
    norms: int
    """C for each norm with weights, and once more with biases: two each layer, one at the end;
    head_dim for those of heads."""
    head: int
    """(V, C); 0 if it is the embedding's."""
    value_embeddings: int = 0
    """(V, n_kv_head head_dim) in every other layer."""
    scalars: int = 0
    """Numbers by which the residual stream is mixed, and the gate of smear."""
    biases: int = 0
    """Of the matrices in the layers: a number for each row."""
    positions: int = 0
    """(T, C), where they are learned."""

    @property
    def matrices(self) -> int:
        """Those of the projections in the layers."""
        return self.attention + self.feed_forward

    @property
    def total(self) -> int:
        """All of them."""
        looked_up = self.embedding + self.value_embeddings + self.positions
        others = self.norms + self.scalars + self.biases
        return looked_up + self.matrices + self.head + others


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of matrix products."""

    attention_projections: float
    attention_scores: float
    """Queries with keys, and weights with values."""
    feed_forward: float
    head: float
    smear: float = 0.0
    """Of its gate."""

    @property
    def total(self) -> float:
        """All of them."""
        return float(sum(astuple(self)))

    def __mul__(self, factor: float) -> Flops:
        return Flops(*(part * factor for part in astuple(self)))


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes. What libraries, kernels and fragments take is not in it."""

    weights: float
    """fp32, and for bf16 the copies that autocast makes of the matrices."""
    gradients: float
    optimizer: float
    activations: float
    """What the forward pass keeps for the backward pass."""
    loss: float
    """Logits of one chunk of the loss, their gradient, and the gradient of the hidden states."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.fixed + self.activations + self.loss

    @property
    def fixed(self) -> float:
        """What does not grow with the batch."""
        return self.weights + self.gradients + self.optimizer


def count_parameters(config: ModelConfig) -> Parameters:
    """How many parameters a model of this config has, by kind."""
    width, layers = config.d_model, config.n_layer
    table, n_valued = config.padded_vocab_size * width, len(config.value_layers)
    gates = n_valued * min(width, VALUE_GATE_WIDTH) * config.n_kv_head
    scalars = layers * (config.resid_scalars + config.x0_scalars) + config.backout
    rows = 3 * width + 2 * config.kv_width + config.activation.n_up * config.d_ff
    return Parameters(
        embedding=table,
        attention=layers * 2 * width * (width + config.kv_width) + gates,
        feed_forward=layers * (config.activation.n_up + 1) * width * config.d_ff,
        norms=_norm_weights(config),
        head=0 if config.tie_embeddings else table,
        value_embeddings=n_valued * config.padded_vocab_size * config.kv_width,
        scalars=scalars + (smear_gate(config) + 1 if config.smear else 0),
        biases=layers * rows if config.bias else 0,
        positions=config.context_length * width if config.position == "learned" else 0,
    )


def forward_flops(config: ModelConfig, *, batch_size: int = 1, length: int | None = None) -> Flops:
    """FLOPs of the forward pass of `batch_size` sequences of `length` tokens.

    Args:
        config: The model.
        batch_size: B.
        length: T; the context length if None.

    Raises:
        ValueError: B or T is less than 1.
    """
    time = config.context_length if length is None else length
    _check("batch_size", batch_size)
    _check("length", time)
    of = count_parameters(config)
    tokens = batch_size * time
    return Flops(
        attention_projections=2.0 * tokens * of.attention,
        attention_scores=float(tokens * _score_flops(config, time)),
        feed_forward=2.0 * tokens * of.feed_forward,
        head=2.0 * tokens * _head(config),
        smear=2.0 * tokens * smear_gate(config),
    )


def training_flops_per_token(config: ModelConfig, length: int | None = None) -> float:
    """FLOPs of forward and backward pass for each token of sequences of `length` (T if None).

    With N the parameters of all matrices but the embedding, and no windows, it is
    6 N + 12 n_layer d_model T. A tied head counts as the matrix that it is.
    """
    time = config.context_length if length is None else length
    return 3 * forward_flops(config, length=time).total / time


def decoding_flops_per_token(config: ModelConfig, position: int) -> float:
    """FLOPs of the next token with keys and values cached, `position` tokens being there."""
    _check("position", position)
    of = count_parameters(config)
    weights = of.matrices + _head(config) + smear_gate(config)
    return 2.0 * weights + _score_flops(config, position)


def cache_bytes(
    config: ModelConfig,
    *,
    batch_size: int = 1,
    length: int | None = None,
    dtype: ComputeDtype = "float32",
) -> int:
    """Bytes of the keys and values of `batch_size` sequences of `length` (T if None) tokens."""
    time = config.context_length if length is None else length
    _check("batch_size", batch_size)
    per_token = 2 * config.n_layer * config.n_kv_head * config.head_dim * width_of(dtype)
    return batch_size * time * per_token


def training_memory(
    config: ModelConfig,
    *,
    batch_size: int,
    length: int | None = None,
    optimizer: Optimizer = "adamw",
    dtype: ComputeDtype = "float32",
    loss_chunk: int = 2048,
) -> Memory:
    """Bytes that a training step takes at most.

    Args:
        config: The model.
        batch_size: Sequences in a micro-batch, B.
        length: Tokens in a sequence; the context length if None.
        optimizer: "adamw" (two fp32 for each parameter), "muon" (one for the layers' matrices, two
            for the others) or "sgd" (none).
        dtype: What is computed in; weights, gradients and optimizer states are fp32.
        loss_chunk: Tokens whose logits are held at a time.

    Raises:
        ValueError: An argument is out of range.
    """
    time = config.context_length if length is None else length
    for name, value in (("batch_size", batch_size), ("length", time), ("loss_chunk", loss_chunk)):
        _check(name, value)
    if optimizer not in STATES:
        raise ValueError(f"optimizer={optimizer!r}: it must be one of {', '.join(STATES)}")
    of = count_parameters(config)
    width = width_of(dtype)
    copies = 0 if width == FP32 else width * (of.matrices + _head(config))
    of_matrix, of_other = STATES[optimizer]
    tokens = batch_size * time
    chunk = min(loss_chunk, tokens)
    # Which keys a layer with a window sees, as numbers that are added to its scores.
    n_masks = sum(window is not None and window < time for window in config.windows)
    masks = n_masks * time * time * width
    return Memory(
        weights=FP32 * of.total + copies,
        gradients=FP32 * of.total,
        optimizer=FP32 * (of_matrix * of.matrices + of_other * (of.total - of.matrices)),
        activations=tokens * activation_bytes_per_token(config, dtype) + masks,
        loss=2 * FP32 * chunk * config.padded_vocab_size + width * tokens * config.d_model,
    )


def largest_batch(
    config: ModelConfig,
    memory_bytes: float,
    *,
    length: int | None = None,
    optimizer: Optimizer = "adamw",
    dtype: ComputeDtype = "float32",
    loss_chunk: int = 2048,
    reserve: float = 0.1,
) -> int:
    """The most sequences whose training step fits; 0 if not even one does.

    Args:
        memory_bytes: What the device has.
        reserve: The share of it left for what `Memory` does not count.
        config, length, optimizer, dtype, loss_chunk: As for `training_memory`.

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0 <= reserve < 1:
        raise ValueError(f"reserve={reserve}: it is a share of the memory, from 0 to below 1")
    if not memory_bytes > 0:
        raise ValueError(f"memory_bytes={memory_bytes}: it must be more than 0")

    def fits(batch: int) -> bool:
        takes = training_memory(
            config,
            batch_size=batch,
            length=length,
            optimizer=optimizer,
            dtype=dtype,
            loss_chunk=loss_chunk,
        )
        return takes.total <= memory_bytes * (1 - reserve)

    if not fits(1):
        return 0
    high = 2
    while fits(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def training_days(
    config: ModelConfig,
    n_tokens: float,
    *,
    peak_flops: float,
    mfu: float,
    n_gpus: int = 1,
    length: int | None = None,
) -> float:
    """Days to train on `n_tokens` tokens.

    Args:
        config: The model.
        n_tokens: Tokens seen, repetitions included.
        peak_flops: What one GPU does at most; see `bytemill.lm.device.gpus`.
        mfu: Model FLOPs utilization, the share of the peak that is reached, above 0 up to 1.
        n_gpus: How many GPUs.
        length: T; the context length if None.

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu={mfu}: it is a share of the peak, above 0 up to 1 (0.4 for 40 %)")
    if not n_tokens > 0:
        raise ValueError(f"n_tokens={n_tokens}: it must be more than 0")
    if not peak_flops > 0:
        raise ValueError(f"peak_flops={peak_flops}: it must be more than 0")
    _check("n_gpus", n_gpus)
    flops = n_tokens * training_flops_per_token(config, length)
    return flops / (peak_flops * mfu * n_gpus) / SECONDS_PER_DAY


def _norm_weights(config: ModelConfig) -> int:
    heads = 2 * config.head_dim * (config.qk_norm and config.norm_weights)
    norms = 2 * config.n_layer * config.norms.in_blocks + config.embedding_norm
    norms += config.norms.final
    each = config.norm_weights + (config.norm == "layer" and config.bias)
    return config.n_layer * heads + norms * each * config.d_model


def _head(config: ModelConfig) -> int:
    """Numbers in the matrix that makes logits, whether it has them to itself or not."""
    return config.padded_vocab_size * config.d_model


def _score_flops(config: ModelConfig, keys: int) -> int:
    """Of one query in all layers, `keys` tokens being there: its scores, and the sum of values."""
    seen = sum(keys if window is None else min(window, keys) for window in config.windows)
    return 4 * config.n_head * config.head_dim * seen


def _check(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}={value}: it must be at least 1")
