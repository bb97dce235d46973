"""A tokenizer.json's normalizer and pre-tokenizer, in the Rust core's terms.

Sequences are flattened. Normalizers become steps of `bytemill.shape.Shape`; pre-tokenizers become
one regex where one can say it, otherwise the text of several splits in a row, which the Rust core
takes as a pattern too (`rust/src/pretokenize/steps.rs`).
"""

import json
import re
from typing import Any, Final, NamedTuple

from bytemill import patterns
from bytemill.formats import oniguruma
from bytemill.formats.tokenizer_json import rows

_FORMS: Final = ("NFC", "NFD", "NFKC", "NFKD")
_BEHAVIORS: Final = (
    "Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext",
)  # fmt: skip
_MAX_PARTS: Final = 1000
_NUMBER: Final = r"\p{N}"
_PUNCTUATION: Final = r"[!-/:-@\[-`{-~\p{P}]"


class Cutting(NamedTuple):
    """How text is cut."""

    pattern: str
    """A regex, or several splits in a row."""
    prefix_space: bool
    """Whether a space is put before text that does not begin with one."""


def flattened(part: Any, key: str, where: str) -> list[dict[str, Any]]:
    """The components of a part and of the sequences in it, in their order.

    Args:
        part: None, or a component.
        key: Where a Sequence has its components.
        where: For messages.

    Raises:
        ValueError: For what is not a component with a type; for more than 1,000 of them.
    """
    found: list[dict[str, Any]] = []
    waiting = [] if part is None else [part]
    seen = 0
    while waiting:
        item = waiting.pop()
        seen += 1
        if seen > _MAX_PARTS:
            raise ValueError(f"{where} has more than {_MAX_PARTS} components")
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            raise ValueError(f"{where}: {_short(item)} is not a component with a type")
        if item["type"] != "Sequence":
            found.append(item)
            continue
        inner = item.get(key)
        if not isinstance(inner, list):
            raise ValueError(f"{where}: {_short(item)} has no list of {key}")
        waiting += reversed(inner)
    return found


def normalizers(part: Any) -> tuple[dict[str, Any], ...]:
    """The steps of a normalizer.

    Raises:
        ValueError: For one that has no counterpart, naming it.
    """
    return tuple(
        _normalizer(step, step["type"]) for step in flattened(part, "normalizers", "normalizer")
    )


def _normalizer(step: dict[str, Any], kind: str) -> dict[str, Any]:
    if kind in _FORMS or kind == "Lowercase":
        return {"type": kind}
    if kind == "Strip":
        sides = ("strip_left", "strip_right")
        return {"type": kind, **{side: _bool(step, side, None, "normalizer") for side in sides}}
    if kind == "Prepend":
        before = _text(step, "prepend", "normalizer")
        if not before:
            raise ValueError(
                "normalizer: Prepend's prepend is empty, which tokenizers stumbles over"
            )
        return {"type": kind, "prepend": before}
    if kind == "Replace":
        content = _text(step, "content", "normalizer")
        which, text = _pattern(step, "normalizer")
        if which == "String":
            return {"type": kind, "text": text, "content": content}
        regex = _translated(text, keeps_gaps=False)
        return {"type": kind, "regex": regex, "content": content}
    raise ValueError(f"normalizer {kind} has no counterpart in bytemill")


def cutting(part: Any) -> Cutting:
    """How a pre-tokenizer cuts text into pretokens.

    Raises:
        ValueError: If it is not byte-level; for a component or a regex that has no counterpart,
            naming it.
    """
    parts = flattened(part, "pretokenizers", "pre_tokenizer")
    kinds = [item["type"] for item in parts]
    if kinds.count("ByteLevel") != 1:
        raise ValueError(
            f"pre_tokenizer is {kinds}, for which bytemill has no counterpart: only plain "
            "byte-level BPE can be taken over, which has ByteLevel in it once, and BPE of "
            "characters with byte_fallback"
        )
    splits: list[dict[str, Any]] = []
    prefix_space = after = False
    for item in parts:
        kind = item["type"]
        if kind != "ByteLevel":
            splits.append({**split(item), "bytes": after})
            continue
        after = True
        prefix_space = _bool(item, "add_prefix_space", True, "pre_tokenizer")
        if prefix_space and splits:
            raise ValueError(
                "pre_tokenizer: ByteLevel with add_prefix_space after other splits puts a space "
                "before every piece, for which bytemill has no counterpart"
            )
        if _bool(item, "use_regex", True, "pre_tokenizer"):
            gpt2 = _isolated(patterns.canonical("gpt2"), covers=True)
            splits.append({**gpt2, "bytes": False})
    if not splits:
        return Cutting(r"(?s:.+)", prefix_space)
    (only, *more) = splits
    plain = (only["behavior"] == "Isolated" and only["covers"]) or (
        only["behavior"] == "Removed" and only["invert"]
    )
    if plain and not more and not only["bytes"]:
        return Cutting(only["pattern"], prefix_space)
    return Cutting(in_a_row(splits), prefix_space)


