"""A model's parameters and FLOPs by component, and activations as CS336 counts them."""

from __future__ import annotations

from dataclasses import dataclass

from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.cost.accounting import count_parameters, forward_flops
from bytemill.lm.model.cost.activations import FP32


@dataclass(frozen=True)
class Component:
    """A part of the model, of all layers together."""

    name: str
    parameters: int
    flops: float
    """Of the forward pass's matrix products."""


def components(
    config: ModelConfig, *, batch_size: int = 1, length: int | None = None
) -> list[Component]:
    """Each projection, the two products of attention, the feed-forward matrices, head and rest.

    They add up to what `count_parameters` and `forward_flops` say; FLOPs are counted as there, and
    as in CS336 (assignment 1, problem transformer_accounting): 2 m n k for each product, with all
    T x T scores.

    Raises:
        ValueError: B or T is less than 1.
    """
    time = config.context_length if length is None else length
    flops = forward_flops(config, batch_size=batch_size, length=time)
    of = count_parameters(config)
    tokens = batch_size * time
    width, layers = config.d_model, config.n_layer

    def matrix(name: str, rows: int, columns: int) -> Component:
        n = layers * rows * columns
        return Component(name, n, 2.0 * tokens * n)

    result = [
        Component("embedding", of.embedding, 0.0),
        matrix("query", width, width),
        matrix("key", config.kv_width, width),
        matrix("value", config.kv_width, width),
        Component("scores (queries with keys)", 0, flops.attention_scores / 2),
        Component("scores with values", 0, flops.attention_scores / 2),
        matrix("output", width, width),
    ]
    ups = ["feed-forward up", "feed-forward gate"][: config.activation.n_up]
    result += [matrix(name, config.d_ff, width) for name in ups]
    result.append(matrix("feed-forward down", width, config.d_ff))
    result.append(Component("head", of.head, flops.head))
    rest = of.total - sum(part.parameters for part in result)
    result.append(
        Component("norms and others", rest, max(flops.total - sum(c.flops for c in result), 0.0))
    )
    return result


def cs336_activations(config: ModelConfig, batch_size: int, length: int | None = None) -> int:
    """Bytes of activations by the list of CS336's assignment 1, problem adamwAccounting, in fp32.

    Each layer keeps its two norms, the projections to queries, keys and values, the T x T scores
    and their softmax for each head, the sum of values, the output projection, the feed-forward
    layer's products and its activation; then the final norm, the logits and the loss of each token.
    `activation_bytes_per_token` has what this package keeps, which is less: no T x T scores.

    Raises:
        ValueError: B or T is less than 1.
    """
    time = config.context_length if length is None else length
    for name, value in (("batch_size", batch_size), ("length", time)):
        if value < 1:
            raise ValueError(f"{name}={value}: it must be at least 1")
    width = config.d_model
    attention = width + 2 * config.kv_width + 2 * config.n_head * time + 2 * width
    feed_forward = (config.activation.n_up + 1) * config.d_ff + width
    layer = 2 * width + attention + feed_forward
    per_token = config.n_layer * layer + width + config.vocab_size + 1
    return FP32 * batch_size * time * per_token
