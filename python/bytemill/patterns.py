"""Split patterns: the named ones, other texts that mean the same, and texts for Hugging Face."""

import re
from typing import Final, Literal

from bytemill import _core

PatternName = Literal["gpt2", "cl100k", "o200k", "nanochat"]
NAMES: Final[tuple[PatternName, ...]] = ("gpt2", "cl100k", "o200k", "nanochat")

# Other texts of named patterns, in fancy-regex syntax. GPT-2's first release (also built into
# Hugging Face's ByteLevel) and tiktoken's present text: equal, since `\s++$` takes the white space
# at the end of a text just as `\s+(?!\S)` does, and the last `\s` is reached for a single character
# only.
_GPT2_RELEASE: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_GPT2_TIKTOKEN: Final = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
)
_SAME_AS: Final[dict[str, PatternName]] = {_GPT2_RELEASE: "gpt2", _GPT2_TIKTOKEN: "gpt2"}

# Hugging Face's `tokenizers` reads patterns with Oniguruma in Ruby syntax, where `$` also matches
# at the end of every line and `{1,3}+` repeats `{1,3}` instead of being possessive.
_CL100K_ONIGURUMA: Final = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++\z|\s*[\r\n]|\s+(?!\S)|\s"
)


def canonical(pattern: str) -> str:
    """The regex of a named pattern for its name or any known text of it; other regexes unchanged.

    Raises:
        TypeError: If `pattern` is not a string.
        ValueError: If it is not a valid regex, or a plain word that names no pattern (as a regex it
            would match only itself).
    """
    if not isinstance(pattern, str):
        raise TypeError(f"pattern={pattern!r}: expected a pattern's name or a regex (str)")
    if pattern not in NAMES and re.fullmatch(r"[\w-]*", pattern):
        names = ", ".join(f'"{name}"' for name in NAMES)
        raise ValueError(
            f"pattern={pattern!r}: there is no pattern of this name; there are {names}, "
            "or pass a regex"
        )
    return _core.pat_str(_SAME_AS.get(pattern, pattern))


def name_of(pat_str: str) -> PatternName | None:
    """The name of a pattern given by its regex, if it has one."""
    for name in NAMES:
        if canonical(pat_str) == _core.pat_str(name):
            return name
    return None


def to_oniguruma(pat_str: str) -> str:
    """A text that Hugging Face's engine reads as we read `pat_str`; custom regexes unchanged."""
    return _CL100K_ONIGURUMA if name_of(pat_str) == "cl100k" else pat_str


def from_oniguruma(text: str) -> str:
    """The regex of a pattern found in a tokenizer.json.

    Raises:
        ValueError: If it holds something that the two regex engines read differently, or is not
            a valid regex.
    """
    if text == _CL100K_ONIGURUMA:
        return _core.pat_str("cl100k")
    if text in (_GPT2_RELEASE, _core.pat_str("gpt2")):
        return _core.pat_str("gpt2")
    construct = _read_differently(text)
    if construct is not None:
        raise ValueError(
            f"the pattern {text!r} holds {construct!r}, which Hugging Face's regex engine reads "
            "differently; load it with an equivalent that avoids it"
        )
    return canonical(text)


def _read_differently(text: str) -> str | None:
    """The first construct of `text` that Oniguruma's Ruby syntax gives another meaning."""
    plain = re.sub(r"\\[^zAZhHRXGKQE]|\[(?:\\.|[^\]\\])*\]", "_", text, flags=re.DOTALL)
    # Anchors at line ends; classes and shorthands of one engine only; an interval's `+`; the `m`
    # flag.
    found = re.search(r"[$^]|\\[ZhHRXGKQE]|\{[\d,]+\}\+|\(\?[a-ln-z]*m", plain)
    if found is None:  # a POSIX class is ASCII here, Unicode there
        found = re.search(r"\[:\^?\w+:\]", text)
    return None if found is None else found.group()
