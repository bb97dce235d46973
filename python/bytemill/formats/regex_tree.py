"""Split patterns as trees, in a form that two regex engines read alike.

Hugging Face's `tokenizers` reads patterns with Oniguruma in Ruby syntax, bytemill and tiktoken with
fancy-regex. `regex_parser.parse` makes a tree of what one of them means by a text, and `emit`
writes a text that both read as that tree. Trees are tuples, so that equal readings are equal.
"""

from __future__ import annotations

import functools
from typing import Final, Literal, NamedTuple, TypeAlias

Engine: TypeAlias = Literal["oniguruma", "fancy-regex"]


class Range(NamedTuple):
    """Characters from `first` to `last`, both included."""

    first: str
    last: str


class Property(NamedTuple):
    """The characters that a class such as `\\s` or `\\p{L}` names alike in both engines."""

    text: str
    """Its text, not negated."""
    negated: bool


class Union(NamedTuple):
    """A class of characters: all that is in one of the items, or in none."""

    negated: bool
    items: tuple[Range | Property | Union | Intersection, ...]


class Intersection(NamedTuple):
    """The characters that are in all of several classes, or those that are not."""

    negated: bool
    parts: tuple[Class, ...]


Class: TypeAlias = "Union | Intersection"


class One(NamedTuple):
    """One character of a class."""

    of: Class


class Edge(NamedTuple):
    """The beginning (`\\A`) or the end (`\\z`) of the text."""

    text: str


class Look(NamedTuple):
    """A look-around."""

    opening: str
    """`(?=`, `(?!`, `(?<=` or `(?<!`."""
    inner: Node


class Repeat(NamedTuple):
    """Repetition, greedy or lazy."""

    inner: Node
    least: int
    most: int | None
    lazy: bool


class Atomic(NamedTuple):
    """What is not given back; of a repetition, a possessive one."""

    inner: Node


class Sequence(NamedTuple):
    """One after another."""

    parts: tuple[Node, ...]


class Either(NamedTuple):
    """The first that lets the whole match."""

    parts: tuple[Node, ...]


Node: TypeAlias = "One | Edge | Look | Repeat | Atomic | Sequence | Either"

ANYTHING: Final = Union(False, (Property(r"\s", False), Property(r"\s", True)))
NEWLINE: Final = Union(False, (Range("\n", "\n"),))


def negate(of: Class) -> Class:
    """All other characters."""
    return of._replace(negated=not of.negated)


def may_be_empty(node: Node) -> bool:
    """Whether it can match without taking a character."""
    match node:
        case One():
            return False
        case Edge() | Look():
            return True
        case Repeat():
            return node.least == 0 or may_be_empty(node.inner)
        case Atomic():
            return may_be_empty(node.inner)
        case Sequence():
            return all(map(may_be_empty, node.parts))
        case Either():
            return any(map(may_be_empty, node.parts))


def emit(node: Node) -> str:
    """A text that both engines read as `node`."""
    match node:
        case One():
            return emit_class(node.of)
        case Edge():
            return node.text
        case Look():
            return f"{node.opening}{emit(node.inner)})"
        case Repeat():
            return _unit(node.inner) + _quantifier(node)
        case Atomic(Repeat() as inner):
            quantifier = _quantifier(inner)
            if quantifier in ("?", "*", "+"):
                return f"{_unit(inner.inner)}{quantifier}+"
            return f"(?>{emit(inner)})"
        case Atomic():
            return f"(?>{emit(node.inner)})"
        case Sequence():
            return "".join(_unit(p) if isinstance(p, Either) else emit(p) for p in node.parts)
        case Either():
            return "|".join(map(emit, node.parts))


def emit_class(of: Class) -> str:
    """The text of a class, in brackets where it needs them."""
    if isinstance(of, Intersection):
        return f"[{'^' * of.negated}{'&&'.join(map(_bracketed, of.parts))}]"
    if len(of.items) == 1:
        (item,) = of.items
        if isinstance(item, Property):
            return _property(item, of.negated)
        if isinstance(item, Range) and item.first == item.last and not of.negated:
            return escape(item.first)
        if not isinstance(item, (Range, Property)) and not of.negated:
            return emit_class(item)
    return _in_brackets(of)


def escape(char: str) -> str:
    """A character as both engines read it, inside brackets and outside."""
    known = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\f": r"\f", "\v": r"\v"}
    if char in known:
        return known[char]
    if char.isascii() and not char.isprintable():
        return f"\\x{ord(char):02x}"
    if char in r"\.+*?()|[]{}^$&-~":
        return "\\" + char
    return char if char.isprintable() else f"\\x{{{ord(char):x}}}"


def _in_brackets(of: Union) -> str:
    inside = ""
    for item in of.items:
        if isinstance(item, Range):
            inside += escape(item.first)
            if item.last != item.first:
                inside += "-" + escape(item.last)
        elif isinstance(item, Property):
            inside += _property(item, False)
        else:
            inside += _bracketed(item)
    return f"[{'^' * of.negated}{inside}]"


def _bracketed(of: Class) -> str:
    text = emit_class(of)
    return text if text.startswith("[") else f"[{text}]"


def _property(item: Property, negated: bool) -> str:
    if item.negated == negated:
        return item.text
    return item.text[0] + item.text[1].upper() + item.text[2:]


def _unit(node: Node) -> str:
    text = emit(node)
    return text if isinstance(node, One) else f"(?:{text})"


def _quantifier(node: Repeat) -> str:
    least, most = node.least, node.most
    simple = {(0, 1): "?", (0, None): "*", (1, None): "+"}.get((least, most))
    if simple is None:
        simple = f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"
    # Ruby reads `{2}?` as `(?:{2})?`; lazy or not, a fixed number is the same.
    return simple + "?" * (node.lazy and least != most)


# Letters and case

ORBITS: Final = {"k": "kK\u212a", "s": "sS\u017f"}
"""ASCII letters that more than two characters are folded to; others have their two cases."""


@functools.cache
def several_folded() -> frozenset[str]:
    """The first two characters of each case folding to several characters (of ß: "ss")."""
    # No character beyond the first plane is folded to several.
    folded = (chr(c).casefold() for c in range(0x10000))
    return frozenset(text[:2] for text in folded if len(text) > 1)


def orbit(char: str) -> str:
    """The characters that differ from an ASCII character in case alone, and itself."""
    lower = char.lower()
    return ORBITS.get(lower, char if lower == char.upper() else lower + char.upper())
