"""What each part of the recipe of 2026 is worth at equal seconds, on a small model.

    python -m benchmarks.recipe --text books.txt --minutes 5

Trains the `gpt` preset, the `nanochat-2026` preset, its model with the first optimizer, the first
model with its optimizer, and `nanochat-2026` without one part at a time. All have the same text,
tokenizer, validation rows, depth, rows in a step and minutes of processor time. First the speed of
each is measured, all making a step by turns (`--speeds-only` stops there); then each trains as many
steps as its speed allows in the minutes, so that every schedule is gone through to its end and what
else the machine does changes next to nothing. More `--threads` than one count together.

Run it again after a stop: speeds in `OUT/speeds.jsonl` and runs in `OUT/recipe.jsonl` are not made
again. One line per run: `schema` (2), `benchmark`, `name`, `fields`, `common` (what all runs
share), `seed`, `steps`, `tokens_per_second`, `n_params`, `loss`, `bits_per_byte`, `error`,
`machine`. At the end a table, best first: bits per byte, the difference to the whole recipe, and
with several seeds the range. The exit status is 1 if a run failed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.report import append_jsonl, machine, machine_line, note, table
from bytemill import BpeTrainer, Tokenizer
from bytemill.lm.train import TrainConfig, Trainer
from bytemill.lm.train.events import Event, Stepped

WHOLE: Final = "nanochat-2026"
_TRIAL_STEPS: Final = 15
_TRIAL: Final[dict[str, Any]] = {"steps": _TRIAL_STEPS, "eval_tokens": 1, "log_every": 1}
_WARM_UP: Final = 3

BASES: Final[dict[str, dict[str, Any]]] = {
    "gpt": {"preset": "gpt"},
    WHOLE: {"preset": WHOLE},
    "its model, gpt's optimizer": {"preset": WHOLE, "recipe": "gpt"},
    "gpt's model, its optimizer": {"preset": "gpt", "recipe": WHOLE},
}
WITHOUT: Final[dict[str, dict[str, Any]]] = {
    "value embeddings": {"value_embeddings": False},
    "resid scalars": {"resid_scalars": False},
    "x0 scalars": {"x0_scalars": False},
    "smear": {"smear": False},
    "backout": {"backout": False},
    "qk scale": {"qk_scale": 1.0},
    "RoPE base 100,000": {"rope_theta": 10_000.0},
    "windows": {"window_pattern": "L"},
    "its initial values": {"init": "normal"},
    "softcap": {"logit_softcap": None},
    "MuonEq": {"muon_row_norm": False},
    "norm as divisor": {"ns_divisor": "bound"},
    "Polar Express": {"ns_quintics": "best", "ns_steps": 8},
    "Muon+": {"muon_unit_norm": False},
    "NorMuon": {"muon_beta2": None},
    "cautious decay": {"muon_cautious": False},
    "decay of matrices": {"weight_decay": 0.0},
    "own betas": {"own_betas": False},
    "own decays": {"own_decays": False},
    "momentum schedule": {"momentum_start": None, "momentum_end": None},
    "decay schedule": {"decay_schedule": "constant"},
    "decay over 65 % (50 %)": {"decay_fraction": 0.5},
    "a rest of .05": {"final_fraction": 0.0},
    "freedom from clipping": {"grad_clip": 1.0},
    "Muon": {"optimizer": "adamw"},
}


def rows() -> dict[str, dict[str, Any]]:
    """Each run's name and the fields of `TrainConfig` that are its own."""
    return {**BASES, **{f"- {name}": {"preset": WHOLE, **off} for name, off in WITHOUT.items()}}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m benchmarks.recipe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--text", nargs="+", required=True, help="files that bytemill reads, of several documents")
    add("--separator", default="<|endoftext|>", help="between documents of plain text")
    add("--vocab-size", type=int, default=4096)
    add("--minutes", type=float, default=5.0, help="of processor time, each run")
    add("--speeds-only", action="store_true", help="measure each run's speed, and train none")
    add("--depth", type=int, default=4)
    add("--context-length", type=int, default=256)
    add("--batch-size", type=int, default=8)
    add("--eval-tokens", type=int, default=1 << 17)
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--device", default="cpu")
    add("--threads", type=int, default=1)
    add("--seeds", type=int, default=1, help="runs of each, with seeds from 0 on")
    add("--only", help="names of runs, comma-separated, with - for those without a part")
    add("--out", type=Path, default=Path("runs/benchmarks/recipe"))
    add("--markdown", action="store_true", help="print the table as Markdown")
    return result


