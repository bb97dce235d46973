"""One dial: from a depth to width, heads, batch, learning rates and horizon.

The rules are nanochat's (https://github.com/karpathy/nanochat, base_train): a width of 64 a layer;
heads of 128, of 64 in narrow models; a batch that grows with the tokens to be seen to the power of
0.383 (Bergsma et al. 2025, Power Lines, https://arxiv.org/abs/2505.13738) from 2^19 tokens at depth
12; learning rates that grow with the root of the batch. Whatever the configuration gives stays as
it is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from bytemill.lm.model.accounting import count_parameters, training_flops_per_token
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.optim.groups import OptimConfig
from bytemill.lm.optim.schedule import Schedule
from bytemill.lm.train.config import TrainConfig

WIDTH_PER_LAYER: Final = 64
REFERENCE_DEPTH: Final = 12
REFERENCE_BATCH: Final = 1 << 19
"""Tokens in a step at the reference depth."""
TOKENS_PER_PARAMETER: Final = 20.0
"""Compute-optimal, as Hoffmann et al. 2022 (https://arxiv.org/abs/2203.15556) found."""
DEFAULT_DEPTH: Final = 4
_BATCH_POWER: Final = 0.383
_LEAST_LR_SCALE: Final = 0.5
_WARMUP_SHARE: Final = 0.02
_MOST_WARMUP: Final = 100


@dataclass(frozen=True)
class Plan:
    """A run with nothing left open."""

    model: ModelConfig
    optimizer: OptimConfig
    schedule: Schedule
    batch_size: int
    """Rows in an optimizer step, B."""
    steps: int
    n_params: int
    flops_per_token: float
    """Of training, forward and backward."""

    @property
    def tokens_per_step(self) -> int:
        """B times T."""
        return self.batch_size * self.model.context_length

    @property
    def tokens(self) -> int:
        """Seen in the whole run."""
        return self.tokens_per_step * self.steps


def model_config(config: TrainConfig, n_vocab: int) -> ModelConfig:
    """The model's shape: what is given, and the rest from the depth.

    Args:
        config: The run's configuration.
        n_vocab: Ids that the data can hold, taken for the vocabulary if no size is given.

    Raises:
        ValueError: Sizes that do not go together; the message names them.
    """
    depth = config.depth or config.n_layer or DEFAULT_DEPTH
    width = config.d_model or WIDTH_PER_LAYER * depth
    return ModelConfig.preset(
        config.preset,
        vocab_size=config.vocab_size or n_vocab,
        context_length=config.context_length,
        d_model=width,
        n_layer=config.n_layer or depth,
        n_head=config.n_head or _heads(width),
        n_kv_head=config.n_kv_head,
        d_ff=config.d_ff,
        rope_theta=config.rope_theta,
    )


def _heads(width: int) -> int:
    for size in (128, 64) if width >= WIDTH_PER_LAYER * REFERENCE_DEPTH else (64, 32):
        if width % size == 0:
            return width // size
    return 1


def scaling_parameters(model: ModelConfig) -> int:
    """The parameters that tokens are counted by: all but the embedding, which is looked up."""
    of = count_parameters(model)
    return of.total - of.embedding


def plan(config: TrainConfig, n_vocab: int) -> Plan:
    """Settles what the configuration leaves open.

    The horizon is `steps`, or else `tokens_per_parameter`, or else `flops`, or else 20 tokens for
    each parameter.

    Args:
        config: The run's configuration.
        n_vocab: Ids that the data can hold.

    Raises:
        ValueError: Sizes that do not go together, or a horizon of less than a step.
    """
    model = model_config(config, n_vocab)
    flops_per_token = training_flops_per_token(model)
    ratio = config.tokens_per_parameter or TOKENS_PER_PARAMETER
    tokens = ratio * scaling_parameters(model)
    given = config.tokens_per_parameter is not None
    if config.flops is not None and not given:
        tokens = config.flops / flops_per_token
    batch_size = config.batch_size or _batch_size(tokens, ratio, model)
    per_step = batch_size * model.context_length
    steps = config.steps or round(tokens / per_step)
    if steps < 1:
        name = "tokens_per_parameter" if given else "flops"
        raise ValueError(
            f"{name}={getattr(config, name)}: that is {tokens:.3g} tokens, less than one step of "
            f"{per_step} tokens; give more of it, a smaller batch_size, or steps"
        )
    warmup = config.warmup_steps
    if warmup is None:
        warmup = min(round(_WARMUP_SHARE * steps), _MOST_WARMUP)
    schedule = Schedule(
        kind=config.schedule,
        warmup_steps=warmup,
        total_steps=steps,
        final_fraction=config.final_fraction,
        decay_fraction=config.decay_fraction,
    )
    return Plan(
        model=model,
        optimizer=_optimizer(config, per_step),
        schedule=schedule,
        batch_size=batch_size,
        steps=steps,
        n_params=count_parameters(model).total,
        flops_per_token=flops_per_token,
    )


def _batch_size(tokens: float, ratio: float, model: ModelConfig) -> int:
    """Rows, so that there is a power of two of tokens in a step."""
    reference = TrainConfig(data="", out="", depth=REFERENCE_DEPTH)
    at_reference = ratio * scaling_parameters(model_config(reference, model.vocab_size))
    batch = REFERENCE_BATCH * (tokens / at_reference) ** _BATCH_POWER
    return max(1, int(2 ** round(math.log2(batch))) // model.context_length)


def lr_scale(tokens_per_step: int) -> float:
    """What the default learning rates are multiplied by for a batch of so many tokens.

    The root of the batch relative to the reference, as nanochat has it, but at least a half: on
    text with 2 layers and 2,048 tokens a step, 250 steps, lower rates than that were worse
    (validation loss 5.00 at a quarter, 4.84 at a half, 4.81 without scaling).
    """
    scale = math.sqrt(tokens_per_step / REFERENCE_BATCH)
    return max(scale, _LEAST_LR_SCALE)


def _optimizer(config: TrainConfig, tokens_per_step: int) -> OptimConfig:
    """Learning rates that are given stay; the defaults go with the batch."""
    scale = lr_scale(tokens_per_step)
    default = OptimConfig(kind=config.optimizer).resolved()
    rates: dict[str, Any] = {}
    for name in ("embedding_lr", "head_lr", "matrix_lr", "vector_lr"):
        own, usual = getattr(config, name), getattr(default, name)
        rates[name] = usual * scale if own is None else own
    betas = default.betas or (0.9, 0.95)
    return OptimConfig(
        kind=config.optimizer,
        betas=(
            betas[0] if config.beta1 is None else config.beta1,
            betas[1] if config.beta2 is None else config.beta2,
        ),
        eps=default.eps if config.eps is None else config.eps,
        weight_decay=default.weight_decay if config.weight_decay is None else config.weight_decay,
        momentum=config.momentum,
        **rates,
    ).resolved()
