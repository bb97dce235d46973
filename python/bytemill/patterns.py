"""Split patterns: the named ones, of the Rust core's table, and other texts that mean the same."""

import re
from typing import Final

from bytemill import _core

_TABLE: Final = _core.named_patterns()
NAMES: Final = tuple(name for name, _, _ in _TABLE)
"""The names of the patterns that have one."""
_NAME_OF: Final = {regex: name for name, regex, _ in _TABLE}
_REGEX_OF: Final = {
    text: regex for name, regex, aliases in _TABLE for text in (name, regex, *aliases)
}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


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
    if (known := _REGEX_OF.get(pattern)) is not None:
        return known
    if re.fullmatch(r"[\w-]*", pattern):
        names = ", ".join(f'"{name}"' for name in NAMES)
        raise ValueError(
            f"pattern={pattern!r}: there is no pattern of this name; there are {names}, "
            "or pass a regex"
        )
    return _core.pat_str(pattern)


def name_of(pat_str: str) -> str | None:
    """The name of a pattern given by its regex, if it has one.

    Raises:
        ValueError: As `canonical` does.
    """
    return _NAME_OF.get(canonical(pat_str))


def of_spans(pat_str: str, spans: str | None) -> str:
    """The regex of what tokens across pretokens may lie in.

    Args:
        pat_str: The regex of the pretokens.
        spans: The regex asked for; None for the one that goes with a named pattern.

    Raises:
        ValueError: As `canonical` does, or if there is none that goes with `pat_str`.
    """
    if spans is not None:
        return canonical(spans)
    known = _core.span_pattern(pat_str)
    if known is None:
        raise ValueError(
            f"superwords_pattern=None: no pattern of spans is known for the pattern {pat_str!r}, "
            "only for named ones; give the regex of the stretches that tokens may lie in"
        )
    return known
