"""What a report says: of a run with those before it, or of several runs side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from bytemill.lm.report.page import Page, Paragraph, Picture, Section, Table, Verbatim
from bytemill.lm.report.runs import RunRecord

PRICES: Final = {"H100": 3.0, "A100": 1.79}
"""Dollars an hour of one device, as they are let: nanochat's report counts with them, too."""


def figures(run: RunRecord, dollars_per_hour: float | None = None) -> dict[str, Any]:
    """A run's figures, fit for JSON; what is not known is None.

    Args:
        run: The run.
        dollars_per_hour: Of all its devices together; None for `PRICES`, where they are known.
    """
    price = price_of(run.machine) if dollars_per_hour is None else dollars_per_hour
    seconds = run.seconds
    return {
        "name": run.name,
        "stage": run.stage,
        "folder": str(run.folder),
        "machine": run.machine,
        "parameters": run.n_parameters,
        "steps": run.last.step,
        "tokens": run.tokens,
        "seconds": seconds,
        "dollars": None if price is None or seconds is None else price * seconds / 3600,
        "tokens_per_second": run.newest("tokens_per_second"),
        "loss": run.newest("loss"),
        "validation_loss": run.newest("val_loss"),
        "bits_per_byte": run.newest("val_bpb"),
        "best_step": run.checkpoint.step,
        "scores": scores(run),
    }


def price_of(machine: str | None) -> float | None:
    """Dollars an hour, of all processes' devices; None for devices that `PRICES` does not have."""
    known = next((price for name, price in PRICES.items() if name in (machine or "")), None)
    processes = re.search(r"(\d+) processes", machine or "")
    return None if known is None else known * (int(processes[1]) if processes else 1)


def scores(run: RunRecord) -> dict[str, float]:
    """What evaluations gave the run, by what is measured: shares of right answers, and means."""
    found: dict[str, float] = {}
    core = (run.base_eval or {}).get("core") or {}
    if "core" in core:
        # The mean of some tasks only goes by another name.
        found["the mean of CORE's tasks asked" if core.get("missing") else "CORE"] = core["core"]
    chat = run.chat_eval or {}
    for name, task in (chat.get("tasks") or {}).items():
        found[name] = task["score"]
    if chat.get("chat_core") is not None:
        found["ChatCORE"] = chat["chat_core"]
    return found


def contents(
    runs: Sequence[RunRecord],
    lost: str | None,
    picture: Path | None,
    dollars_per_hour: float | None = None,
) -> Page:
    """The report of a run.

    Args:
        runs: The run as the last, and before it those that it began with.
        lost: What the first one began with, if that is not there any more.
        picture: The loss curves.
        dollars_per_hour: As for `figures`.
    """
    known = [figures(run, dollars_per_hour) for run in runs]
    sections = [Section("In short", _short(runs, known, lost, picture)), _stages(known)]
    for run, own in zip(runs, known, strict=True):
        sections.append(_of_run(run, own))
    return Page(f"Report of {runs[-1].name}", sections)


def comparison(
    runs: Sequence[RunRecord], picture: Path | None, dollars_per_hour: float | None = None
) -> Page:
    """The report of several runs, side by side.

    Args:
        runs: The runs.
        picture: The loss curves of all.
        dollars_per_hour: As for `figures`.
    """
    known = [figures(run, dollars_per_hour) for run in runs]
    names = [own["name"] for own in known]
    if len(set(names)) < len(names):
        names = [own["folder"] for own in known]
    blocks = [_side_by_side(names, known)]
    sections = [Section("Side by side", [*blocks, *_pictures(picture)])]
    differing = _differences(runs)
    if differing:
        sections.append(
            Section("Settings that differ", [Table(("setting", *names), sorted(differing))])
        )
    return Page(f"Comparison of {len(runs)} runs", sections)


def _short(
    runs: Sequence[RunRecord],
    known: Sequence[dict[str, Any]],
    lost: str | None,
    picture: Path | None,
) -> list[Table | Paragraph | Picture]:
    last = known[-1]
    rows = [
        ("stages", " -> ".join(run.stage for run in runs)),
        ("parameters", _number(last["parameters"])),
        ("machine", last["machine"] or "?"),
        ("tokens trained on", _number(_sum(known, "tokens"))),
        ("time of training", duration(_sum(known, "seconds"))),
    ]
    if (dollars := _sum(known, "dollars")) is not None:
        rows.append(("cost", f"${dollars:,.2f}"))
    evaluated = sum(e.get("seconds", 0.0) for run in runs for e in _evaluations(run))
    if evaluated:
        rows.append(("time of evaluation", duration(evaluated)))
    blocks: list[Table | Paragraph | Picture] = [Table(("", ""), rows)]
    if lost is not None:
        blocks.append(Paragraph(f"The first stage began with {lost}, which is not there any more."))
    return [*blocks, *_pictures(picture)]


