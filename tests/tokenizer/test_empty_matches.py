"""Patterns that may match nothing: such a match is passed over, one character further on."""

import random
import re

import pytest

from bytemill import Tokenizer, _core

BYTES = {bytes([i]): i for i in range(256)}


def matches(pattern: str, text: str) -> list[str]:
    """The rule of the docstring of `Vocabulary`, by Python's engine."""
    compiled, found, at = re.compile(pattern), [], 0
    while at <= len(text):
        match = compiled.search(text, at)
        if match is None:
            break
        if match.group():
            found.append(match.group())
        at = match.end() + (not match.group())
    return found


@pytest.mark.parametrize("pattern", ["a*|b", "a*|.", r"\b|\w+", "x?", "|b", r"(?:a|b*)c?", "(?=b)"])
def test_matches_of_nothing_are_passed_over(pattern):
    assert pattern != "a*|b" or matches(pattern, "baac") == ["aa"] != re.findall(pattern, "baac")
    tokenizer, rng = Tokenizer.from_ranks(BYTES, pattern=pattern), random.Random(pattern)
    for _ in range(200):
        text = "".join(rng.choices("aabbcx é\n", k=rng.randint(0, 12)))
        expected = matches(pattern, text)
        assert tokenizer.encode(text) == list("".join(expected).encode()), text
        counting = _core.CountingPass(pattern, [])
        counting.feed([text])
        assert counting.finish().total == len(expected), text
