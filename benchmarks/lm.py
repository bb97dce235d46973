"""Training and decoding speed: bytemill's presets beside transformers' Llama and NanoChat models.

    python -m benchmarks.lm
    python -m benchmarks.lm --only nanochat,nanochat-bf16 --runs 3 --steps 6

On the CPU; `python -m bytemill.gpu_check` measures on a GPU.

Each measurement runs in a fresh process, `--runs` times, the libraries taking turns. Beforehand it
is checked that two models with the same weights compute the same: logits, three losses of training,
in fp32 also greedy text. All are trained by the same torch.optim.AdamW (fused), weights in fp32.

    train          steps of a batch, forward to AdamW, tokens/s; two steps before are not timed;
                   the `cs336` and `gpt` presets and LlamaForCausalLM, which is `cs336`, in fp32
    decode         the same models: greedy text at batch 1 from a prompt of 16 tokens, tokens/s,
                   prompt included
    nanochat       as train, at the shape that nanochat trains on a CPU (4 layers of 256, heads of
                   128): the `gpt` and `nanochat-2026` presets and NanoChatForCausalLM, which is
                   `gpt`, in fp32 (`nanochat-2026` is another model, with value embeddings)
    nanochat-bf16  the same under bf16 autocast

One line per run is added to `OUT/lm.jsonl`: `schema` (1), `benchmark`, `measurement`, `library`,
`preset`, `shape`, `dtype`, `batch_size`, `tokens` (timed), `run`, `version`, `seconds`,
`peak_bytes`, `outcome`, `absent`, `error`, `machine`. The exit status is 1 if bytemill fails or is
not equal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.lm_jobs import FP32, OURS, THEIRS
from benchmarks.lm_models import Shape
from benchmarks.measure import Run, Spread, run_fresh, spread
from benchmarks.report import append_jsonl, machine, machine_line, note, table


class Row(NamedTuple):
    """One contestant."""

    library: str
    preset: str

    def __str__(self) -> str:
        return f"{self.library} {self.preset}"


class Peer(NamedTuple):
    """A model of transformers', and what is measured beside it."""

    preset: str
    """Ours, which it equals."""
    rows: tuple[Row, ...]
    """The last one is the peer."""
    shape: Shape


class Measurement(NamedTuple):
    """What is timed."""

    job: str
    peer: str
    target: float
    dtype: str = FP32


PEERS: Final = {
    "llama": Peer(
        "cs336",
        (Row(OURS, "cs336"), Row(OURS, "gpt"), Row(THEIRS, "llama")),
        {"vocab_size": 8192, "context_length": 256, "d_model": 384, "n_layer": 6, "n_head": 6},
    ),
    "nanochat": Peer(
        "gpt",
        (Row(OURS, "gpt"), Row(OURS, "nanochat-2026"), Row(THEIRS, "nanochat")),
        {"vocab_size": 8192, "context_length": 256, "d_model": 256, "n_layer": 4, "n_head": 2},
    ),
}
MEASUREMENTS: Final = {
    "train": Measurement("train", "llama", 1.3),
    "decode": Measurement("decode", "llama", 3.0),
    "nanochat": Measurement("train", "nanochat", 1.4),
    "nanochat-bf16": Measurement("train", "nanochat", 2.0, "bfloat16"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks.lm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--runs", type=int, default=5)
    add("--only", help=f"of {', '.join(MEASUREMENTS)}, comma-separated (default: all)")
    for name in next(iter(PEERS.values())).shape:
        values = ", ".join(f"{peer} {of.shape[name]}" for peer, of in PEERS.items())
        add(f"--{name.replace('_', '-')}", type=int, help=f"default: {values}")
    add("--batch-size", type=int, default=8)
    add("--steps", type=int, default=4, help="timed steps of training")
    add("--new-tokens", type=int, default=200, help="tokens to decode")
    add("--cores", type=int, help="cores of each process (default: all)")
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

    def shape(self, peer: str) -> Shape:
        """A peer's, with what was given otherwise."""
        usual = PEERS[peer].shape
        given = {name: getattr(self.args, name) for name in usual}
        return {name: usual[name] if n is None else n for name, n in given.items()}

    def check(self, peer: str, dtype: str) -> None:
        """Equality, before any speed."""
        what = f"bytemill {PEERS[peer].preset} and transformers {peer}, {dtype}"
        note(f"equality of {what}")
        arguments = {"shape": self.shape(peer), "batch_size": 2, "peer": peer, "dtype": dtype}
        run = self.fresh("equality", THEIRS, arguments)
        if run.outcome is None:
            print(f"{what}: equality not checked: {run.absent or run.error}")
            self.ok &= run.error is None
            return
        found = run.outcome
        text = "the same" if found["same_text"] else "DIFFERENT"
        print(
            f"{what}, equal: {'yes' if found['equal'] else 'NO'} (logits within "
            f"{found['logits']:.1e} of the largest, losses within {found['losses']:.1e}"
            f"{f', greedy text {text}' if dtype == FP32 else ''})",
            flush=True,
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
            "dtype": arguments.get("dtype", FP32),
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


def measure(bench: Bench) -> None:
    """What was asked for, on the CPU."""
    wanted = MEASUREMENTS
    if (only := bench.args.only) is not None:
        if unknown := [name for name in only.split(",") if name not in MEASUREMENTS]:
            choices = ", ".join(MEASUREMENTS)
            raise SystemExit(f"--only {','.join(unknown)}: the measurements are {choices}")
        wanted = {name: MEASUREMENTS[name] for name in only.split(",")}
    for peer, dtype in dict.fromkeys((each.peer, each.dtype) for each in wanted.values()):
        bench.check(peer, dtype)
    for name, each in wanted.items():
        measure_one(bench, name, each)


def measure_one(bench: Bench, name: str, of: Measurement) -> None:
    """One measurement, and its table."""
    args, shape = bench.args, bench.shape(of.peer)
    arguments: dict[str, Any] = {"shape": shape}
    if of.job == "train":
        arguments |= {"batch_size": args.batch_size, "steps": args.steps, "dtype": of.dtype}
        n_tokens = args.steps * args.batch_size * shape["context_length"]
    else:
        arguments["n_new"] = n_tokens = args.new_tokens
    runs = bench.rounds(name, of.job, PEERS[of.peer].rows, n_tokens, arguments, args.runs)
    base = speeds(runs[PEERS[of.peer].rows[-1]], n_tokens)
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
    where = ", ".join(f"{field} {value}" for field, value in shape.items())
    batch = f"batch {args.batch_size}" if of.job == "train" else "batch 1"
    title = f"{name}, {of.dtype}, {batch}, {where} (to reach: {of.target} x)"
    bench.print_table(title, head, rows)


def speeds(runs: Sequence[Run], n_tokens: int) -> Spread | None:
    """Tokens per second; None if nothing was timed."""
    found = [n_tokens / run.seconds for run in runs if run.seconds]
    return spread(found) if found else None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    bench = Bench(args)
    print(machine_line(bench.machine))
    measure(bench)
    return 0 if bench.ok else 1


if __name__ == "__main__":
    sys.exit(main())