def _stages(known: Sequence[dict[str, Any]]) -> Section:
    """The table whose columns are the stages."""
    return Section("Stages", [_side_by_side([own["stage"].upper() for own in known], known)])


def _side_by_side(names: Sequence[str], known: Sequence[dict[str, Any]]) -> Table:
    rows = [
        ("parameters", *(_number(own["parameters"]) for own in known)),
        ("steps", *(_number(own["steps"]) for own in known)),
        ("tokens", *(_number(own["tokens"]) for own in known)),
        ("time", *(duration(own["seconds"]) for own in known)),
        ("tokens/s", *(_number(own["tokens_per_second"]) for own in known)),
        ("validation loss", *(_share(own["validation_loss"]) for own in known)),
        ("bits per byte", *(_share(own["bits_per_byte"]) for own in known)),
    ]
    measured = dict.fromkeys(name for own in known for name in own["scores"])
    rows += [(name, *(_share(own["scores"].get(name)) for own in known)) for name in measured]
    # What is not known of any of them says nothing.
    rows = [row for row in rows if any(cell != "" for cell in row[1:])]
    return Table(("", *names), rows)


def _of_run(run: RunRecord, own: dict[str, Any]) -> Section:
    rows = [
        ("folder", own["folder"]),
        ("machine", own["machine"] or "?"),
        ("computed in", str(run.last.extra.get("dtype", "?"))),
        ("best checkpoint", f"step {own['best_step']:,} of {own['steps']:,}"),
    ]
    if isinstance(tokenizer := run.last.extra.get("tokenizer"), str):
        rows.append(("tokenizer", tokenizer[:16]))
    commits = [f"{g['commit'][:12]}{', changed' if g['is_changed'] else ''}" for g in _gits(run)]
    if commits:
        rows.append(("evaluated at git commit", " and ".join(dict.fromkeys(commits))))
    rows += list(_settings(run).items())
    blocks: list[Any] = [Table(("", ""), rows)]
    if tasks := _task_rows(run):
        blocks.append(Table(("task", "items", "score", "centred"), tasks))
    for sample in (run.base_eval or {}).get("samples") or []:
        blocks.append(Verbatim(f"{sample['prompt']}{sample['text']}"))
    return Section(f"{run.stage.upper()}: {run.name}", blocks)


def _task_rows(run: RunRecord) -> list[tuple[str, ...]]:
    core = ((run.base_eval or {}).get("core") or {}).get("tasks") or {}
    rows = [
        (name, _number(one["items"]), _share(one["accuracy"]), _share(one["centred"]))
        for name, one in core.items()
    ]
    chat = (run.chat_eval or {}).get("tasks") or {}
    return rows + [
        (name, _number(one["items"]), _share(one["score"]), _share(one["centred"]))
        for name, one in chat.items()
    ]


def _evaluations(run: RunRecord) -> Iterable[dict[str, Any]]:
    return (found for found in (run.base_eval, run.chat_eval) if found)


def _gits(run: RunRecord) -> Iterable[dict[str, Any]]:
    return (found["git"] for found in _evaluations(run) if found.get("git"))


def _settings(run: RunRecord) -> dict[str, str]:
    """The settings by which a reader knows a run; all of them are in its config.json."""
    flat = _flat(run.config)
    shown = ("data", "init_from", "preset", "depth", "context_length", "batch_size", "seed")
    model = run.checkpoint.model_config
    found = {name: flat[name] for name in shown if flat.get(name) not in (None, "auto")}
    found |= {name: model[name] for name in ("n_layer", "d_model", "vocab_size") if name in model}
    return {name: str(value) for name, value in found.items()}


def _differences(runs: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    flats = [_flat(run.config) for run in runs]
    names = dict.fromkeys(name for flat in flats for name in flat)
    return [
        (name, *(str(flat.get(name, "")) for flat in flats))
        for name in names
        if name != "out" and len({str(flat.get(name)) for flat in flats}) > 1
    ]


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of all parts; where data come from is called "path" in its part."""
    found: dict[str, Any] = {}
    for part, fields in config.items():
        if isinstance(fields, dict):
            for name, value in fields.items():
                found["data" if (part, name) == ("data", "path") else name] = value
    return found


def _pictures(picture: Path | None) -> list[Picture]:
    return [] if picture is None else [Picture(picture, "loss over tokens")]


def _sum(known: Sequence[dict[str, Any]], figure: str) -> Any:
    """Of the runs' figures; None unless all are known."""
    values = [own[figure] for own in known]
    return None if None in values else sum(values)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def duration(seconds: float | None) -> str:
    """Seconds as hours, minutes and seconds."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