def prepare(args: argparse.Namespace) -> dict[str, str]:
    """A tokenizer and shards of the text, made once; where they are."""
    folder = args.out / f"data-{args.vocab_size}"
    paths = {"data": str(folder / "shards"), "tokenizer": str(folder / "tokenizer")}
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        trainer = BpeTrainer(pattern="nanochat", special_tokens=[args.separator])
        trainer.feed_files(args.text)
        tokenizer: Tokenizer = trainer.train(args.vocab_size)
        tokenizer.save(paths["tokenizer"])
        tokenizer.encode_files(
            args.text, paths["data"], separator=args.separator, validation_fraction=0.05
        )
        (folder / "done").touch()
    return paths


def common_fields(args: argparse.Namespace) -> dict[str, Any]:
    """What all runs have alike, but for the data's place."""
    names = ("depth", "context_length", "batch_size", "eval_tokens", "dtype", "device", "threads")
    return {name: getattr(args, name) for name in names}


def measure(
    wanted: dict[str, dict[str, Any]],
    fields: dict[str, Any],
    args: argparse.Namespace,
    paths: dict[str, str],
) -> dict[str, float]:
    """Tokens a second of each run, by the median of a short trial's steps."""
    record = args.out / "speeds.jsonl"
    known = {
        line["name"]: line["tokens_per_second"]
        for line in _lines(record)
        if line["common"] == fields and line["fields"] == wanted.get(line["name"])
    }
    missing = [name for name in wanted if name not in known]
    trials = args.out / "trials"
    shutil.rmtree(trials, ignore_errors=True)
    took = _by_turns(
        {
            name: _config({**fields, **wanted[name]}, trials / str(i), paths)
            for i, name in enumerate(missing)
        }
    )
    shutil.rmtree(trials, ignore_errors=True)
    for name in missing:
        known[name] = (
            fields["batch_size"] * fields["context_length"] / statistics.median(took[name])
        )
        line: dict[str, Any] = {"name": name, "common": fields, "fields": wanted[name]}
        line |= {"tokens_per_second": known[name], "seconds": took[name]}
        append_jsonl(record, [line])
    return known


def _by_turns(configs: dict[str, TrainConfig]) -> dict[str, list[float]]:
    """Seconds of processor time of each step, all making one by turns: what else the machine does
    slows them alike."""
    took: dict[str, list[float]] = {name: [] for name in configs}
    turns = [threading.Semaphore(0) for _ in configs]
    failed: list[BaseException] = []

    def wait(i: int) -> None:
        turns[i].acquire()
        if failed:
            raise failed[0]

    def steps(i: int, name: str) -> None:
        began = 0.0

        def listen(event: Event) -> None:
            nonlocal began
            if isinstance(event, Stepped):
                took[name].append(time.process_time() - began)
                if i == 0:
                    note(f"speeds: step {len(took[name])} of {_TRIAL_STEPS}")
                turns[(i + 1) % len(turns)].release()
                wait(i)
                began = time.process_time()

        try:
            wait(i)
            Trainer(configs[name].but(**_TRIAL), on_event=listen).run()
        except BaseException as error:
            failed.append(error)
        finally:
            turns[(i + 1) % len(turns)].release()

    threads = [threading.Thread(target=steps, args=pair) for pair in enumerate(configs)]
    for thread in threads:
        thread.start()
    if turns:
        turns[0].release()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt as error:
        failed.insert(0, error)
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
    return {name: seconds[_WARM_UP:] for name, seconds in took.items()}


