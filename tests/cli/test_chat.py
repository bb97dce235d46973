"""`bytemill chat`: one-shot, pipes, commands, a terminal, the end of the context."""

import io
import json
import os
import re
import select
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Conversation, Renderer, read_conversations
from bytemill.cli.serving.chat import Shown, harmless
from bytemill.cli.serving.commands import COMMANDS, read
from bytemill.cli.serving.talk import Talk
from bytemill.lm.engine.engine import Engine, EngineSettings
from bytemill.lm.engine.pieces import Piece
from bytemill.lm.generate.replies import replies
from bytemill.lm.generate.sampling import Sampling
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.tools import calculate
from tests.support.callers import calling_model
from tests.support.chat_runs import make_chat_run
from tests.support.chats import chat_tokenizer
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import ROOT, call, command, is_one_line

RENDERER = Renderer(chat_tokenizer())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_chat_run(tmp_path_factory.mktemp("chat") / "talker", context_length=4000)


@pytest.fixture(scope="module")
def weights():
    return DecodingWeights(calling_model(RENDERER, 128))


def talk(weights, **options):
    engine = Engine(weights, RENDERER.tokenizer.n_vocab, EngineSettings(max_rows=1))
    settings = {"max_tokens": 20, "seed": 5, "tool": calculate, **options}
    return Talk(engine, RENDERER, Sampling(1.0, 50), **settings)


def said(pieces):
    return "".join(piece.text for piece in pieces if piece.kind == "text")


def never():
    return False


def test_answers_are_those_of_lonely_runs(weights):
    made = talk(weights)
    made.system = "Be brief."
    for turn, text in enumerate(("1+2", "low")):
        answer = said(made.ask(text, never))
        prompt = RENDERER.prompt(made._conversation(made.messages[:-1]))
        (alone,) = replies(weights, RENDERER, [prompt], seed=5 + turn, max_new_tokens=20, top_k=50)
        assert answer == alone.message.text and made.messages[-1] == alone.message
        assert made.figures.new == len(alone.ids)
    assert made.figures.reused > 5
    before = list(made.messages)
    again = said(made.retry(never))
    assert made.messages[:-1] == before[:-1] and made.messages[-1].text == again


def test_past_the_context_whole_turns_are_left_out(weights):
    made = talk(weights)
    made.system = "Be brief."
    left_out = []
    for _ in range(8):
        said(made.ask("the low new " * 3, never))
        left_out.append(made.n_left_out)
        assert made.figures.prompt + 20 - 1 <= 128
    assert left_out[0] == 0 and left_out[-1] >= 2 and all(n % 2 == 0 for n in left_out)
    assert len(made.messages) == 16  # nothing is forgotten
    n = len(made.messages)
    with pytest.raises(ValueError, match="context length is 128"):
        made.ask("é!" * 200, never)
    assert len(made.messages) == n
    made.clear()
    assert (made.messages, made.n_tokens(), made.system) == ([], 0, "Be brief.")


def test_a_stopped_answer_is_kept_as_far_as_it_went(weights):
    made = talk(weights, max_tokens=60, seed=1)
    seen = []
    for piece in made.ask("hi", lambda: len(seen) >= 3):
        seen.append(piece)
    assert 3 <= len(seen) <= 4 and made.messages[-1].role == "assistant"
    assert said(made.ask("go on", never)) is not None and len(made.messages) == 4


def test_saving_and_loading(weights, tmp_path):
    made, other = talk(weights), talk(weights)
    with pytest.raises(ValueError, match="nothing to save"):
        made.save(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="nothing to answer"):
        made.retry(never)
    made.system = "é"
    said(made.ask("hi", never))
    made.save(tmp_path / "a.jsonl")
    other.load(tmp_path / "a.jsonl")
    assert other.system == "é" and [m.text for m in other.messages] == [
        m.text for m in made.messages
    ]
    assert list(read_conversations(tmp_path / "a.jsonl")) == [made._conversation(made.messages)]
    for text in ("", "{", "[]", '{"messages": 1}', "[" * 99_999):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(ValueError, match="bad"):
            other.load(tmp_path / "bad")
    assert len(other.messages) == 2


def test_commands(weights, tmp_path):
    made = talk(weights)

    def do(line):
        name, text = read(line)
        return COMMANDS[name].run(made, text)

    assert read("hello /x") == (None, "hello /x") and read("//x") == (None, "/x")
    assert read("/exit")[0] == "quit" and read("/retry") == ("retry", "")
    assert do("/temperature 0.5") == "temperature 0.5" == do("/temperature")
    assert made.sampling == Sampling(0.5, 50)
    for line in ("/temperature x", "/temperature -1", "/save", "/load", "/nonsense"):
        with pytest.raises(ValueError):
            do(line)
    do("/system Be kind.")
    assert made.system == "Be kind." and "Be kind." in do("/system")
    do("/system none")
    assert made.system == ""
    said(made.ask("hi", never))
    assert f"{made.n_tokens()} tokens; the context has 128" in do("/tokens")
    assert all(f"/{name}" in do("/help") for name in COMMANDS)
    do("/clear")
    assert made.messages == []


