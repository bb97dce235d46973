"""What the forward pass keeps for the backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from bytemill.lm.model.variants import SMEAR_GATE_WIDTH

if TYPE_CHECKING:
    from bytemill.lm.model.config import ModelConfig

ComputeDtype = Literal["float32", "bfloat16"]

FP32: Final = 4
WIDTHS: Final[dict[str, int]] = {"float32": 4, "bfloat16": 2}


def activation_bytes_per_token(config: ModelConfig, dtype: ComputeDtype = "float32") -> float:
    """What the forward pass keeps for the backward pass, in bytes for each token.

    That is what autograd holds for `Transformer`, uncompiled, the loss and windows' masks aside:
    attention keeps no T x T scores, and a norm its input, whatever has been made of it since.
    """
    width, narrow, norms = config.d_model, width_of(dtype), config.norms
    # The residual stream is what the embedding gives, fp32, or what a norm makes of it.
    stream = narrow if config.embedding_norm else FP32
    norm = _norm_bytes(config, stream)
    # Queries, keys, values, what attention makes of them, and the scores' logsumexp.
    attention = narrow * (2 * width + 2 * config.kv_width) + FP32 * config.n_head
    if config.qk_norm:
        attention += narrow * (width + config.kv_width) + FP32 * (config.n_head + config.n_kv_head)
    feed_forward = narrow * config.activation.kept * config.d_ff
    # Both also keep what they are given, which is a norm's output or the stream itself.
    layer = 2 * narrow * width + attention + feed_forward
    dropped = 0
    if config.dropout:  # what the numbers are multiplied by
        layer += 2 * narrow * width
        dropped = stream * width
    total = float(_norm_bytes(config, FP32)) if config.embedding_norm else 0.0
    total += _mixing_bytes(config, stream, narrow)
    total += dropped + config.n_layer * layer
    if norms.before:
        total += config.n_layer * 2 * norm
    if norms.after:
        # The first sees the stream as the embedding left it, the others what norms made of it.
        total += norm + (2 * config.n_layer - 1) * _norm_bytes(config, narrow)
    return total + norm if norms.final else total


def _norm_bytes(config: ModelConfig, stream: int) -> int:
    """What a norm keeps of numbers of `stream` bytes: its input and the reciprocal root mean
    square. LayerNorm's input is fp32, and it has a mean besides."""
    if config.norm == "layer":
        return FP32 * (config.d_model + 2)
    return stream * config.d_model + FP32


def _mixing_bytes(config: ModelConfig, stream: int, narrow: int) -> float:
    """What is kept of the refinements, in bytes for each token.

    A product keeps both factors where both have gradients: a number's share and the stream it is
    multiplied with, a gate and the vector that it lets in.
    """
    whole = stream * config.d_model
    streams = config.n_layer if config.resid_scalars else int(config.x0_scalars)
    # The layer after keeps it, if there is one that keeps its input as it comes.
    is_last = config.backout_layer == config.n_layer - 1
    is_kept = config.resid_scalars or (config.norms.before and not config.x0_scalars)
    if config.backout and (is_last or not is_kept):
        streams += 1
    total = float(streams * whole)
    if config.smear:
        # The vectors before, what the gate looks at (a view of the stream), and what it gives.
        looked_at = whole if stream == narrow else narrow * smear_gate(config)
        total += whole + looked_at + 2 * narrow
    of_layer = narrow * (config.kv_width + 2 * config.n_kv_head)
    return total + len(config.value_layers) * of_layer


def smear_gate(config: ModelConfig) -> int:
    """Numbers in the gate of smear."""
    return min(config.d_model, SMEAR_GATE_WIDTH) if config.smear else 0


def width_of(dtype: str) -> int:
    """Bytes of a number."""
    if dtype not in WIDTHS:
        raise ValueError(f"dtype={dtype!r}: it must be one of {', '.join(WIDTHS)}")
    return WIDTHS[dtype]
