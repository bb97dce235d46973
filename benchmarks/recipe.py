"""What each part of the recipe of 2026 is worth at equal seconds, on a small model.

    python -m benchmarks.recipe --text books.txt --minutes 5

Trains the `gpt` preset, the `nanochat-2026` preset, its model with the first optimizer, the first
model with its optimizer, and `nanochat-2026` without one part at a time. All have the same text,
tokenizer, validation rows, depth, rows in a step and minutes; each run's horizon is the number of
steps that its own speed allows, so that every schedule is gone through to its end. A run's minutes
begin with its first step and hold its validation.

Run it on a quiet machine, and again after a stop: runs that are in `OUT/recipe.jsonl` are not made
again. One line per run: `schema` (1), `benchmark`, `name`, `fields`, `common` (what all runs
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.report import append_jsonl, machine, machine_line, table
from bytemill import BpeTrainer, Tokenizer
from bytemill.lm.train import TrainConfig, Trainer
from bytemill.lm.train.events import Event, Stepped

WHOLE: Final = "nanochat-2026"
_TRIAL_STEPS: Final = 12

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
    add("--minutes", type=float, default=5.0, help="of training, each run")
    add("--depth", type=int, default=4)
    add("--context-length", type=int, default=256)
    add("--batch-size", type=int, default=8)
    add("--eval-tokens", type=int, default=1 << 17)
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--device", default="cpu")
    add("--threads", type=int)
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
    return {"minutes": args.minutes, **{name: getattr(args, name) for name in names}}


def train(fields: dict[str, Any], folder: Path, paths: dict[str, str]) -> dict[str, Any]:
    """One run; what it came to."""
    speed, params = _speed(fields, folder, paths)
    config = _config(fields, folder, paths)
    per_step = fields["batch_size"] * fields["context_length"]
    # A little more than there is time for: the limit draws the schedule together.
    steps = max(1, round(1.05 * 60 * fields["minutes"] * speed / per_step))
    result = Trainer(config.but(steps=steps)).run()
    shutil.rmtree(folder)
    found = result.validation
    if found is None:
        raise ValueError("there is no text for validation; give more documents")
    return {
        "steps": result.step,
        "tokens_per_second": round(result.step * per_step / (60 * fields["minutes"])),
        "n_params": params,
        "loss": found.loss,
        "bits_per_byte": found.bits_per_byte,
    }


def _speed(fields: dict[str, Any], folder: Path, paths: dict[str, str]) -> tuple[float, int]:
    """Tokens a second of a short trial, and the model's parameters."""
    shutil.rmtree(folder, ignore_errors=True)
    speeds: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, Stepped):
            speeds.append(event.tokens_per_second)

    config = _config(fields, folder, paths).but(steps=_TRIAL_STEPS, minutes=None, eval_tokens=1)
    trainer = Trainer(config, on_event=listen)
    trainer.run()
    shutil.rmtree(folder)
    return speeds[-1], trainer.plan.n_params


def _config(fields: dict[str, Any], folder: Path, paths: dict[str, str]) -> TrainConfig:
    silent = {"eval_every": 0, "checkpoint_every": 0, "log_every": 100}
    return TrainConfig.of(out=str(folder), **silent, **paths, **fields)


def done_before(path: Path, common: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Runs that were made with the same settings, by name and seed; failed ones are made again."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        (line["name"], line["seed"]): line
        for line in lines
        if line["common"] == common and line["error"] is None and line["fields"] == _own(line)
    }


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
    settings = {**common, "text": args.text, "vocab_size": args.vocab_size}
    found = done_before(record, settings)
    failed = False
    for seed in range(args.seeds):
        for name, own in wanted.items():
            if (name, seed) in found:
                continue
            note(f"{name}, seed {seed}: {len(found)} done")
            line: dict[str, Any] = {
                "schema": 1, "benchmark": "recipe", "name": name, "fields": own,
                "common": settings, "seed": seed, "error": None, "machine": of_machine,
            }  # fmt: skip
            try:
                line |= train({**common, **own, "seed": seed}, args.out / "run", paths)
            except ValueError as error:  # such as a loss that is not a number
                line["error"] = str(error)
                note(f"{name}: {error}")
                failed = True
            append_jsonl(record, [line])
            found[name, seed] = line
    print(summary(list(found.values()), markdown=args.markdown))
    return int(failed)


def note(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
