"""The exit statuses of every program, and what Ctrl-C means for each."""

import importlib
import signal

import pytest

torch = pytest.importorskip("torch", reason="the model's programs need it")

from bytemill.cli.console.programs import PROGRAMS
from bytemill.cli.demo.model import train_model
from bytemill.cli.demo.sizes import QUICK
from bytemill.cli.train import Screen
from bytemill.lm.train.events import Stepped
from tests.support.lm_runs import make_shards
from tests.support.programs import call, is_one_line

# For each program: words that it takes, and what is told when Ctrl-C ends it.
WORDS = {
    "tok-train": ("--input x --vocab-size 300 --out {}/t", "no tokenizer was written"),
    "tok-prune": ("{}/t --input x --out {}/s", "no tokenizer was written"),
    "tok-encode": ("--tokenizer {}/t --input x --out {}/s", "no shards were written"),
    "tok-eval": ("--no-samples --text a={}/none", "the comparison is not complete"),
    "train": ("--data {}/none --out {}/r", "nothing was saved since the last save"),
    "mid-train": ("--init-from {}/none --out {}/r", "nothing was saved since the last save"),
    "sft": ("--init-from {}/none --out {}/r", "nothing was saved since the last save"),
    "dpo": (
        "--init-from {}/none --pairs {}/none --out {}/r",
        "nothing was saved since the last save",
    ),
    "rl": ("--init-from {}/none --out {}/r", "nothing was saved since the last save"),
    "generate": ("--model {}/none", "the text is not complete"),
    "evaluate": ("--model {}/none --data {}/none", "nothing was measured"),
    "download": ("nonsense --out {}/d", "what has come is kept"),
    "sweep": ("--vary seed=1,2 --data {}/none --out {}/w", "the run that was being made"),
    "base-eval": ("--model {}/none", "what was answered is kept"),
    "chat-eval": ("--model {}/none --tasks identity", "what was answered is kept"),
    "overlap": ("--tokenizer {}/none", "the search is not complete"),
    "chat": ("{}/none -p hi", "the conversation is over"),
    "serve": ("{}/none", "the server was not started"),
    "infer-bench": ("{}/none", "the measurement is not complete"),
    "plot": ("{}/none", "nothing was drawn"),
    "report": ("{}/none", "nothing was written"),
    "export": ("{}/none --to huggingface --out {}/h", "nothing was written"),
    "import": ("{}/none --out {}/r", "nothing was written"),
    "account": ("--gpu none", "nothing was counted"),
    "demo": ("--steps 0 --out {}/d", "the demo was not finished"),
    "completion": ("bash", "the script is not complete"),
}


def words(name, folder):
    return WORDS[name][0].replace("{}", str(folder)).split()


def put_in_place_of_its_work(monkeypatch, name, work):
    """Lets `work` stand in for what a program does once its command line has been read."""
    module = PROGRAMS[name].module + (".program" if name == "demo" else "")
    function = "script" if name == "completion" else "run"
    monkeypatch.setattr(importlib.import_module(module), function, work)


def test_every_program_is_here():
    assert set(WORDS) == set(PROGRAMS)


@pytest.mark.parametrize("name", WORDS)
def test_ctrl_c(name, tmp_path, capsys, monkeypatch):
    put_in_place_of_its_work(monkeypatch, name, lambda *_: signal.raise_signal(signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    status, out, err = call(capsys, name, *words(name, tmp_path))
    assert (status, out) == (130, "")
    is_one_line(err, "interrupted: ", WORDS[name][1])
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("name", WORDS)
def test_a_fault_of_the_program(name, tmp_path, capsys, monkeypatch):
    put_in_place_of_its_work(monkeypatch, name, lambda *_: {}["key"])
    status, _, err = call(capsys, name, *words(name, tmp_path))
    assert status == 1
    assert err.startswith("Traceback") and "please report it" in err.splitlines()[-1]


@pytest.mark.parametrize("name", [name for name in WORDS if name != "completion"])
def test_bad_input(name, tmp_path, capsys):
    # Nothing of what the words name is there.
    status, out, err = call(capsys, name, *words(name, tmp_path))
    assert (status, out) == (2, "")
    is_one_line(err, "error: ")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_the_demos_training_saves_and_ends_it(tmp_path, capsys, monkeypatch):
    make_shards(tmp_path)
    show = Screen.__call__

    def pressed(screen, event):
        show(screen, event)
        if isinstance(event, Stepped) and event.step == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Screen, "__call__", pressed)
    with pytest.raises(KeyboardInterrupt):
        train_model(QUICK, tmp_path, 100_000, 0)
    out, err = capsys.readouterr()
    assert "finishing this step; press again to stop now" in err
    assert "step 3: saved" in out or "step 2: saved" in out
