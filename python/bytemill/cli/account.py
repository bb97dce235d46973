"""What a model takes: parameters, memory, FLOPs, days on a GPU, and the run the dial would plan.

bytemill account --depth 12 --vocab-size 32768 --gpu H200
bytemill account --depth 20 --world-size 8 --shard zero2 --components
bytemill account --model runs/first --memory 16 --tokens 1e9 --gpu 'RTX 4090'
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from bytemill.cli import formatting
from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.flags import add_flags, flag_of, given
from bytemill.cli.train import plan_rows
from bytemill.lm.checkpoint.loading import find_checkpoint
from bytemill.lm.device.gpus import GPUS, gpu
from bytemill.lm.distributed.costs import rank_costs
from bytemill.lm.distributed.layout import SHARDS
from bytemill.lm.model.config import ModelConfig
from bytemill.lm.model.cost import accounting
from bytemill.lm.model.cost.activations import FP32, WIDTHS
from bytemill.lm.model.cost.components import components, cs336_activations
from bytemill.lm.model.transformer import Transformer
from bytemill.lm.optim.groups import OptimConfig, model_groups, used_rates
from bytemill.lm.settings_tree import leaves
from bytemill.lm.train import TrainConfig
from bytemill.lm.train.model_settings import model_config
from bytemill.lm.train.plan import Dial, Plan, plan, scaling_parameters
from bytemill.lm.train.saved_run import configuration_of

_VOCABULARY: Final = 32_768
_HORIZONS: Final = ("steps", "flops", "tokens_per_parameter")
_PARTS: Final = {
    "model": f"model (vocab_size here: {_VOCABULARY} if not given)",
    "optimizer": "optimizer",
    "schedule": "schedule",
}


class Account(NamedTuple):
    """What is to be counted."""

    model: ModelConfig
    optimizer: accounting.Optimizer
    plan: Plan | None
    """The run; None for a checkpoint that no training run wrote."""


def parser(prog: str = "python -m scripts.account") -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog=prog,
        description="Count a model's parameters, memory and FLOPs, without making it, and show "
        f"the run that `train` would plan for it. GPUs: {', '.join(gpu.name for gpu in GPUS)}.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--model", metavar="RUN", help="the model of a run or checkpoint, instead of the sizes")
    add(
        "--dial",
        choices=("cpu", "gpu"),
        default="gpu",
        help="whose batch and horizon to plan with where they are not given (default: %(default)s)",
    )
    add(
        "--rows",
        type=int,
        default=1,
        metavar="N",
        help="rows computed at a time, whose memory is counted (default: %(default)s)",
    )
    add(
        "--dtype",
        choices=tuple(WIDTHS),
        default="bfloat16",
        help="to compute in; weights are float32 (default: %(default)s)",
    )
    add("--memory", type=float, metavar="GB", help="find the most rows (default: the GPU's)")
    add(
        "--tokens",
        type=float,
        metavar="N",
        help="tokens to train on, for the plan too (default: the plan's horizon)",
    )
    add("--gpu", metavar="NAME", help="days of training on it")
    add("--peak-flops", type=float, metavar="N", help="of a GPU that is not in the table")
    add("--gpus", type=int, default=1, metavar="N", help="number of GPUs (default: %(default)s)")
    add(
        "--world-size",
        type=int,
        metavar="N",
        help="number of processes that train together: show what each takes (default: not shown)",
    )
    add(
        "--shard",
        choices=SHARDS,
        default="zero2",
        help="how they share, as of train (default: %(default)s)",
    )
    add("--components", action="store_true", help="show each projection and product by itself")
    add(
        "--cs336",
        action="store_true",
        help="show the training memory by CS336's conventions, too: all in fp32, T x T scores kept",
    )
    add("--mfu", type=float, default=0.4, help="share of the peak (default: %(default)s)")
    add_flags(result, TrainConfig, _PARTS)
    return result


def main(argv: Sequence[str] | None = None, prog: str = "python -m scripts.account") -> int:
    """Runs the program; returns its exit status."""
    args = parser(prog).parse_args(argv)
    return exit_status(lambda: run(args), "nothing was counted")


def run(args: argparse.Namespace) -> None:
    """Counts and prints."""
    account = account_of(args)
    config, optimizer = account.model, account.optimizer
    of = accounting.count_parameters(config)
    forward = accounting.forward_flops(config)
    takes = accounting.training_memory(
        config, batch_size=args.rows, optimizer=optimizer, dtype=args.dtype
    )
    cache = accounting.cache_bytes(config, dtype=args.dtype)
    length = config.context_length
    rows = [
        ("parameters", f"{of.total:,}"),
        ("  embedding", share(of.embedding, of.total)),
        ("  attention", share(of.attention, of.total)),
        ("  feed-forward", share(of.feed_forward, of.total)),
        ("  norms", share(of.norms, of.total)),
        ("  head", share(of.head, of.total)),
        *(
            (f"  {name}", share(number, of.total))
            for name, number in (
                ("value embeddings", of.value_embeddings),
                ("scalars", of.scalars),
            )
            if number
        ),
        (
            f"forward FLOPs, {formatting.count(length, 'token')}",
            formatting.figure(forward.total, 4),
        ),
        ("  attention projections", share(forward.attention_projections, forward.total)),
        ("  attention scores", share(forward.attention_scores, forward.total)),
        ("  feed-forward", share(forward.feed_forward, forward.total)),
        ("  head", share(forward.head, forward.total)),
        (
            "training FLOPs per token",
            formatting.figure(accounting.training_flops_per_token(config), 4),
        ),
        (
            f"training memory, {formatting.count(args.rows, 'row')} at a time",
            formatting.megabytes(round(takes.total)),
        ),
        ("  weights", share(takes.weights, takes.total, memory=True)),
        ("  gradients", share(takes.gradients, takes.total, memory=True)),
        (f"  {optimizer} states", share(takes.optimizer, takes.total, memory=True)),
        ("  activations", share(takes.activations, takes.total, memory=True)),
        ("  loss", share(takes.loss, takes.total, memory=True)),
        (
            "cached keys and values",
            f"{formatting.megabytes(cache)} for {formatting.count(length, 'token')}",
        ),
    ]
    if args.components:
        rows += component_rows(config)
    if args.cs336:
        rows += cs336_rows(config, args.rows)
    if args.world_size is not None:
        rows += rank_rows(args, account)
    if account.plan is not None:
        rates = used_rates(account.plan.optimizer, config.d_model)
        of_model = model_groups(Transformer(config, device="meta"))
        rows += plan_rows(account.plan, {name: rates[name] for name in of_model})
    print(formatting.rows([*rows, *limits(args, account, of.total)]))


def component_rows(config: ModelConfig) -> list[tuple[str, str]]:
    """Parameters and FLOPs of each part of the model."""
    parts = components(config)
    n, flops = sum(part.parameters for part in parts), sum(part.flops for part in parts)
    rows = [("by component", "parameters; forward FLOPs")]
    for part in parts:
        rows.append((f"  {part.name}", f"{share(part.parameters, n)}; {share(part.flops, flops)}"))
    return rows


def cs336_rows(config: ModelConfig, batch_size: int) -> list[tuple[str, str]]:
    """AdamW's training memory as CS336's first assignment counts it."""
    weights = FP32 * accounting.count_parameters(config).total
    activations = cs336_activations(config, batch_size)
    total = 4 * weights + activations
    return [
        (f"by CS336, {formatting.count(batch_size, 'row')}", formatting.megabytes(total)),
        ("  weights", share(weights, total, memory=True)),
        ("  gradients", share(weights, total, memory=True)),
        ("  adamw states", share(2 * weights, total, memory=True)),
        ("  activations", share(activations, total, memory=True)),
    ]


def rank_rows(args: argparse.Namespace, account: Account) -> list[tuple[str, str]]:
    """What each of several processes takes."""
    size = args.world_size
    rows_each = -(-account.plan.batch_size // max(size, 1)) if account.plan else args.rows
    optimizer = account.plan.optimizer if account.plan else OptimConfig(kind=_kind(account))
    takes = rank_costs(
        account.model,
        optimizer,
        size,
        args.shard,
        rows=args.rows,
        micro_batches=-(-rows_each // args.rows),
        dtype=args.dtype,
    )
    return [
        (f"each of {size} processes, {args.shard}", formatting.megabytes(round(takes.total))),
        ("  weights", share(takes.weights, takes.total, memory=True)),
        ("  gradients", share(takes.gradients, takes.total, memory=True)),
        (f"  {account.optimizer} states", share(takes.optimizer, takes.total, memory=True)),
        ("  activations", share(takes.activations, takes.total, memory=True)),
        ("  loss", share(takes.loss, takes.total, memory=True)),
        ("  sends in a step", formatting.megabytes(round(takes.sent))),
    ]


def _kind(account: Account) -> Literal["muon", "adamw"]:
    return "muon" if account.optimizer == "muon" else "adamw"


def limits(args: argparse.Namespace, account: Account, n_parameters: int) -> list[tuple[str, str]]:
    """The most rows, and days of training, if a memory or a GPU is given."""
    config, optimizer = account.model, account.optimizer
    chosen = gpu(args.gpu) if args.gpu is not None else None
    memory = args.memory * 1e9 if args.memory is not None else chosen and chosen.memory_bytes
    rows = []
    if memory is not None:
        batch = accounting.largest_batch(config, memory, optimizer=optimizer, dtype=args.dtype)
        where = f"{formatting.figure(memory / 1e9, 6)} GB, a tenth of them spare"
        rows.append(("most rows", f"{batch:,} in {where}" if batch else f"none in {where}"))
    peak = args.peak_flops if args.peak_flops is not None else chosen and chosen.peak_flops
    if peak is not None:
        tokens = args.tokens
        if tokens is None:
            tokens = account.plan.tokens if account.plan else 20.0 * n_parameters
        days = accounting.training_days(
            config, tokens, peak_flops=peak, mfu=args.mfu, n_gpus=args.gpus
        )
        speed = f"{formatting.figure(peak / 1e12, 4)} TFLOP/s"
        name = chosen.name if chosen and args.peak_flops is None else speed
        on = f"{args.gpus} x {name}, MFU {args.mfu:.0%}"
        seen = formatting.count(round(tokens), "token")
        rows.append(("training", f"{seen}, {formatting.figure(days)} days on {on}"))
        if chosen and args.peak_flops is None:
            rows.append(("", f"peak {speed}, {chosen.source}"))
    elif args.tokens is not None and account.plan is None:
        raise ValueError("--tokens: days of training need a GPU; give --gpu or --peak-flops")
    return rows


def account_of(args: argparse.Namespace) -> Account:
    """The model that the flags describe, and its run."""
    flags = given(args, TrainConfig)
    dial: Dial = args.dial
    if args.model is None:
        config = TrainConfig.of(data="", out="", **flags)
        config = _with_tokens(config, args.tokens, flags, _VOCABULARY)
        planned = plan(config.model, config.optimizer, config.schedule, _VOCABULARY, dial=dial)
        return Account(planned.model, planned.optimizer.kind, planned)
    of_model = [name for name in flags if leaves(TrainConfig)[name].part == "model"]
    if of_model:
        raise ValueError(
            f"{flag_of(of_model[0])}: the sizes come from --model; give one or the other"
        )
    checkpoint = find_checkpoint(args.model)
    model = ModelConfig.from_dict(checkpoint.model_config)
    found = configuration_of(checkpoint)
    if found is None:
        return Account(model, OptimConfig(kind=flags.get("optimizer", "muon")).kind, None)
    config, dial = found
    config = _with_tokens(config.but(**flags), args.tokens, flags, model.vocab_size)
    planned = plan(config.model, config.optimizer, config.schedule, model.vocab_size, dial=dial)
    return Account(model, planned.optimizer.kind, planned)


def _with_tokens(
    config: TrainConfig, n_tokens: float | None, flags: dict[str, Any], n_vocab: int
) -> TrainConfig:
    """`config` with a horizon of `n_tokens`, which the flags must not give in another way."""
    if n_tokens is None:
        return config
    for name in _HORIZONS:
        if name in flags:
            raise ValueError(f"--tokens: {flag_of(name)} says how long to train, too; give one")
    model = model_config(config.model, n_vocab)
    least = (config.schedule.batch_size or 1) * model.context_length
    if not least <= n_tokens < math.inf:
        raise ValueError(f"--tokens {n_tokens:g}: a step alone takes {least:,} tokens")
    ratio = n_tokens / scaling_parameters(model)
    return config.but(**{**dict.fromkeys(_HORIZONS), "tokens_per_parameter": ratio})


def share(part: float, whole: float, *, memory: bool = False) -> str:
    """A figure, and how much of the whole it is."""
    text = formatting.megabytes(round(part)) if memory else f"{part:,.0f}"
    if not memory and part >= 1e12:
        text = formatting.figure(part, 4)
    return f"{text} ({part / whole:.1%})"


if __name__ == "__main__":
    sys.exit(main())
