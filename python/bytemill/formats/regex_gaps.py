"""What a pattern leaves unmatched, as pretokens of their own.

Hugging Face's Split with "Isolated" keeps the text between two matches as a pretoken; here it
belongs to none. So another alternative is put behind such a pattern, which matches a whole gap:
characters at which the pattern does not match, one after another. What is looked behind at is the
same text, and the alternative is reached only where the pattern itself does not match, so that no
other match changes.
"""

from __future__ import annotations

import array
import functools
import itertools
import sys
from typing import Final, NamedTuple

from bytemill import _core
from bytemill.formats.regex_tree import (
    ANYTHING,
    Atomic,
    Class,
    Edge,
    Either,
    Intersection,
    Look,
    Node,
    One,
    Property,
    Range,
    Repeat,
    Sequence,
    Union,
    emit,
    emit_class,
    may_be_empty,
    negate,
)


class _Starts(NamedTuple):
    """Where a pattern surely matches, by the one or two characters that follow."""

    singles: list[Class]
    pairs: list[tuple[Class, Class]]
    exact: bool
    """Whether it matches nowhere else."""


def gap_of(node: Node) -> str | None:
    """The alternative that matches a gap between matches of `node`; None if there are none.

    Raises:
        ValueError: The pattern may match nothing: such matches divide gaps.
    """
    if may_be_empty(node):
        raise ValueError(
            "it may match nothing, and each such match would divide the text between others; "
            "write it with an equivalent that always takes a character (+ for *)"
        )
    starts = _needed(node)
    singles = _join(starts.singles)
    if singles is not None and is_empty(negate(singles)):
        return None
    firsts = {emit_class(first) for first, _ in starts.pairs}
    if starts.exact and (len(firsts) <= 1 or all(_is_one_character(p[0]) for p in starts.pairs)):
        return _simple_gap(starts, singles)
    first = _firsts(node)
    plain = None if first is None else _join([negate(first)])
    general = f"(?!{emit(node)}){emit_class(ANYTHING)}"
    if plain is None or is_empty(plain):
        return f"(?:{general})+"
    return f"(?:{emit_class(plain)}++|{general})+"


def _needed(node: Node) -> _Starts:
    """Where `node` matches, without what begins where a single character is enough anyway."""
    parts = node.parts if isinstance(node, Either) else (node,)
    all_of = [_starts(part) for part in parts]
    singles = [single for starts in all_of for single in starts.singles]
    enough = _join(singles)
    exact, pairs = True, []
    for part, starts in zip(parts, all_of, strict=True):
        first = _firsts(part)
        if enough is not None and first is not None and is_empty(_meet(first, negate(enough))):
            continue
        exact = exact and starts.exact
        pairs += [
            pair
            for pair in starts.pairs
            if enough is None or not is_empty(_meet(pair[0], negate(enough)))
        ]
    return _Starts(singles, pairs, exact)


def _simple_gap(starts: _Starts, singles: Class | None) -> str:
    seconds: dict[str, tuple[Class, list[Class]]] = {}
    for first, second in starts.pairs:
        seconds.setdefault(emit_class(first), (first, []))[1].append(second)
    heads = [first for first, _ in seconds.values()]
    outside = _join([*([] if singles is None else [singles]), *heads])
    ways = [emit_class(negate(outside) if outside is not None else ANYTHING)]
    if len(ways) == 1 and not heads:
        return f"{ways[0]}+"
    for first, others in seconds.values():
        head: Class = first if singles is None else _meet(first, negate(singles))
        if not is_empty(head):
            after = _join(others)
            assert after is not None
            ways.append(f"{emit_class(head)}(?!{emit_class(after)})")
    if len(ways) == 1:
        return f"{ways[0]}+"
    return f"(?:{'|'.join(ways)})+"


def _starts(node: Node) -> _Starts:
    unknown = _Starts([], [], False)
    match node:
        case One():
            return _Starts([node.of], [], True)
        case Atomic():
            return _starts(node.inner)
        case Repeat(inner, 1):
            return _starts(inner)
        case Repeat(One(of), 2):
            return _Starts([], [(of, of)], True)
        case Either():
            all_of = [_starts(part) for part in node.parts]
            return _Starts(
                [single for starts in all_of for single in starts.singles],
                [pair for starts in all_of for pair in starts.pairs],
                all(starts.exact for starts in all_of),
            )
        case Sequence():
            return _sequence_starts(node.parts)
    return unknown


