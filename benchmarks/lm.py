"""Training and decoding speed: bytemill's two presets and transformers' LlamaForCausalLM.

    python -m benchmarks.lm

On the CPU; `python -m bytemill.gpu_check` measures on a GPU.

Each measurement runs in a fresh process, `--runs` times, the libraries taking turns. Beforehand it
is checked that the `cs336` preset and Llama, with the same weights, compute the same: logits, three
losses of training, greedy text. Llama has the `cs336` preset's shape; the `gpt` preset has the same
layers, width and vocabulary. All are trained by the same torch.optim.AdamW (fused) in fp32.

    train    steps of a batch, forward to AdamW, tokens/s; two steps before are not timed
    decode   greedy text at batch 1 from a prompt of 16 tokens, tokens/s, prompt included

One line per run is added to `OUT/lm.jsonl`: `schema` (1), `benchmark`, `measurement`, `library`,
`preset`, `shape`, `batch_size`, `tokens` (timed), `run`, `version`, `seconds`,
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

TARGETS: Final = {"train": 1.3, "decode": 3.0}


class Row(NamedTuple):
    """One contestant."""

    library: str
    preset: str

    def __str__(self) -> str:
        return f"{self.library} {self.preset}"


ROWS: Final = (Row(OURS, "cs336"), Row(OURS, "gpt"), Row(THEIRS, "llama"))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks.lm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--runs", type=int, default=5)
    add("--only", help="measurements, comma-separated (default: all)")
    add("--d-model", type=int, default=384)
    add("--n-layer", type=int, default=6)
    add("--n-head", type=int, default=6)
    add("--vocab-size", type=int, default=8_192)
    add("--context-length", type=int, default=256)
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


def measure(bench: Bench) -> None:
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
        runs = bench.rounds(name, name, ROWS, n_tokens, arguments, args.runs)
        base = speeds(runs[ROWS[-1]], n_tokens)
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
    measure(bench)
    return 0 if bench.ok else 1


if __name__ == "__main__":
    sys.exit(main())
