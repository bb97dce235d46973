"""The named patterns, which Python takes from the core."""

import subprocess
import sys

import pytest

from bytemill import Tokenizer, _core, patterns
from bytemill.formats.oniguruma import to_oniguruma
from tests.support.naive import GPT2


def test_names_regexes_and_aliases():
    table = _core.named_patterns()
    assert list(patterns.NAMES) == [name for name, _, _ in table]
    assert len(set(patterns.NAMES)) == len(table) >= 4
    for name, regex, aliases in table:
        assert regex == _core.pat_str(name)
        for text in (name, regex, *aliases):
            assert patterns.canonical(text) == regex
            assert patterns.name_of(text) == name
    assert patterns.canonical("gpt2") == GPT2
    assert {name: len(aliases) for name, _, aliases in table if aliases} == {"gpt2": 2}


def test_other_patterns_are_themselves():
    assert patterns.canonical(r"\S+|\s+") == r"\S+|\s+"
    assert patterns.name_of(r"\S+|\s+") is None
    # A word in an alternative is a regex; alone it would match only itself.
    assert patterns.canonical("(?:gpt3)") == "(?:gpt3)"
    with pytest.raises(ValueError, match=r'pattern=.gpt3.*"gpt2", "cl100k"'):
        patterns.canonical("gpt3")
    with pytest.raises(ValueError, match="pattern"):
        patterns.name_of("(")


def test_an_alias_trains_and_merges_as_the_pattern():
    alias = _core.named_patterns()[0][2][0]
    train = [Tokenizer.train(["low lower lowest"], 260, pattern=p) for p in (alias, "gpt2")]
    assert train[0].fingerprint == train[1].fingerprint


def test_only_cl100k_is_written_otherwise_for_oniguruma():
    regexes = {name: _core.pat_str(name) for name in patterns.NAMES}
    others = {name for name, regex in regexes.items() if to_oniguruma(regex) != regex}
    assert others == {"cl100k"}


def test_every_name_is_in_the_help():
    for command in ("tok-train", "tok-eval"):
        shown = subprocess.run(
            [sys.executable, "-m", "bytemill", command, "--help"], capture_output=True, text=True
        ).stdout
        assert ", ".join(patterns.NAMES) in " ".join(shown.split())
