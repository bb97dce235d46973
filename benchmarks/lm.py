"""Training and decoding speed: bytemill's two presets and transformers' LlamaForCausalLM.

    python -m benchmarks.lm                     # on the CPU
    python -m benchmarks.lm --device cuda       # on a GPU; --data SHARDS adds Muon against AdamW

Each measurement runs in a fresh process, `--runs` times, the libraries taking turns. Beforehand it
is checked that the `cs336` preset and Llama, with the same weights, compute the same: logits, three
losses of training, greedy text. Llama has the `cs336` preset's shape; the `gpt` preset has the same
layers, width and vocabulary. All are trained by the same torch.optim.AdamW (fused) in fp32.

    train    steps of a batch, forward to AdamW, tokens/s; two steps before are not timed
    decode   greedy text at batch 1 from a prompt of 16 tokens, tokens/s, prompt included

On a GPU, in bf16, 30 timed steps each: 12 layers of width 768, vocabulary 50,304, T 1024; the same
without compilation, and transformers' without; shapes of 350M and 560M parameters with their peak
memory; and how many steps Muon takes to the loss that AdamW has after 200.

One line per run is added to `OUT/lm.jsonl`: `schema` (1), `benchmark`, `measurement`, `library`,
`preset`, `compiled`, `shape`, `batch_size`, `tokens` (timed), `run`, `version`, `seconds`,
`peak_bytes`, `outcome`, `absent`, `error`, `machine`. The exit status is 1 if bytemill fails or is
not equal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.lm_jobs import OURS, THEIRS
from benchmarks.measure import Run, Spread, run_fresh, spread
from benchmarks.report import append_jsonl, machine, machine_line, table
from bytemill.lm import ModelConfig
from bytemill.lm.device.gpus import find_gpu
from bytemill.lm.model.accounting import count_parameters, training_flops_per_token

TARGETS: Final = {"train": 1.3, "decode": 3.0}
GPU_STEPS: Final = 30
LEARN_STEPS: Final = 200


class Row(NamedTuple):
    """One contestant."""

    library: str
    preset: str
    compiled: bool = False

    def __str__(self) -> str:
        how = ", compiled" if self.compiled else ""
        return f"{self.library} {self.preset}{how}"


CPU_ROWS: Final = (Row(OURS, "cs336"), Row(OURS, "gpt"), Row(THEIRS, "llama"))
GPU_ROWS: Final = (
    Row(OURS, "gpt", True),
    Row(OURS, "cs336", True),
    Row(OURS, "gpt"),
    Row(THEIRS, "llama"),
    Row(THEIRS, "llama", True),
)


def gpu_shape(n_layer: int, d_model: int) -> dict[str, int]:
    """Heads of 64, vocabulary 50,304, T 1024."""
    return {
        "vocab_size": 50_304,
        "context_length": 1_024,
        "d_model": d_model,
        "n_layer": n_layer,
        "n_head": d_model // 64,
    }


# Name -> shape and sequences in a batch.
GPU_SHAPES: Final = {
    "12 x 768": (gpu_shape(12, 768), 64),
    "350M": (gpu_shape(20, 1_024), 48),
    "560M": (gpu_shape(20, 1_280), 32),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks.lm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--runs", type=int, default=5)
    add("--only", help="measurements, comma-separated (default: all)")
    add("--d-model", type=int, default=384)
    add("--n-layer", type=int, default=6)
    add("--n-head", type=int, default=6)
    add("--vocab-size", type=int, default=8_192)
    add("--context-length", type=int, default=256)
    add("--batch-size", type=int, default=8)
    add("--steps", type=int, default=4, help="timed steps of training on the CPU")
    add("--new-tokens", type=int, default=200, help="tokens to decode")
    add("--cores", type=int, help="cores of each process (default: all)")
    add("--data", help="shards or a .npy file to compare Muon with AdamW on, on a GPU")
    add("--timeout", type=float, default=1800.0, help="seconds, of one process")
    add("--out", type=Path, default=Path("runs/benchmarks"))
    add("--markdown", action="store_true", help="print tables as Markdown")
    return result


class Bench:
    """The settings of one call, and what it has found."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.machine = machine()
        self.ok = True

    def fresh(self, job: str, library: str, arguments: dict[str, Any]) -> Run:
        """One process."""
        return run_fresh(
            f"benchmarks.lm_jobs:{job}",
            arguments,
            distribution="torch" if library == OURS else library,
            cores=self.args.cores,
            timeout=self.args.timeout,
            want_outcome=True,
        )

    def wants(self, name: str) -> bool:
        """Whether a measurement was asked for."""
        return self.args.only is None or name in self.args.only.split(",")

    def check(self, shape: dict[str, int]) -> None:
        """Equality, before any speed."""
        note("equality of bytemill cs336 and transformers")
        run = self.fresh("equality", THEIRS, {"shape": shape, "batch_size": 2})
        if run.outcome is None:
            print(f"equality not checked: {run.absent or run.error}")
            self.ok &= run.error is None
            return
        found = run.outcome
        print(
            f"equal: {'yes' if found['equal'] else 'NO'} (logits within {found['logits']:.1e} of "
            f"the largest, losses within {found['losses']:.1e}, greedy text "
            f"{'the same' if found['same_text'] else 'DIFFERENT'})"
        )
        self.ok &= bool(found["equal"])

    def rounds(
        self,
        measurement: str,
        job: str,
        rows: Sequence[Row],
        n_tokens: int,
        arguments: dict[str, Any],
        n_runs: int,
    ) -> dict[Row, list[Run]]:
        """Runs of each row, in turns; one that cannot run or fails is not repeated."""
        runs: dict[Row, list[Run]] = {row: [] for row in rows}
        for round_ in range(n_runs):
            for row in rows:
                if runs[row] and runs[row][-1].seconds is None:
                    continue
                note(f"{measurement}: {row}, run {round_ + 1} of {n_runs}")
                own = {"library": row.library, "preset": row.preset}
                if job == "train_on_gpu":
                    own["compiled"] = row.compiled  # type: ignore[assignment]
                run = self.fresh(job, row.library, {**own, **arguments})
                runs[row].append(run)
                self.ok &= row.library != OURS or run.error is None
                self.record(measurement, row, arguments, n_tokens, round_, run)
        return runs

    def record(
        self,
        measurement: str,
        row: Row,
        arguments: dict[str, Any],
        n_tokens: int,
        round_: int,
        run: Run,
    ) -> None:
        """Adds a line of JSON."""
        line = {
            "schema": 1,
            "benchmark": "lm",
            "measurement": measurement,
            **row._asdict(),
            "shape": arguments["shape"],
            "batch_size": arguments.get("batch_size", 1),
            "tokens": n_tokens,
            "run": round_,
            "version": run.version,
            "seconds": run.seconds,
            "peak_bytes": run.peak_bytes,
            "outcome": run.outcome,
            "absent": run.absent,
            "error": run.error,
            "machine": self.machine,
        }
        append_jsonl(self.args.out / "lm.jsonl", [line])

    def print_table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A titled table on standard output."""
        markdown = self.args.markdown
        print(f"\n**{title}**\n" if markdown else f"\n{title}")
        print(table(head, rows, markdown=markdown), flush=True)


def on_cpu(bench: Bench) -> None:
    """Training and decoding, on the CPU."""
    args = bench.args
    shape = {
        name: getattr(args, name)
        for name in ("vocab_size", "context_length", "d_model", "n_layer", "n_head")
    }
    bench.check(shape)
    where = ", ".join(f"{name} {value}" for name, value in shape.items())
    for name in TARGETS:
        if not bench.wants(name):
            continue
        arguments: dict[str, Any] = {"shape": shape}
        if name == "train":
            arguments |= {"batch_size": args.batch_size, "steps": args.steps}
            n_tokens = args.steps * args.batch_size * args.context_length
        else:
            arguments["n_new"] = n_tokens = args.new_tokens
        runs = bench.rounds(name, name, CPU_ROWS, n_tokens, arguments, args.runs)
        base = speeds(runs[CPU_ROWS[-1]], n_tokens)
        rows = []
        for row, done in runs.items():
            found = speeds(done, n_tokens)
            if found is None:
                rows.append([str(row), "", "", "", done[-1].absent or f"failed: {done[-1].error}"])
                continue
            ratio = "" if base is None else f"{found.median / base.median:.2f}"
            peak = max(run.peak_bytes or 0 for run in done) / 1e6
            rows.append([str(row), str(found), ratio, f"{peak:,.0f}", ""])
        head = ["model", "tokens/s", "x transformers", "peak MB", ""]
        aim = f"to reach: {TARGETS[name]} x"
        batch = f"batch {args.batch_size}" if name == "train" else "batch 1"
        bench.print_table(f"{name}, {batch}, {where} ({aim})", head, rows)


def on_gpu(bench: Bench) -> None:
    """Training on a GPU: speed, memory, and Muon's steps."""
    for name, (shape, batch_size) in GPU_SHAPES.items():
        if not bench.wants(name):
            continue
        is_first = name == next(iter(GPU_SHAPES))
        rows = GPU_ROWS if is_first else GPU_ROWS[:1]
        arguments = {"shape": shape, "batch_size": batch_size, "steps": GPU_STEPS}
        n_tokens = GPU_STEPS * batch_size * shape["context_length"]
        runs = bench.rounds(name, "train_on_gpu", rows, n_tokens, arguments, 1)
        cells = []
        for row, (run,) in runs.items():
            if run.outcome is None:
                cells.append([str(row), "", "", "", "", run.absent or f"failed: {run.error}"])
                continue
            preset = "cs336" if row.library == THEIRS else row.preset
            config = ModelConfig.preset(preset, **shape)  # type: ignore[arg-type]
            per_step = batch_size * shape["context_length"]
            found = spread([per_step / seconds for seconds in run.outcome["step_seconds"]])
            gpu = find_gpu(run.outcome["device"])
            rate = found.median * training_flops_per_token(config)
            mfu = f"{rate / gpu.peak_flops:.1%}" if gpu else ""
            cells.append(
                [
                    str(row),
                    f"{count_parameters(config).total / 1e6:.0f}M",
                    f"{found.median:,.0f} [{found.low:,.0f}-{found.high:,.0f}]",
                    mfu,
                    f"{run.outcome['peak_bytes'] / 2**30:.1f}",
                    run.outcome["device"],
                ]
            )
        head = ["model", "parameters", "tokens/s", "MFU", "peak GiB", "device"]
        bench.print_table(f"{name}, batch {batch_size} x 1024, bf16", head, cells)
    if bench.args.data and bench.wants("muon"):
        learn(bench)


