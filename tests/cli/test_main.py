"""The door: `bytemill COMMAND`, its help, its mistakes, its exit statuses, what it imports."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from bytemill import __version__
from bytemill.cli import main as door
from bytemill.cli.command import EPILOG, Status
from bytemill.cli.console import programs
from bytemill.cli.console.messages import in_flags
from tests.support.programs import ROOT, SPECIAL, call, command, is_one_line, promptly, run

WAY = ["download", "tok-train", "tok-encode", "train", "mid-train", "sft", "rl", "chat-eval"]
"""The data's way, by some of the commands."""


def replace(monkeypatch, name, work):
    """Puts `work` in the place of a program's `main`."""
    module = importlib.import_module(programs.PROGRAMS[name].module)
    monkeypatch.setattr(module, "main", lambda argv: door.exit_status(work, "nothing was made"))


def test_help_lists_the_commands_in_the_order_of_the_data(capsys):
    status, out, err = call(capsys, "--help")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.startswith("  ")]
    names = [words[0] for words in lines if words[0] in programs.PROGRAMS]
    assert names == list(programs.PROGRAMS)
    assert [name for name in names if name in WAY] == WAY
    assert all(len(words) > 2 for words in lines)  # each with a summary in the same line
    status, out, err = call(capsys)
    assert (status, out) == (2, "") and "tok-encode" in err


def test_version(capsys):
    assert call(capsys, "--version") == (0, f"bytemill {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tok_train"], "tok_train: there is no such command; did you mean tok-train?"),
        (["xyz"], "xyz: there is no such command (see bytemill --help)"),
        (["--vers"], "--vers: there is no such flag; did you mean --version?"),
        (["tok-train", "--pat", "gpt2"], "--pat: there is no such flag; did you mean --pattern?"),
        (["tok-train", "--out", "x"], "arguments are required: --vocab-size"),
        (["tok-train", "--vocab-size", "many"], "--vocab-size: invalid int value: 'many'"),
        (["tok-encode", "x"], "required: --tokenizer, --input, --out"),
        (["completion", "bahs"], "bahs: it must be one of bash, zsh, fish; did you mean bash?"),
        (["tok-train", "--vocab-size", "300", "--out", "t"], "--input is missing"),
    ],
)
def test_mistakes_are_one_line(words, told, capsys):
    status, out, err = call(capsys, *words)
    assert (status, out) == (2, "")
    is_one_line(err, "error: ", told)


def test_what_messages_call_things_ends_with_the_program(monkeypatch, capsys):
    """The words of one program's flags are not those of what is called after it."""

    def work():
        raise ValueError("vocab_size=3: too small")

    replace(monkeypatch, "tok-train", work)
    assert door.main(["tok-train", "--vocab-size", "3", "--out", "x", "--input", "y"]) == 2
    assert "--vocab-size 3: too small" in capsys.readouterr().err
    assert in_flags("vocab_size=3: too small") == "vocab_size=3: too small"


