"""What a model takes: parameters, memory, FLOPs, and days on a GPU.

python -m scripts.account --preset gpt --d-model 768 --n-layer 12 --n-head 12 --gpu H200
python -m scripts.account --model runs/first --memory 16 --tokens 1e9 --gpu 'RTX 4090'
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bytemill.cli import report
from bytemill.cli.command import EPILOG, exit_status
from bytemill.lm.checkpoint.loading import find_checkpoint
from bytemill.lm.device.gpus import GPUS, gpu
from bytemill.lm.model import accounting
from bytemill.lm.model.config import PRESETS, ModelConfig

_SIZES = ("d_model", "n_layer", "n_head", "n_kv_head", "d_ff", "vocab_size", "context_length")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m scripts.account",
        description="Count a model's parameters, memory and FLOPs, without making it. GPUs: "
        + ", ".join(gpu.name for gpu in GPUS)
        + ".",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--model", metavar="RUN", help="the model of a run or checkpoint, instead of the sizes")
    add("--preset", choices=PRESETS, default="gpt", help="(default: %(default)s)")
    defaults = {"d_model": 768, "n_layer": 12, "n_head": 12}
    defaults |= {"vocab_size": 32_768, "context_length": 1_024}
    for name in _SIZES:
        text = f"(default: {defaults.get(name, 'as the preset')})"
        add("--" + name.replace("_", "-"), type=int, metavar="N", help=text)
    result.set_defaults(fallback=defaults)
    add("--batch-size", type=int, default=1, metavar="N", help="micro-batch (default: %(default)s)")
    add(
        "--optimizer",
        choices=tuple(accounting.STATES),
        default="adamw",
        help="(default: %(default)s)",
    )
    add(
        "--dtype",
        choices=tuple(accounting.WIDTHS),
        default="bfloat16",
        help="to compute in; weights are float32 (default: %(default)s)",
    )
    add("--memory", type=float, metavar="GB", help="find the largest batch (default: the GPU's)")
    add("--tokens", type=float, metavar="N", help="to train on (default: 20 per parameter)")
    add("--gpu", metavar="NAME", help="days of training on it")
    add("--peak-flops", type=float, metavar="N", help="of a GPU that is not in the table")
    add("--gpus", type=int, default=1, metavar="N", help="(default: %(default)s)")
    add("--mfu", type=float, default=0.4, help="share of the peak (default: %(default)s)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "nothing was counted")


def run(args: argparse.Namespace) -> None:
    """Counts and prints."""
    config = config_of(args)
    of = accounting.count_parameters(config)
    forward = accounting.forward_flops(config)
    takes = accounting.training_memory(
        config, batch_size=args.batch_size, optimizer=args.optimizer, dtype=args.dtype
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
        (f"forward FLOPs, {length:,} tokens", f"{forward.total:.4g}"),
        ("  attention projections", share(forward.attention_projections, forward.total)),
        ("  attention scores", share(forward.attention_scores, forward.total)),
        ("  feed-forward", share(forward.feed_forward, forward.total)),
        ("  head", share(forward.head, forward.total)),
        ("training FLOPs per token", f"{accounting.training_flops_per_token(config):.4g}"),
        (f"training memory, batch {args.batch_size}", report.megabytes(round(takes.total))),
        ("  weights", share(takes.weights, takes.total, memory=True)),
        ("  gradients", share(takes.gradients, takes.total, memory=True)),
        (f"  {args.optimizer} states", share(takes.optimizer, takes.total, memory=True)),
        ("  activations", share(takes.activations, takes.total, memory=True)),
        ("  loss", share(takes.loss, takes.total, memory=True)),
        ("cached keys and values", f"{report.megabytes(cache)} for {length:,} tokens"),
    ]
    print(report.rows([*rows, *limits(args, config, of.total)]))


def limits(
    args: argparse.Namespace, config: ModelConfig, n_parameters: int
) -> list[tuple[str, str]]:
    """The largest batch, and days of training, if a memory or a GPU is given."""
    chosen = gpu(args.gpu) if args.gpu is not None else None
    memory = args.memory * 1e9 if args.memory is not None else chosen and chosen.memory_bytes
    rows = []
    if memory is not None:
        batch = accounting.largest_batch(config, memory, optimizer=args.optimizer, dtype=args.dtype)
        where = f"{memory / 1e9:g} GB, a tenth of them spare"
        rows.append(("largest batch", f"{batch:,} in {where}" if batch else f"none in {where}"))
    peak = args.peak_flops if args.peak_flops is not None else chosen and chosen.peak_flops
    if peak is not None:
        tokens = args.tokens if args.tokens is not None else 20.0 * n_parameters
        days = accounting.training_days(
            config, tokens, peak_flops=peak, mfu=args.mfu, n_gpus=args.gpus
        )
        name = chosen.name if chosen and args.peak_flops is None else f"{peak:.3g} FLOP/s"
        on = f"{args.gpus} x {name}, MFU {args.mfu:.0%}"
        rows.append(("training", f"{tokens:.3g} tokens, {days:.3g} days on {on}"))
        if chosen and args.peak_flops is None:
            rows.append(("", f"peak {peak / 1e12:g} TFLOP/s, {chosen.source}"))
    elif args.tokens is not None:
        raise ValueError("--tokens: days of training need a GPU; give --gpu or --peak-flops")
    return rows


def config_of(args: argparse.Namespace) -> ModelConfig:
    """The model that the flags describe."""
    given = {name: getattr(args, name) for name in _SIZES if getattr(args, name) is not None}
    if args.model is not None:
        if given:
            flag = "--" + next(iter(given)).replace("_", "-")
            raise ValueError(f"{flag}: the sizes come from --model; give one or the other")
        return ModelConfig.from_dict(find_checkpoint(args.model).model_config)
    return ModelConfig.preset(args.preset, **{**args.fallback, **given})


def share(part: float, whole: float, *, memory: bool = False) -> str:
    """A figure, and how much of the whole it is."""
    text = report.megabytes(round(part)) if memory else f"{part:,.0f}"
    if not memory and part >= 1e12:
        text = f"{part:.4g}"
    return f"{text} ({part / whole:.1%})"


if __name__ == "__main__":
    sys.exit(main())
