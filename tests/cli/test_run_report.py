"""`bytemill report`: a chain of runs on one page, several side by side, and bad input."""

import json

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.report import chain, figures, read_run
from bytemill.lm.report.contents import duration, price_of
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import call, is_one_line


def make_run(folder, program, init_from=None, *, seconds=90.0, machine="cpu, 2 threads"):
    """A run's folder of two steps, without having trained."""
    model = small_model("cs336", vocab_size=64, context_length=16)
    loop = {"pace": {"seconds": seconds}}
    CheckpointStore(folder).save(
        2, model, [torch.optim.SGD(model.parameters(), lr=1.0)],
        model_config=model.config.to_dict(), metrics={"val_loss": 1.0},
        extra={"loop": loop, "machine": machine, "dtype": "float32"},
    )  # fmt: skip
    config = {
        "format": f"bytemill-{program}-config",
        "version": 1,
        "data": {"path": "corpus"},
        "run": {"out": str(folder), "init_from": init_from, "seed": 0},
    }
    (folder / "config.json").write_text(json.dumps(config))
    rows = [
        {"step": 1, "tokens": 500, "loss": 3.0, "tokens_per_second": 900},
        {"step": 2, "tokens": 1000, "loss": 2.0, "tokens_per_second": 1000},
        {"step": 2, "tokens": 1000, "val_loss": 2.5, "val_bpb": 1.25},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def runs(tmp_path):
    """A base model and what became of it."""
    base = make_run(tmp_path / "base", "train")
    sft = make_run(tmp_path / "sft", "sft", str(base / "checkpoints" / "step-00000002"))
    (base / "evaluation").mkdir()
    core = {
        "core": 0.125, "missing": [],
        "tasks": {"copa": {"items": 100, "accuracy": 0.55, "centred": 0.1}},
    }  # fmt: skip
    samples = [{"prompt": "The capital", "text": " of <b>France"}]
    (base / "evaluation" / "base.json").write_text(
        json.dumps({"core": core, "samples": samples, "seconds": 30})
    )
    (sft / "evaluation").mkdir()
    git = {"commit": "0123456789abcdef", "is_changed": True}
    tasks = {"gsm8k": {"items": 10, "score": 0.25, "centred": 0.25}}
    (sft / "evaluation" / "chat.json").write_text(
        json.dumps({"tasks": tasks, "chat_core": 0.5, "seconds": 30, "git": git})
    )
    return tmp_path


def rows_of(markdown, title):
    """A section's first table: the cells by the row's name."""
    section = markdown.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_a_chain_of_runs(runs, capsys):
    status, out, err = call(capsys, "report", runs / "sft", "--dollars-per-hour", 4)
    assert (status, out, err) == (0, f"{runs / 'sft' / 'report' / 'report.html'}\n", "")
    text = (runs / "sft" / "report" / "report.md").read_text()
    stages = rows_of(text, "Stages")
    assert stages[""] == ["BASE", "SFT"]
    assert stages["CORE"] == ["0.1250", ""] and stages["gsm8k"] == ["", "0.2500"]
    assert stages["ChatCORE"] == ["", "0.5000"] and stages["bits per byte"] == ["1.2500"] * 2
    short = rows_of(text, "In short")
    assert short["stages"] == ["base -&#62; sft"] and short["tokens trained on"] == ["2,000"]
    # Twice 90 s at $4 an hour.
    assert short["time of training"] == ["3 min 00 s"] and short["cost"] == ["$0.20"]
    assert short["time of evaluation"] == ["1 min 00 s"]
    assert rows_of(text, "SFT: sft")["evaluated at git commit"] == ["0123456789ab, changed"]
    assert "The capital of <b>France" in text
    page = (runs / "sft" / "report" / "report.html").read_text()
    assert "The capital of &lt;b&gt;France" in page and "<b>" not in page
    whole = json.loads((runs / "sft" / "report" / "report.json").read_text())
    assert [one["stage"] for one in whole["runs"]] == ["base", "sft"]
    assert whole["runs"][1]["scores"] == {"gsm8k": 0.25, "ChatCORE": 0.5}
    assert whole["runs"][0]["dollars"] == pytest.approx(0.1)


def test_several_side_by_side(runs, capsys):
    out = runs / "both"
    assert call(capsys, "report", runs / "base", runs / "sft", "--out", out)[0] == 0
    text = (out / "report.md").read_text()
    side = rows_of(text, "Side by side")
    assert side[""] == ["base", "sft"] and side["steps"] == ["2", "2"]
    differing = rows_of(text, "Settings that differ")
    assert set(differing) == {"setting", "---", "format", r"init\_from"} - {"format"}


def test_a_stage_whose_beginning_is_gone(runs):
    lost = make_run(runs / "rl", "rl", str(runs / "nowhere"))
    found, gone = chain(lost)
    assert [run.stage for run in found] == ["rl"] and gone == str(runs / "nowhere")


def test_runs_that_begin_with_each_other_end(runs):
    first = make_run(runs / "a", "sft", str(runs / "b"))
    make_run(runs / "b", "sft", str(first))
    found, gone = chain(first)
    assert [run.name for run in found] == ["b", "a"] and gone == str(first)


def test_what_is_not_known_is_left_out(runs):
    run = make_run(runs / "x", "mid-train", seconds=None)
    (run / "metrics.jsonl").write_text("")
    known = figures(read_run(run))
    assert known["stage"] == "mid" and known["scores"] == {}
    assert known["seconds"] is known["dollars"] is known["tokens"] is known["loss"] is None


def test_prices_and_durations():
    assert price_of("NVIDIA H100 80GB HBM3, 8 processes, torch 2") == 24.0
    assert price_of("NVIDIA A100-SXM4, torch 2") == 1.79
    assert price_of("cpu, 2 threads") is None
    assert [duration(x) for x in (59.6, 3599, 13860)] == [
        "1 min 00 s", "59 min 59 s", "3 h 51 min",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "more", "told"),
    [
        (["base", "sft"], [], "error: --out: missing; name a folder for the report of 2 runs"),
        (["none"], [], "there is no config.json in it; name the folder of a run"),
        (["base"], ["--dollars-per-hour", "nan"], "--dollars-per-hour nan: it must be a number"),
        (["base"], ["--out", "base/config.json"], "it exists and is not a folder"),
        ([], [], "the following arguments are required: RUN"),
    ],
)
def test_bad_input_is_one_line(runs, capsys, names, more, told):
    more = [runs / word if "/" in word else word for word in more]
    status, out, err = call(capsys, "report", *(runs / name for name in names), *more)
    assert (status, out) == (2, "")
    is_one_line(err, told)


def test_a_damaged_evaluation_is_named(runs, capsys):
    (runs / "sft" / "evaluation" / "chat.json").write_text("{")
    status, _, err = call(capsys, "report", runs / "sft")
    assert status == 2
    is_one_line(err, "chat.json: it is not a JSON object")
