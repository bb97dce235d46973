"""How fast a model reads prompts and writes, and how fast the device would let it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from bytemill.lm.device.runtime import synchronize
from bytemill.lm.generate.passes import Passes
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.lm.model.arguments import integer
from bytemill.lm.model.cache import KVCache
from bytemill.lm.model.cost import accounting

# More than caches hold; and a product that takes milliseconds.
_COPIED: Final = {"cpu": 256 << 20}
_COPIED_ELSEWHERE: Final = 1 << 30
_SIZE: Final = {"cpu": 1024}
_SIZE_ELSEWHERE: Final = 8192
_TRIES: Final = 5


@dataclass(frozen=True)
class Limits:
    """What a device does at best, as measured."""

    bytes_per_second: float
    """That memory reads and writes in a large copy."""
    flops_per_second: float
    """Of a large product of square matrices."""

    def seconds(self, flops: float, n_bytes: float) -> float:
        """What so much takes at least (the roofline; Williams et al. 2009,
        https://doi.org/10.1145/1498765.1498785)."""
        return max(flops / self.flops_per_second, n_bytes / self.bytes_per_second)


@dataclass(frozen=True)
class Speed:
    """Of one phase at one batch size."""

    phase: Literal["prefill", "decode"]
    batch_size: int
    tokens_per_second: float
    """Of all rows together."""
    limit: float
    """Tokens/s at the device's limits."""
    bound: Literal["memory", "compute"]
    """Which of them it would meet."""

    @property
    def share(self) -> float:
        """Of the limit. More than 1 is possible: caches are faster than memory."""
        return self.tokens_per_second / self.limit


@torch.inference_mode()
def device_limits(device: torch.device, dtype: torch.dtype) -> Limits:
    """Tries out the device; takes about a second.

    Args:
        device: Which.
        dtype: That products are computed in.
    """
    source = torch.ones(_COPIED.get(device.type, _COPIED_ELSEWHERE), dtype=torch.uint8).to(device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() / _best(lambda: target.copy_(source), device)
    size = _SIZE.get(device.type, _SIZE_ELSEWHERE)
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    return Limits(copied, 2 * size**3 / _best(lambda: matrix @ matrix, device))


@torch.inference_mode()
def measure(
    weights: DecodingWeights,
    limits: Limits,
    batch_size: int,
    *,
    n_prompt: int,
    n_new: int,
    runs: int = 3,
) -> tuple[Speed, Speed]:
    """Reads random prompts and adds tokens to them: the fastest of some runs of each.

    Args:
        weights: Of the model.
        limits: Of its device.
        batch_size: Rows at a time.
        n_prompt: Tokens of each prompt.
        n_new: Tokens added to each row, a pass for each.
        runs: How many; one before them is not counted.

    Returns:
        The speed of reading, and that of writing.

    Raises:
        TypeError: A number is not an integer.
        ValueError: One is below 1, or prompt and new tokens do not fit into the context.
    """
    config, device = weights.config, weights.device
    for name, value in (
        ("batch_size", batch_size), ("n_prompt", n_prompt), ("n_new", n_new), ("runs", runs)
    ):  # fmt: skip
        if integer(name, value) < 1:
            raise ValueError(f"{name}={value}: it must be at least 1")
    if (length := n_prompt + n_new) > config.context_length:
        raise ValueError(
            f"{n_prompt} tokens of a prompt and {n_new} new ones are {length}, but the model's "
            f"context length is {config.context_length}"
        )
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (batch_size, length), generator=generator).to(device)
    cache = KVCache(config, batch_size, length, device=device, dtype=weights.dtype)
    passes = Passes(weights)
    passes.look()

    def read() -> None:
        cache.reset()
        passes.read(ids[:, :n_prompt], cache)

    def write() -> None:
        cache.truncate(n_prompt)
        for at in range(n_prompt, length):
            passes.step(ids[:, at], cache)

    reading = _best(read, device, runs)
    writing = _best(write, device, runs)
    return (
        _speed("prefill", batch_size, n_prompt, reading, limits, *_prefill(weights, ids, n_prompt)),
        _speed("decode", batch_size, n_new, writing, limits, *_decode(weights, ids, n_prompt)),
    )


def _speed(
    phase: Literal["prefill", "decode"],
    batch_size: int,
    n: int,
    seconds: float,
    limits: Limits,
    flops: float,
    n_bytes: float,
) -> Speed:
    tokens = batch_size * n
    least = limits.seconds(flops, n_bytes)
    is_compute = limits.seconds(flops, 0) == least
    return Speed(
        phase, batch_size, tokens / seconds, tokens / least, "compute" if is_compute else "memory"
    )


def _prefill(weights: DecodingWeights, ids: Tensor, n_prompt: int) -> tuple[float, float]:
    """FLOPs and bytes of reading prompts; logits are computed of their last tokens alone."""
    config, batch_size = weights.config, len(ids)
    of = accounting.forward_flops(config, batch_size=batch_size, length=n_prompt)
    flops = of.total - of.head * (1 - 1 / n_prompt)
    kept = batch_size * n_prompt * _token_bytes(weights)
    return flops, _weight_bytes(weights) + kept


def _decode(weights: DecodingWeights, ids: Tensor, n_prompt: int) -> tuple[float, float]:
    """FLOPs and bytes of all passes: weights once for each, and what each row holds."""
    config, (batch_size, length) = weights.config, ids.shape
    flops = n_bytes = 0.0
    for held in range(n_prompt + 1, length + 1):
        flops += batch_size * accounting.decoding_flops_per_token(config, held)
        n_bytes += _weight_bytes(weights) + batch_size * held * _token_bytes(weights)
    return flops, n_bytes


def _weight_bytes(weights: DecodingWeights) -> int:
    """Of what every pass reads: all but the tables in which tokens are looked up."""
    of = accounting.count_parameters(weights.config)
    read = of.matrices + of.norms + of.biases + (of.head or of.embedding)
    return read * _width(weights)


def _token_bytes(weights: DecodingWeights) -> int:
    """Of a token's keys and values."""
    config = weights.config
    return 2 * config.n_layer * config.kv_width * _width(weights)


def _width(weights: DecodingWeights) -> int:
    return torch.empty(0, dtype=weights.dtype).element_size()


def _best(work: Callable[[], object], device: torch.device, runs: int = _TRIES) -> float:
    """The least seconds of several times, a first one left out."""
    found = []
    for _ in range(runs + 1):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        found.append(time.perf_counter() - began)
    return min(found[1:])