def test_help_shows_how_it_was_called():
    for words in (["-m", "scripts.tok_train"], ["-m", "bytemill", "tok-train"]):
        done = subprocess.run(
            [sys.executable, *words, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: python {' '.join(words)} [-h]")
        assert " ".join(EPILOG.split()) in " ".join(done.stdout.split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["tok-train", "--help"], ["x"]])
def test_starting_imports_nothing_heavy(words):
    program = (
        "import sys; from bytemill.cli.main import main; main(sys.argv[1:]);"
        "print(sorted({'torch', 'numpy', 'tiktoken', 'pyarrow'} & set(sys.modules)),"
        "sorted(name for name in sys.modules if name.startswith('bytemill.cli.tok')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=ROOT
    )
    mine = ["bytemill.cli.tok_train"] if words[0] == "tok-train" else []
    assert done.stdout.splitlines()[-1] == f"[] {mine}", done.stderr


INTERRUPTED = """
import os, runpy, signal, sys

class Press:
    def find_spec(self, name, *rest):
        if name == pressed_at:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

pressed_at, module, *sys.argv[1:] = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Press())
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize(
    ("module", "words", "at"),
    [
        *(("bytemill", [name], "bytemill.cli.console.parser") for name in programs.PROGRAMS),
        *(("bytemill", [name], each.module) for name, each in programs.PROGRAMS.items()),
        ("bytemill", ["tok-train"], "bytemill.cli.main"),
        ("bytemill", ["tok-train"], "bytemill.cli.command"),
        ("bytemill", ["tok-train"], "bytemill.tokenizer.tokenizer"),
        ("bytemill", ["train"], "torch"),
        ("bytemill", ["train"], "numpy"),
        ("scripts.tok_eval", [], "bytemill.cli.main"),
        ("scripts.tok_eval", [], "bytemill.tokenizer"),
    ],
)
def test_ctrl_c_while_it_imports(module, words, at):
    words = [sys.executable, "-c", INTERRUPTED, at, module, *words]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    # What takes longer than a moment says that it stops.
    *before, last = done.stderr.splitlines()
    assert last == "interrupted: nothing was done"
    assert before in ([], ["stopping; press Ctrl-C again to end at once"])


def test_a_script_without_the_package_says_where_to_stand():
    # -S leaves installed packages out.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "scripts.train"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    is_one_line(done.stderr, "bytemill is not installed", "make build", "pip install .")


@pytest.mark.parametrize(
    ("module", "remedy"),
    [("torch", "'bytemill[lm]', or in a clone: make .venv/lm"), ("numpy", "numpy")],
)
def test_a_missing_package_is_named_with_what_installs_it(module, remedy, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("bytemill.cli.train")]:
        monkeypatch.delitem(sys.modules, name)

    def fails(name):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(programs.importlib, "import_module", fails)
    status, _, err = call(capsys, "train", "--out", "x")
    assert status == 2
    is_one_line(err, f"error: {module} is not installed: pip install {remedy}\n")


class TestStatuses:
    """What a program raises, what is told, and the status it ends with."""

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (ValueError("vocab_size=3: too small"), "error: --vocab-size 3: too small"),
            (FileNotFoundError(2, "no such file", "a.txt"), "error: a.txt: no such file (looked"),
            (FileNotFoundError(2, "no such file", "/a.txt"), "error: /a.txt: no such file\n"),
            (TypeError("num_threads='x': no"), "error: --threads x: no"),
            (ImportError("reading a.zst needs zstandard"), "error: reading a.zst needs zst"),
            (MemoryError("4 GB"), "fewer threads (4 GB)\n"),
            (MemoryError(), "use fewer threads\n"),
        ],
    )
    def test_bad_input(self, error, told, capsys, monkeypatch):
        # In a module of bytemill's: a TypeError of another package would be a fault.
        of_ours = {"__name__": "bytemill.checks", "error": error}
        exec("def work():\n    raise error\n", of_ours)
        replace(monkeypatch, "tok-train", of_ours["work"])
        status, _, err = call(capsys, "tok-train", "--vocab-size", 3, "--out", "x")
        assert status == Status.BAD_INPUT == 2
        is_one_line(err, told)

    @pytest.mark.parametrize(
        "work",
        [
            lambda: {}["key"],
            lambda: None + 1,
            lambda: None.name,
            lambda: __import__("bytemill.no_such_module"),
            lambda: [][0],
            lambda: json.dumps(object()),
        ],
    )
    def test_a_fault_of_the_program(self, work, capsys, monkeypatch):
        replace(monkeypatch, "tok-train", work)
        status, _, err = call(capsys, "tok-train", "--vocab-size", 300, "--out", "x")
        assert status == Status.FAULT == 1
        assert err.startswith("Traceback")
        assert "please report it" in err.splitlines()[-1]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemError])
    def test_interrupted(self, error, capsys, monkeypatch):
        # Code that is interrupted may turn that into an error of its own.
        monkeypatch.setattr(door.interrupts, "was_pressed", lambda: error is not KeyboardInterrupt)

        def work():
            raise error

        replace(monkeypatch, "tok-train", work)
        status, _, err = call(capsys, "tok-train", "--vocab-size", 300, "--out", "x")
        assert status == Status.INTERRUPTED == 130
        is_one_line(err, "interrupted: nothing was made")


class TestBrokenOutput:
    """What was saved is saved, whatever becomes of stdout."""

    def words(self, corpus, tmp_path):
        base = ["--input", corpus, "--special", SPECIAL, "--out", tmp_path / "t"]
        return ["tok-train", *base, "--vocab-size", 300]

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
    def test_a_full_disk(self, corpus, tmp_path):
        with open("/dev/full", "w") as full:  # noqa: PTH123
            done = run(
                *self.words(corpus, tmp_path),
                capture_output=False, stdout=full, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert done.returncode == 0
            is_one_line(done.stderr, "note: stdout: No space left", "what was saved is not")
            assert (tmp_path / "t" / "bytemill.json").exists()
            # What is of use only as printed has failed.
            done = run(
                "tok-eval", tmp_path / "t", "--baselines",
                capture_output=False, stdout=full, stderr=subprocess.PIPE,
            )  # fmt: skip
            assert done.returncode == 2
            is_one_line(done.stderr, "error: stdout: No space left on device")
            done = run("--help", capture_output=False, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 2
        is_one_line(done.stderr, "error: stdout: No space left on device")

    def test_a_terminal_that_knows_ascii_only(self, tmp_path):
        corpus = tmp_path / "corpus.txt"
        corpus.write_text("été " * 500, encoding="utf-8")
        done = run(*self.words(corpus, tmp_path), env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0, done.stderr
        assert "\\xe9t\\xe9" in done.stdout

    @pytest.mark.parametrize("name", ["tok-train", "tok-eval"])
    def test_a_reader_that_leaves_is_no_error(self, name, corpus, tmp_path):
        words = self.words(corpus, tmp_path)
        if name == "tok-eval":
            assert run(*words).returncode == 0
            words = [name, tmp_path / "t", "--baselines", "--markdown", tmp_path / "t" / "eval.md"]
        process = subprocess.Popen(
            command(*words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdout.close()
        assert promptly(process.stderr.read()) == ""
        assert process.wait(timeout=300) == 0
        made = "eval.md" if name == "tok-eval" else "bytemill.json"
        assert (tmp_path / "t" / made).exists()

    def test_a_closed_stdout(self, corpus, tmp_path):
        words = command(*self.words(corpus, tmp_path))
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *words], cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, promptly(done.stderr)) == (0, "")
        assert (tmp_path / "t" / "bytemill.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="it takes a shell")
def test_a_closed_stderr(tmp_path):
    (tmp_path / "a.txt").write_text("low lower lowest " * 50)
    command = (
        f"exec {sys.executable} -m bytemill tok-train --input a.txt --vocab-size 260 --out t 2>&-"
    )
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, timeout=300)
    assert done.returncode == 0 and (tmp_path / "t" / "bytemill.json").exists()
