"""Patterns to and from Hugging Face's `tokenizers`, which reads them with Oniguruma (Ruby syntax).

Both ways a pattern is parsed as the engine that it comes from reads it (`regex_parser`). If the
other engine reads the same tree, its text is kept, otherwise the tree is written anew
(`regex_tree.emit`): `\\w`, `\\b`, `^`, `$`, `\\Z`, `{1,3}+`, POSIX brackets, letters in any case.
"""

import re
from typing import Final

from bytemill import _core, patterns
from bytemill.formats import published, regex_gaps
from bytemill.formats.regex_parser import parse
from bytemill.formats.regex_tree import Engine, Node, emit, may_be_empty

# `cl100k` with what Oniguruma reads differently replaced, as it has long been written.
_CL100K: Final = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++\z|\s*[\r\n]|\s+(?!\S)|\s"
)

_FLAGS: Final = re.compile(r"\(\?[a-zA-Z-]+\)")
"""Flags that hold to the end of a group."""


def to_oniguruma(pat_str: str) -> str:
    """A text that Oniguruma reads as bytemill reads `pat_str`.

    Raises:
        ValueError: If it holds a construct that cannot be expressed, naming it.
    """
    if patterns.name_of(pat_str) == "cl100k":
        return _CL100K
    return _translate(pat_str, "fancy-regex", "oniguruma")[0]


def from_oniguruma(text: str, *, keeps_gaps: bool) -> str:
    """The regex of a pattern found in a tokenizer.json.

    Args:
        text: The pattern.
        keeps_gaps: Whether text that it does not match is pretokens ("Isolated") or left out.

    Raises:
        ValueError: If it holds a construct that cannot be expressed, naming it; with `keeps_gaps`
            also if it may match nothing; if it is not a valid regex.
    """
    if text == _CL100K:
        return _core.pat_str("cl100k")
    if text in published.TAKEN_OVER and (keeps_gaps or text in published.KEPT):
        return published.TAKEN_OVER[text] if keeps_gaps else text
    return _taken_over(text, keeps_gaps)


def _taken_over(text: str, keeps_gaps: bool) -> str:
    regex, tree = _translate(text, "oniguruma", "fancy-regex")
    if re.fullmatch(r"[\w-]*", regex):  # not to be taken for a name
        regex = f"(?:{regex})"
    if patterns.name_of(regex) is not None:
        return patterns.canonical(regex)
    if keeps_gaps:
        try:
            gap = regex_gaps.gap_of(tree)
        except ValueError as error:
            raise ValueError(f"the pattern {text!r} cannot be taken over: {error}") from None
        if gap is not None:
            # Written anew, so that no flag reaches the new alternative.
            regex = f"{emit(tree) if _FLAGS.search(regex) else regex}|{gap}"
    return regex


def may_match_nothing(text: str) -> bool:
    """Whether Oniguruma may match nothing with `text`.

    Raises:
        ValueError: As `from_oniguruma`.
    """
    return text not in published.TAKEN_OVER and may_be_empty(parse(text, "oniguruma"))


def _translate(text: str, source: Engine, target: Engine) -> tuple[str, Node]:
    tree = parse(text, source)
    try:
        same = parse(text, target) == tree
    except ValueError:
        same = False
    return (text if same else emit(tree)), tree
