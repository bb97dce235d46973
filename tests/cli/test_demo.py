"""`bytemill demo`, run as a user runs it."""

import json
import re
import shlex
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="the demo trains a model")

from bytemill import Tokenizer
from bytemill.chat.conversation import Message, Part
from bytemill.chat.render import SPECIAL_TOKENS
from bytemill.cli.demo import questions
from bytemill.cli.demo.program import MADE, clear
from tests.support.programs import ROOT, call, is_one_line, run

# A demo that ends in the third step of fine-tuning, as if it had been killed.
KILLED = """
import os, sys
from bytemill.cli.main import main
from bytemill.cli.stages.supervised import StageScreen
from bytemill.cli.train import Screen
from bytemill.lm.train.events import Stepped

def stop(screen, event):
    Screen.__call__(screen, event)
    if isinstance(event, Stepped) and event.step == 3:
        os._exit(9)

StageScreen.__call__ = stop
sys.exit(main(sys.argv[1:]))
"""


def test_demo_killed_and_resumed(tmp_path):
    out = tmp_path / "t"
    words = ["demo", "--quick", "--out", str(out)]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *words], cwd=ROOT, capture_output=True, timeout=900
    )
    assert killed.returncode == 9, killed.stderr
    base = (out / "model" / "metrics.jsonl").read_bytes()
    assert not (out / "rl").exists()
    done = run(*words, "--resume", timeout=900)
    assert done.returncode == 0, done.stderr

    # What was done before was not done again, and what follows it was.
    assert (out / "model" / "metrics.jsonl").read_bytes() == base
    assert "<|bos|>|" in done.stdout
    found = re.findall(r"^(.+?) +(\d\.\d{3})  ", done.stdout, re.MULTILINE)
    assert [name for name, _ in found] == ["unigram model", "gzip -9", "bigram model", "this model"]
    assert all(0.5 < float(value) < 8 for _, value in found)
    assert all(f"    {start}" in done.stdout for start in ("def", "class", "import"))
    tokenizer = Tokenizer.load(out / "tokenizer")
    assert sorted(tokenizer.special_tokens, key=tokenizer.special_tokens.get) == [*SPECIAL_TOKENS]
    seen, unseen = (
        set((out / "words" / f"{n}.txt").read_text().split()) for n in ("seen", "unseen")
    )
    assert seen and unseen and not seen & unseen
    for name, steps in (("model", 30), ("sft", 20), ("rl", 2), ("control", 2)):
        made = {path.name for path in (out / name).iterdir()}
        assert made >= {"checkpoints", "config.json", "loss.png", "metrics.jsonl", "tokenizer"}
        results = json.loads((out / name / "evaluation" / "chat.json").read_text())
        assert results["step"] <= steps and len(results["tasks"]) == 9
        assert f"step-{steps:08}" in {path.name for path in (out / name / "checkpoints").iterdir()}
    rows = re.findall(r"^(\S.*?)((?: +\d+\.\d){4})$", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == [
        "arithmetic",
        "arithmetic, new wordings",
        "spelling",
        "spelling, new wordings",
        "counting",
        "counting, new wordings",
        "identity",
        "arithmetic-3",
        "arithmetic-4",
        "spelling, words never seen",
        "counting, words never seen",
    ]
    assert done.stdout.count("\n    > ") == 4
    assert f"chat {shlex.quote(str(out / 'rl'))}" in done.stdout

    # The next demo without --resume replaces what this one made, and nothing else.
    (out / "notes.txt").write_text("kept")
    assert {path.name for path in out.iterdir()} == {*MADE, "notes.txt"}
    clear(out)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_demo_deletes_nothing_else(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious.txt").write_text("kept")
    status, _, err = call(capsys, "demo", "--quick", "--out", tmp_path)
    assert status == 2
    is_one_line(err, "demo's", tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["precious.txt"]
    for flags in (("--steps", 0), ("--resume",)):
        status, _, err = call(capsys, "demo", "--quick", *flags, "--out", tmp_path / "new")
        assert status == 2 and not (tmp_path / "new").exists()
        is_one_line(err, flags[0], tmp_path / "new" if len(flags) == 1 else "--steps 0")


def test_the_table(tmp_path):
    for name, scores in (("model", (0, 0.5)), ("rl", (1, 0.125))):
        for place, task, score in (("", "counting-new-wordings", 0), ("unseen", "spelling", 1)):
            folder = tmp_path / name / "evaluation" / place
            folder.mkdir(parents=True, exist_ok=True)
            tasks = {task: {"score": scores[score]}}
            (folder / "chat.json").write_text(json.dumps({"tasks": tasks}))
    assert questions.table(tmp_path).splitlines() == [
        "                            BASE     RL",
        "counting, new wordings       0.0  100.0",
        "spelling, words never seen  50.0   12.5",
    ]


def test_an_answer_on_one_line():
    parts = (Part("python", "2*3"), Part("python_output", "6"), Part("text", "It is 6."))
    assert questions.shown(Message("assistant", parts)) == "[2*3][= 6] It is 6."
    assert questions.shown(Message("assistant", "a\nb\x1b")) == "a\\nb\\x1b"
