"""Split patterns: the named ones, and other texts that mean the same."""

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
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SAME_AS: Final[dict[str, PatternName]] = {_GPT2_RELEASE: "gpt2", _GPT2_TIKTOKEN: "gpt2"}


def canonical(pattern: str) -> str:
    """The regex of a named pattern for its name or any known text of it; other regexes unchanged.

    Raises:
        TypeError: If `pattern` is not a string.
        ValueError: If it is not a valid regex, or holds a surrogate, or is a plain word that names
            no pattern (as a regex it would match only itself).
    """
    if not isinstance(pattern, str):
        raise TypeError(f"pattern={pattern!r}: expected a pattern's name or a regex (str)")
    if _SURROGATE.search(pattern):
        raise ValueError(f"pattern={pattern!r}: it holds a surrogate, which no UTF-8 text does")
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