def _sequence_starts(parts: tuple[Node, ...]) -> _Starts:
    while parts and _is_optional(parts[-1]):
        parts = parts[:-1]
    if len(parts) <= 1:
        return _starts(parts[0]) if parts else _Starts([], [], False)
    head = parts[0]
    rest = _sequence_starts(parts[1:])
    match head:
        case One(of):
            pairs = [(of, single) for single in rest.singles]
            return _Starts([], pairs, rest.exact and not rest.pairs)
        case Repeat(One(of), 0, most):
            pairs = [(of, single) for single in rest.singles]
            exact = most == 1 and rest.exact and not rest.pairs
            return _Starts(rest.singles, [*pairs, *rest.pairs], exact)
        case Atomic(Repeat(One(of), 0, most)):
            kept = [_meet(single, negate(of)) for single in rest.singles]
            pairs = [(of, single) for single in rest.singles] if most == 1 else []
            return _Starts(kept, pairs, most == 1 and rest.exact and not rest.pairs)
    return _Starts([], [], False)


def _is_optional(node: Node) -> bool:
    """Whether it always matches, if only nothing."""
    if isinstance(node, Atomic):
        return _is_optional(node.inner)
    return isinstance(node, Repeat) and node.least == 0


def _firsts(node: Node) -> Class | None:
    """A class that holds the first character of every match; None for any character."""
    match node:
        case One():
            return node.of
        case Edge() | Look():
            return None
        case Repeat() | Atomic():
            return _firsts(node.inner)
        case Either():
            found = [_firsts(part) for part in node.parts]
        case Sequence():
            found = []
            for part in node.parts:
                if not isinstance(part, (Edge, Look)):
                    found.append(_firsts(part))
                if not may_be_empty(part):
                    break
    known = [of for of in found if of is not None]
    return _join(known) if known and len(known) == len(found) else None


def _join(classes: list[Class]) -> Union | None:
    """The characters of all of them."""
    items = {}
    for of in classes:
        parts = of.items if isinstance(of, Union) and not of.negated else (of,)
        items.update(dict.fromkeys(parts))
    if not items:
        return None
    (only, *more) = items
    if not more and isinstance(only, Union):
        return only
    return Union(False, tuple(items))


def _meet(a: Class, b: Class) -> Class:
    return Intersection(False, (a, b))


def _is_one_character(of: Class) -> bool:
    return len(emit_class(of)) <= 2 and not is_empty(of)


_EVERY: Final = (1 << 0x110000) - 1 & ~(((1 << 0x800) - 1) << 0xD800)
"""All characters, a bit for each code point."""


@functools.cache
def _every_character() -> str:
    codes = array.array("I", itertools.chain(range(0xD800), range(0xE000, 0x110000)))
    return codes.tobytes().decode(f"utf-32-{sys.byteorder[0]}e")


@functools.cache
def _named(text: str) -> int:
    """The characters of a class such as `\\s`, as bits; the core says which they are."""
    counting = _core.CountingPass(f"{text}+", [], num_threads=1)
    counting.feed([_every_character()])
    bits = 0
    for run, _ in counting.finish().items():
        characters = run.decode()
        bits |= _range(characters[0], characters[-1])
    return bits & _EVERY


def _range(first: str, last: str) -> int:
    return ((1 << ord(last) - ord(first) + 1) - 1) << ord(first)


def _members(of: Class | Range | Property) -> int:
    """The characters of a class, as bits."""
    match of:
        case Range(first, last):
            return _range(first, last)
        case Property(text, negated):
            bits = _named(text)
        case Union(negated, items):
            bits = 0
            for item in items:
                bits |= _members(item)
        case Intersection(negated, parts):
            bits = _EVERY
            for part in parts:
                bits &= _members(part)
    return _EVERY & ~bits if negated else bits


@functools.lru_cache(4096)
def is_empty(of: Class) -> bool:
    """Whether no character is in the class."""
    return _members(of) & _EVERY == 0