def test_one_shot_and_pipes(run, capsys, tmp_path, monkeypatch):
    options = ["--device", "cpu", "--seed", 3, "--max-tokens", 8]
    status, out, err = call(capsys, "chat", run, "-p", "hi", *options)
    assert status == 0 and out.endswith("\n") and err == ""
    lines = f"hi\n\n/system Be kind.\n/save {tmp_path / 'talk'}\n"
    done = subprocess.run(
        command("chat", run, *options), input=lines.encode(), capture_output=True, cwd=ROOT,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.decode() == out
    saved = json.loads((tmp_path / "talk").read_text(encoding="utf-8"))["messages"]
    assert [m["role"] for m in saved] == ["system", "user", "assistant"]
    assert Conversation.of(saved).messages[-1].text == out.removesuffix("\n")
    for text, message in (
        (b"\xff\n", "line 1 is not UTF-8 at byte 0"), (b"/what\n", "no such command"),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        status, _, err = call(capsys, "chat", run, *options)
        assert status == 2
        is_one_line(err, message)
    for more, message in (
        (["--max-tokens", 0], "--max-tokens 0"), (["--seed", -1], "--seed -1"),
        (["--temperature", -1], "--temperature"), (["-p", "é!" * 3000], "context length is 4000"),
    ):  # fmt: skip
        status, _, err = call(capsys, "chat", run, "-p", "hi", "--device", "cpu", *more)
        assert status == 2
        is_one_line(err, message)


def test_what_a_terminal_would_obey_is_not_shown(capsys):
    pytest.importorskip("rich")
    assert harmless("a\x1b]0;title\x07b\r\x9bc\td\n") == "a\ufffd]0;title\ufffdb\ufffd\ufffdc\td\n"
    shown = Shown()
    for piece in (Piece("text", "[red]\x1b[2J :smile:"), Piece("python", "1+1"),
                  Piece("python_output", "2")):  # fmt: skip
        shown.piece(piece)
    assert capsys.readouterr().out == "[red]\ufffd[2J :smile:[1+1][= 2]"


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminal")
def test_in_a_terminal(run, tmp_path):
    """Several lines, Ctrl-C within an answer, Ctrl-C at the prompt, history, Ctrl-D."""
    pytest.importorskip("rich")
    pytest.importorskip("prompt_toolkit")
    import pty

    history = tmp_path / "history"
    pid, terminal = pty.fork()
    if pid == 0:
        words = command(
            "chat", run, "--device", "cpu", "--threads", 1, "--history", history,
            "--max-tokens", 3900, "--temperature", 1.5, "--top-k", 0,
        )  # fmt: skip
        os.chdir(ROOT)
        os.execvpe(words[0], words, {**os.environ, "TERM": "xterm", "COLUMNS": "80"})
    shown = ""

    def read_until(has_come, seconds=300):
        nonlocal shown
        end = time.monotonic() + seconds
        while not has_come():
            assert time.monotonic() < end, shown[-500:]
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            try:
                shown += os.read(terminal, 4096).decode("utf-8", "replace")
            except OSError:  # its end
                break
            if "\x1b[6n" in shown:  # where the cursor is, which no terminal is there to tell
                shown = shown.replace("\x1b[6n", "")
                os.write(terminal, b"\x1b[1;1R")

    def until(*texts):
        """Reads until one of some texts has come, and tells which."""
        nonlocal shown
        read_until(lambda: any(text in shown for text in texts))
        found = [text for text in texts if text in shown]
        assert found, shown[-500:]
        first = min(found, key=shown.index)
        shown = shown[shown.index(first) + len(first) :]
        return first

    # Pasting several lines is on while it reads what is typed.
    prompt, answers = "\x1b[?2004h", "\x1b[?2004l"
    until("/help")
    until(prompt)
    os.write(terminal, b"/nonsense\r")
    until("no such command")
    until(prompt)
    for _ in range(10):  # the model may come to an end by itself before it is stopped
        os.write(terminal, b"one\x1b\rtwo\r")
        until("two")
        until(answers)
        # Until it says something: the terminal sends signals again then.
        read_until(lambda: re.sub(r"\x1b(\[[^a-zA-Z]*([a-zA-Z]|$)|$)|\s", "", shown))
        os.write(terminal, b"\x03")
        if until("(stopped)", "Ctrl-D or /quit") == "(stopped)":
            break
        until(prompt)
        os.write(terminal, b"/clear\r")
        until(answers)
        until(prompt)
    until(prompt)
    os.write(terminal, b"\x03")
    until("Ctrl-D or /quit")
    until(prompt)
    os.write(terminal, f"/save {tmp_path / 'talk'}\r".encode())
    until("saved:")
    until(prompt)
    os.write(terminal, b"\x04")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    messages = json.loads((tmp_path / "talk").read_text(encoding="utf-8"))["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"]
    assert messages[0]["content"] == "one\ntwo"
    assert "+one\n+two\n" in history.read_text()