def train(
    fields: dict[str, Any], steps: int, folder: Path, paths: dict[str, str]
) -> dict[str, Any]:
    """One run; what it came to."""
    shutil.rmtree(folder, ignore_errors=True)
    trainer = Trainer(_config(fields, folder, paths).but(steps=steps))
    result = trainer.run()
    shutil.rmtree(folder)
    found = result.validation
    if found is None:
        raise ValueError("there is no text for validation; give more documents")
    return {
        "steps": result.step,
        "n_params": trainer.plan.n_params,
        "loss": found.loss,
        "bits_per_byte": found.bits_per_byte,
    }


def _config(fields: dict[str, Any], folder: Path, paths: dict[str, str]) -> TrainConfig:
    silent = {"eval_every": 0, "checkpoint_every": 0, "log_every": 100}
    return TrainConfig.of(out=str(folder), **silent, **paths, **fields)


def done_before(path: Path, common: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Runs that were made with the same settings, by name and seed; failed ones are made again."""
    return {
        (line["name"], line["seed"]): line
        for line in _lines(path)
        if line["common"] == common and line["error"] is None and line["fields"] == _own(line)
    }


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _own(line: dict[str, Any]) -> dict[str, Any] | None:
    """The fields that a run of that name has now."""
    return rows().get(line["name"])


def summary(found: Sequence[dict[str, Any]], *, markdown: bool) -> str:
    """The table: a line for each name, the best first."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for line in found:
        if line["error"] is None:
            by_name.setdefault(line["name"], []).append(line)
    means = {
        name: statistics.mean(line["bits_per_byte"] for line in lines)
        for name, lines in by_name.items()
    }
    cells = []
    for name in sorted(means, key=lambda name: means[name]):
        values = [line["bits_per_byte"] for line in by_name[name]]
        to_whole = f"{means[name] - means[WHOLE]:+.4f}" if WHOLE in means else ""
        spread = f"{max(values) - min(values):.4f}" if len(values) > 1 else ""
        first = by_name[name][0]
        sizes = [f"{first[key]:,}" for key in ("steps", "tokens_per_second", "n_params")]
        cells.append([name, f"{means[name]:.4f}", to_whole, spread, *sizes, str(len(values))])
    head = ["run", "bits per byte", "to whole", "range", "steps", "tokens/s", "parameters", "runs"]
    return table(head, cells, markdown=markdown)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    wanted = rows()
    if args.only is not None:
        chosen = [name.strip() for name in args.only.split(",")]
        if unknown := [name for name in chosen if name not in wanted]:
            raise SystemExit(f"--only {','.join(unknown)}: the runs are {', '.join(wanted)}")
        wanted = {name: wanted[name] for name in chosen}
    of_machine = machine()
    print(machine_line(of_machine))
    paths, common = prepare(args), common_fields(args)
    record = args.out / "recipe.jsonl"
    settings = {
        **common, "minutes": args.minutes, "text": args.text, "vocab_size": args.vocab_size
    }  # fmt: skip
    speeds = measure(wanted, common, args, paths)
    if args.speeds_only:
        rates = [[name, f"{speeds[name]:,.0f}"] for name in wanted]
        print(table(["run", "tokens/s"], rates, markdown=args.markdown))
        return 0
    found = done_before(record, settings)
    failed = False
    for seed in range(args.seeds):
        for name, own in wanted.items():
            if (name, seed) in found:
                continue
            note(f"{name}, seed {seed}: {len(found)} done")
            line: dict[str, Any] = {
                "schema": 2, "benchmark": "recipe", "name": name, "fields": own,
                "common": settings, "seed": seed, "error": None, "machine": of_machine,
                "tokens_per_second": round(speeds[name]),
            }  # fmt: skip
            per_step = args.batch_size * args.context_length
            steps = max(1, round(60 * args.minutes * speeds[name] / per_step))
            try:
                line |= train({**common, **own, "seed": seed}, steps, args.out / "run", paths)
            except ValueError as error:  # such as a loss that is not a number
                line["error"] = str(error)
                note(f"{name}: {error}")
                failed = True
            append_jsonl(record, [line])
            found[name, seed] = line
    print(summary(list(found.values()), markdown=args.markdown))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