def in_a_row(splits: list[dict[str, Any]]) -> str:
    """Splits, as `split` gives them with "bytes", as one pattern."""
    one = rows.as_one(splits)
    return json.dumps({"splits": splits}, separators=(",", ":")) if one is None else one


def split(item: dict[str, Any]) -> dict[str, Any]:
    """One pre-tokenizer other than ByteLevel, in the Rust core's terms, but for "bytes".

    Raises:
        ValueError: For one that has no counterpart, naming it.
    """
    kind = item["type"]
    if kind == "Split":
        which, text = _pattern(item, "pre_tokenizer")
        behavior = item.get("behavior")
        if behavior not in _BEHAVIORS:
            raise ValueError(f"pre_tokenizer: Split's behavior is {behavior!r}")
        invert = _bool(item, "invert", None, "pre_tokenizer")
        if which == "String":
            return _of(re.escape(text), behavior, invert)
        if behavior == "Isolated":
            return _isolated(_translated(text, keeps_gaps=True), covers=True)
        return _of(_translated(text, keeps_gaps=False), behavior, invert)
    if kind == "Digits":
        alone = _bool(item, "individual_digits", None, "pre_tokenizer")
        return _of(_NUMBER, "Isolated" if alone else "Contiguous")
    if kind == "Punctuation":
        behavior = item.get("behavior", "Isolated")
        if behavior not in _BEHAVIORS:
            raise ValueError(f"pre_tokenizer: Punctuation's behavior is {behavior!r}")
        return _of(_PUNCTUATION, behavior)
    if kind == "Whitespace":
        return _of(r"\w+|[^\w\s]+", "Removed", invert=True)
    if kind == "WhitespaceSplit":
        return _of(r"\s", "Removed")
    if kind == "CharDelimiterSplit":
        return _of(re.escape(_text(item, "delimiter", "pre_tokenizer")), "Removed")
    raise ValueError(f"pre_tokenizer {kind} has no counterpart in bytemill")


def _of(pattern: str, behavior: str, invert: bool = False) -> dict[str, Any]:
    if re.fullmatch(r"[\w-]*", pattern):  # not to be taken for a name
        pattern = f"(?:{pattern})"
    return {"pattern": pattern, "behavior": behavior, "invert": invert, "covers": False}


def _isolated(pattern: str, *, covers: bool) -> dict[str, Any]:
    return {"pattern": pattern, "behavior": "Isolated", "invert": False, "covers": covers}


def _translated(text: str, *, keeps_gaps: bool) -> str:
    if not keeps_gaps and oniguruma.may_match_nothing(text):
        raise ValueError(
            f"the pattern {text!r} may match nothing, and each such match would divide the text; "
            "write it with an equivalent that always takes a character (+ for *)"
        )
    return oniguruma.from_oniguruma(text, keeps_gaps=keeps_gaps)


def _pattern(item: dict[str, Any], where: str) -> tuple[str, str]:
    pattern = item.get("pattern")
    if isinstance(pattern, dict) and len(pattern) == 1:
        ((which, text),) = pattern.items()
        if which in ("Regex", "String") and isinstance(text, str) and text:
            return which, text
    kind = item["type"]
    raise ValueError(
        f"{where}: {kind} by {pattern!r} is not supported, only by a Regex or a String"
    )


def _text(item: dict[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {item['type']}'s {key} is {value!r}, not a text")
    return value


def _bool(item: dict[str, Any], key: str, default: bool | None, where: str) -> bool:
    value = item.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"{where}: {item['type']}'s {key} is {value!r}, neither true nor false")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:80] + "..."
