"""One dial: from a depth to width, heads, batch, learning rates and horizon.

The rules are nanochat's (https://github.com/karpathy/nanochat, base_train): a width of 64 a layer;
heads of 128, of 64 in narrow models; a batch that grows with the tokens to be seen to the power of
0.383 (Bergsma et al. 2025, Power Lines, https://arxiv.org/abs/2505.13738) from 2^19 tokens at depth
12; learning rates that grow with the root of the batch. Where its first version and that of 2026
differ, the recipe decides (`OptimConfig.recipe`). Whatever the configuration gives stays as it is
given. On a CPU batch and horizon are smaller; see `plan`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.cost.accounting import count_parameters, training_flops_per_token
from bytemill.lm.optim.groups import RATES, OptimConfig, Recipe
from bytemill.lm.optim.schedule import Schedule, ScheduleConfig
from bytemill.lm.settings import AUTO
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
_2026: Final[Recipe] = "nanochat-2026"
_TOKENS_OF_2026: Final = 12.0
_MOMENTUM_WARMUP: Final = 400
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
    decay_scale: float
    """What the default weight decay of the matrices was multiplied by; 1 where that is off."""

    @property
    def grad_clip(self) -> float | None:
        """The most norm of all gradients; None for none."""
        most = self.optimizer.grad_clip
        return most if isinstance(most, float) else None

    @property
    def tokens_per_step(self) -> int:
        """B times T."""
        return self.batch_size * self.model.context_length

    @property
    def tokens(self) -> int:
        """Seen in the whole run."""
        return self.tokens_per_step * self.steps


def scaling_parameters(model: ModelConfig) -> int:
    """The parameters that tokens are counted by: all but embeddings, which are looked up, and the
    few numbers by which the residual stream is mixed."""
    of = count_parameters(model)
    return of.matrices + of.head + of.norms


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
    each parameter (12 in the recipe of 2026). The dial for CPUs differs in some defaults, and
    leaves alone what is given:

    - The horizon takes no more than 2e14 FLOPs: a quarter of an hour to an hour on two cores.
      (Depth 4 with a vocabulary of 32,768 took 28 hours for 20 tokens per parameter.)
    - A step has no more than a 512th of the horizon's tokens, rounded down to a power of two, but
      at least one row: short runs need steps more than they need large batches.
    - Rates are scaled by a half at least for the batch, in the recipe of 2026 as in the other.

    Args:
        model_settings, optimizer, schedule: The parts of the configuration that decide.
        n_vocab: Ids that the data can hold.
        dial: Whose defaults to take.

    Raises:
        ValueError: Sizes that do not go together, or a horizon of less than a step.
    """
    model = model_config(model_settings, n_vocab)
    recipe: Recipe = _2026 if model_settings.preset == _2026 else "gpt"
    full = optimizer.resolved(model.d_model, recipe)
    recipe = _2026 if full.recipe == _2026 else "gpt"
    growth = _growth(model, model_settings)
    flops_per_token = training_flops_per_token(model)
    tokens, ratio, name = _horizon(model, schedule, flops_per_token, dial, recipe)
    # The horizon as a share of that at the reference depth. In 2026 it is that of the ratio.
    share = growth if recipe == _2026 else tokens / (ratio * scaling_parameters(model)) * growth
    batch_size = schedule.batch_size or _batch_size(tokens, share, model, dial)
    per_step = batch_size * model.context_length
    steps = schedule.steps or round(tokens / per_step)
    if steps < 1:
        raise ValueError(
            f"{name}={getattr(schedule, name)}: that is {tokens:,.0f} tokens, less than one "
            f"step of {per_step:,} tokens; give more of it, a smaller batch_size, or steps"
        )
    least = full.lr_batch_least
    if optimizer.lr_batch_least is None and dial == "cpu":
        least = _LEAST_LR_SCALE
    batch_scale = lr_scale(per_step, least or 0.0) if optimizer.lr_batch_scaling else 1.0
    decay_scale = math.sqrt(per_step / REFERENCE_BATCH) / growth if full.decay_scaling else 1.0
    return Plan(
        model=model,
        optimizer=_optimizer(optimizer, full, batch_scale, decay_scale, least),
        schedule=_schedule(schedule, steps, recipe),
        batch_size=batch_size,
        steps=steps,
        n_params=count_parameters(model).total,
        flops_per_token=flops_per_token,
        width_scale=optimizer.width_scale(model.d_model),
        batch_scale=batch_scale,
        decay_scale=decay_scale,
    )


