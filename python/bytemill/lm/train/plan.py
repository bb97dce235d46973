"""One dial: from a depth to width, heads, batch, learning rates and horizon.

The rules are nanochat's (https://github.com/karpathy/nanochat, base_train): a width of 64 a layer;
heads of 128, of 64 in narrow models; a batch that grows with the tokens to be seen to the power of
0.383 (Bergsma et al. 2025, Power Lines, https://arxiv.org/abs/2505.13738) from 2^19 tokens at depth
12; learning rates that grow with the root of the batch. Whatever the configuration gives stays as
it is given. On a CPU batch and horizon are smaller; see `plan`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from bytemill.lm.model.accounting import count_parameters, training_flops_per_token
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.optim.groups import RATES, OptimConfig
from bytemill.lm.optim.schedule import Schedule, ScheduleConfig
from bytemill.lm.train.model_settings import ModelSettings, model_config

REFERENCE_DEPTH: Final = 12
REFERENCE_BATCH: Final = 1 << 19
"""Tokens in a step at the reference depth."""
TOKENS_PER_PARAMETER: Final = 20.0
"""Compute-optimal, as Hoffmann et al. 2022 (https://arxiv.org/abs/2203.15556) found."""
CPU_FLOPS: Final = 2e14
"""The most that the dial for CPUs trains with: from a quarter of an hour to an hour on two cores,
which reach 50 to 250 GFLOP/s."""
CPU_STEPS: Final = 512
"""What a CPU's run has at least, if its batch is not given and a row is short enough."""

Dial = Literal["cpu", "gpu"]
"""Whose defaults the dial takes; "gpu" is nanochat's."""
DIALS: Final[tuple[Dial, ...]] = get_args(Dial)

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
    width_scale: float
    """What default rates of AdamW were multiplied by for the width; 1 where that is off."""
    batch_scale: float
    """What all default rates were multiplied by for the batch; 1 where that is off."""

    @property
    def tokens_per_step(self) -> int:
        """B times T."""
        return self.batch_size * self.model.context_length

    @property
    def tokens(self) -> int:
        """Seen in the whole run."""
        return self.tokens_per_step * self.steps


def scaling_parameters(model: ModelConfig) -> int:
    """The parameters that tokens are counted by: all but the embedding, which is looked up."""
    of = count_parameters(model)
    return of.total - of.embedding


def plan(
    model_settings: ModelSettings,
    optimizer: OptimConfig,
    schedule: ScheduleConfig,
    n_vocab: int,
    *,
    dial: Dial = "gpu",
) -> Plan:
    """Settles what a run's configuration leaves open.

    The horizon is `steps`, or else `tokens_per_parameter`, or else `flops`, or else 20 tokens for
    each parameter. The dial for CPUs differs in two defaults, and leaves alone what is given:

    - The horizon takes no more than 2e14 FLOPs: a quarter of an hour to an hour on two cores.
      (Depth 4 with a vocabulary of 32,768 took 28 hours for 20 tokens per parameter.)
    - A step has no more than a 512th of the horizon's tokens, rounded down to a power of two, but
      at least one row: short runs need steps more than they need large batches.

    Args:
        model_settings, optimizer, schedule: The parts of the configuration that decide.
        n_vocab: Ids that the data can hold.
        dial: Whose defaults to take.

    Raises:
        ValueError: Sizes that do not go together, or a horizon of less than a step.
    """
    model = model_config(model_settings, n_vocab)
    flops_per_token = training_flops_per_token(model)
    tokens, ratio, name = _horizon(model, schedule, flops_per_token, dial)
    batch_size = schedule.batch_size or _batch_size(tokens, ratio, model, dial)
    per_step = batch_size * model.context_length
    steps = schedule.steps or round(tokens / per_step)
    if steps < 1:
        raise ValueError(
            f"{name}={getattr(schedule, name)}: that is {tokens:,.0f} tokens, less than one "
            f"step of {per_step:,} tokens; give more of it, a smaller batch_size, or steps"
        )
    warmup = schedule.warmup_steps
    if warmup is None:
        warmup = min(round(_WARMUP_SHARE * steps), _MOST_WARMUP)
    batch_scale = lr_scale(per_step) if optimizer.lr_batch_scaling else 1.0
    return Plan(
        model=model,
        optimizer=_optimizer(optimizer, model.d_model, batch_scale),
        schedule=Schedule(
            kind=schedule.kind,
            warmup_steps=warmup,
            total_steps=steps,
            final_fraction=schedule.final_fraction,
            decay_fraction=schedule.decay_fraction,
        ),
        batch_size=batch_size,
        steps=steps,
        n_params=count_parameters(model).total,
        flops_per_token=flops_per_token,
        width_scale=optimizer.width_scale(model.d_model),
        batch_scale=batch_scale,
    )


def _horizon(
    model: ModelConfig, schedule: ScheduleConfig, flops_per_token: float, dial: Dial
) -> tuple[float, float, str]:
    """Tokens to train on, the ratio to parameters that they stand for, and what gave them."""
    ratio = schedule.tokens_per_parameter or TOKENS_PER_PARAMETER
    tokens = ratio * scaling_parameters(model)
    if schedule.tokens_per_parameter is not None:
        return tokens, ratio, "tokens_per_parameter"
    if schedule.flops is not None:
        return schedule.flops / flops_per_token, ratio, "flops"
    if dial == "cpu":
        tokens = min(tokens, CPU_FLOPS / flops_per_token)
        tokens = max(tokens, (schedule.batch_size or 1) * model.context_length)
    return tokens, ratio, "tokens_per_parameter"


def _batch_size(tokens: float, ratio: float, model: ModelConfig, dial: Dial) -> int:
    """Rows, so that there is a power of two of tokens in a step."""
    reference = ModelSettings(depth=REFERENCE_DEPTH)
    at_reference = ratio * scaling_parameters(model_config(reference, model.vocab_size))
    batch = REFERENCE_BATCH * (tokens / at_reference) ** _BATCH_POWER
    power = round(math.log2(batch))
    if dial == "cpu":
        power = min(power, math.floor(math.log2(max(tokens / CPU_STEPS, 1))))
    return max(1, (1 << max(power, 0)) // model.context_length)


def lr_scale(tokens_per_step: int) -> float:
    """What the default learning rates are multiplied by for a batch of so many tokens.

    The root of the batch relative to the reference, as nanochat has it, but at least a half: on
    text with 2 layers and 2,048 tokens a step, 250 steps, lower rates than that were worse
    (validation loss 5.00 at a quarter, 4.84 at a half, 4.81 without scaling).
    """
    scale = math.sqrt(tokens_per_step / REFERENCE_BATCH)
    return max(scale, _LEAST_LR_SCALE)


def _optimizer(config: OptimConfig, width: int, scale: float) -> OptimConfig:
    """Learning rates that are given stay; the defaults go with width and batch."""
    full = config.resolved(width)
    scaled = {
        name: getattr(full, name) * scale
        for name in RATES.values()
        if getattr(config, name) is None
    }
    return replace(full, **scaled)