def learn(bench: Bench) -> None:
    """How many steps Muon takes to AdamW's loss."""
    shape, batch_size = GPU_SHAPES["12 x 768"]
    arguments = {"shape": shape, "batch_size": batch_size, "steps": LEARN_STEPS}
    arguments["data"] = bench.args.data
    losses: dict[str, list[float]] = {}
    for kind in ("adamw", "muon"):
        note(f"{LEARN_STEPS} steps of {kind}")
        run = bench.fresh("learn_on_gpu", OURS, {"kind": kind, **arguments})
        n_tokens = LEARN_STEPS * batch_size * shape["context_length"]
        bench.record(f"learn {kind}", Row(OURS, "gpt", True), arguments, n_tokens, 0, run)
        if run.outcome is None:
            bench.ok = False
            print(f"{kind}: {run.absent or run.error}")
            return
        losses[kind] = smooth(run.outcome["losses"])
    aim = losses["adamw"][-1]
    steps = first_at_most(losses["muon"], aim)
    took = f"{steps}, {steps / LEARN_STEPS:.2f} x" if steps else f"more than {LEARN_STEPS}"
    rows = [["adamw", f"{aim:.3f}", str(LEARN_STEPS)], ["muon", f"{losses['muon'][-1]:.3f}", took]]
    head = ["optimizer", f"loss after {LEARN_STEPS} steps", "steps to AdamW's (to reach: 0.7 x)"]
    bench.print_table("Muon and AdamW, 12 x 768, the same batches", head, rows)


def smooth(losses: Sequence[float], width: int = 10) -> list[float]:
    """Means of the last `width` losses at each step."""
    return [
        sum(losses[max(0, i - width + 1) : i + 1]) / min(width, i + 1) for i in range(len(losses))
    ]


def first_at_most(losses: Sequence[float], aim: float) -> int | None:
    """The number of steps after which a loss is `aim` or less; None if it never is."""
    return next((i + 1 for i, loss in enumerate(losses) if loss <= aim), None)


def speeds(runs: Sequence[Run], n_tokens: int) -> Spread | None:
    """Tokens per second; None if nothing was timed."""
    found = [n_tokens / run.seconds for run in runs if run.seconds]
    return spread(found) if found else None


def note(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    bench = Bench(args)
    print(machine_line(bench.machine))
    if args.device == "cpu":
        on_cpu(bench)
    else:
        on_gpu(bench)
    return 0 if bench.ok else 1


if __name__ == "__main__":
    sys.exit(main())
