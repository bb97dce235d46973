"""Every option of every program: help with unit and default; completion of them all."""

import argparse
import re
import shlex
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="half of the programs need torch")

from bytemill.cli import completion
from bytemill.cli.console.programs import PROGRAMS
from bytemill.cli.main import parsers
from tests.support.programs import call, is_one_line

UNITS = re.compile(
    r"\b(tokens?|questions|replies|bytes|characters|documents?|items|threads|cores|times|samples?|texts|share|fraction|"
    r"logits|integer|blocks|square|windows?|rows?|steps?|batch(es)?|layers?|heads?|width|features|parameters?|"
    r"ids?|GB|GPUs?|processes|FLOPs?|FLOP/s|rate|norm|decay|weight|period|base|coefficient|probability|"
    r"checkpoints|dollars|epochs?|seconds|minutes|seed|moment\w*|denominator|positions?|files)\b",
)


def options():
    """Every option of every program."""
    for name, parser in parsers().items():
        of_groups = [g._group_actions for g in parser._mutually_exclusive_groups if g.required]
        for action in parser._actions:
            if not isinstance(action, argparse._HelpAction):
                is_chosen = any(action in group for group in of_groups)
                flag = (action.option_strings or [action.dest])[0]
                yield pytest.param(name, action, is_chosen, id=f"{name} {flag}")


@pytest.mark.parametrize(("name", "action", "is_chosen"), list(options()))
def test_every_option_has_help_with_unit_and_default(name, action, is_chosen):
    text = (action.help or "") % vars(action)
    assert len(text) > 5 and not text.startswith("(default"), "it says nothing but its default"
    takes_value = action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
    is_optional = action.option_strings and not action.required and not is_chosen
    if takes_value and is_optional and (name, action.dest) not in EXPLAINED:
        assert "default" in text
    if action.type in (int, float) or action.metavar in ("N", "X"):
        assert UNITS.search(text), "it has no unit"


# Those without a default of their own: what they stand for is in the text, or nothing does.
EXPLAINED = {
    ("download", "checksums"),
    ("tok-train", "input"),
    ("train", "config"),
    ("train", "data"),
    ("train", "out"),
    ("mid-train", "config"),
    ("mid-train", "init_from"),
    ("mid-train", "out"),
    ("sft", "config"),
    ("sft", "init_from"),
    ("sft", "out"),
    ("dpo", "config"),
    ("dpo", "init_from"),
    ("dpo", "out"),
    ("dpo", "pairs"),
    ("overlap", "input"),
    ("rl", "config"),
    ("rl", "init_from"),
    ("rl", "out"),
    ("sweep", "config"),
    ("sweep", "data"),
    ("sweep", "out"),
    ("account", "model"),
    ("account", "gpu"),
    ("account", "peak_flops"),
}


def test_every_program_has_its_parser():
    assert list(parsers()) == list(PROGRAMS)
    for name, parser in parsers().items():
        assert parser.prog == f"bytemill {name}"
        assert "130 interrupted" in parser.format_help()


def test_completion_knows_commands_flags_choices_and_places():
    shtab = pytest.importorskip("shtab", reason="shtab is not installed")
    for shell in completion.SHELLS:
        script = completion.script(shell)
        for name, parser in parsers().items():
            assert name in script
            for action in parser._actions:
                for flag in action.option_strings:
                    assert flag.lstrip("-") in script
        assert "lexicographic" in script
    places = completion._whole(shtab, "fish")
    (commands,) = (a for a in places._actions if isinstance(a, argparse._SubParsersAction))
    complete = {a.dest: getattr(a, "complete", None) for a in commands.choices["train"]._actions}
    assert complete["out"] == shtab.FILE and complete["config"] == shtab.FILE
    assert complete["steps"] is None


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tok", ["tok-train", "tok-prune", "tok-encode", "tok-eval"]),
        ("tok-train --vocab", ["--vocab-size"]),
        ("tok-train --input a b --vocab", ["--vocab-size"]),
        ("tok-encode --errors s", ["strict"]),
        ("tok-train --counts {}/fi", ["{}/file"]),
    ],
)
def test_bash_completes(line, offered, tmp_path):
    pytest.importorskip("shtab", reason="shtab is not installed")
    (tmp_path / "file").touch()
    words = ["bytemill", *line.format(tmp_path).split()]
    script = completion.script("bash") + (
        f"\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        "_shtab_bytemill 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True)
    assert done.stdout.split() == [word.format(tmp_path) for word in offered], done.stderr


def test_completion_without_its_package(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    status, out, err = call(capsys, "completion", "bash")
    assert (status, out) == (2, "")
    is_one_line(err, "pip install shtab")