def _schedule(config: ScheduleConfig, steps: int, recipe: Recipe) -> Schedule:
    """Of that many steps; what is not given is the recipe's."""
    is_2026 = recipe == _2026
    usual = 40 if is_2026 else min(round(_WARMUP_SHARE * steps), _MOST_WARMUP)
    open_: dict[str, Any] = {
        "warmup_steps": min(usual, steps),
        "final_fraction": 0.05 if is_2026 else 0.0,
        "decay_fraction": 0.65 if is_2026 else 0.5,
        "momentum_start": 0.85 if is_2026 else None,
        "momentum_warmup_steps": _MOMENTUM_WARMUP,
        "momentum_end": 0.9 if is_2026 else None,
        "decay_schedule": "cosine" if is_2026 else "constant",
    }
    words = ("momentum_start", "momentum_end", "decay_schedule")
    for name in open_:
        value = getattr(config, name)
        if value != (AUTO if name in words else None):
            open_[name] = value
    decay = open_.pop("decay_schedule")
    return Schedule(kind=config.kind, total_steps=steps, decay=decay, **open_)


def _horizon(
    model: ModelConfig,
    schedule: ScheduleConfig,
    flops_per_token: float,
    dial: Dial,
    recipe: Recipe,
) -> tuple[float, float, str]:
    """Tokens to train on, the ratio to parameters that they stand for, and what gave them."""
    usual = _TOKENS_OF_2026 if recipe == _2026 else TOKENS_PER_PARAMETER
    ratio = schedule.tokens_per_parameter or usual
    tokens = ratio * scaling_parameters(model)
    if schedule.tokens_per_parameter is not None:
        return tokens, ratio, "tokens_per_parameter"
    if schedule.flops is not None:
        return schedule.flops / flops_per_token, ratio, "flops"
    if dial == "cpu":
        tokens = min(tokens, CPU_FLOPS / flops_per_token)
        tokens = max(tokens, (schedule.batch_size or 1) * model.context_length)
    return tokens, ratio, "tokens_per_parameter"


def _growth(model: ModelConfig, settings: ModelSettings) -> float:
    """How many times the parameters of the reference depth a model has: so many times its tokens,
    at one ratio."""
    preset = _2026 if settings.preset == _2026 else "gpt"
    reference = model_config(ModelSettings(preset=preset, depth=REFERENCE_DEPTH), model.vocab_size)
    return scaling_parameters(model) / scaling_parameters(reference)


def _batch_size(tokens: float, share: float, model: ModelConfig, dial: Dial) -> int:
    """Rows, so that there is a power of two of tokens in a step.

    Args:
        tokens: Of the whole run.
        share: The horizon over that of the reference depth.
        model, dial: As in `plan`.
    """
    batch = REFERENCE_BATCH * share**_BATCH_POWER
    power = round(math.log2(batch))
    if dial == "cpu":
        power = min(power, math.floor(math.log2(max(tokens / CPU_STEPS, 1))))
    return max(1, (1 << max(power, 0)) // model.context_length)


def lr_scale(tokens_per_step: int, least: float = _LEAST_LR_SCALE) -> float:
    """What the default learning rates are multiplied by for a batch of so many tokens.

    The root of the batch relative to the reference, as nanochat has it, but at least a half: on
    text with 2 layers and 2,048 tokens a step, 250 steps, lower rates than that were worse
    (validation loss 5.00 at a quarter, 4.84 at a half, 4.81 without scaling).
    """
    return max(math.sqrt(tokens_per_step / REFERENCE_BATCH), least)


def _optimizer(
    config: OptimConfig, full: OptimConfig, scale: float, decay_scale: float, least: float | None
) -> OptimConfig:
    """Learning rates and decay that are given stay; the defaults are scaled.

    Args:
        config: What is asked for.
        full: The same with defaults for the width.
        scale, decay_scale: What to multiply rates and decay by.
        least: What `scale` is at least.
    """
    scaled = {
        name: getattr(full, name) * scale
        for name in RATES.values()
        if getattr(config, name) is None
    }
    if config.weight_decay is None and full.weight_decay is not None:
        scaled["weight_decay"] = full.weight_decay * decay_scale
    return replace(full, lr_batch_least=least, **scaled)
