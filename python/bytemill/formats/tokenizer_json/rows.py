"""Several splits in a row as one pattern, where the earlier ones only part kinds of characters.

Let a split match at every character of a class C and take nothing else: single ones, runs of up to
so many, or all there are. Its pieces are then those matches and the stretches between, in which
there is no C. What the next pattern does in such a stretch, where for it the text begins and ends,
it does in the whole text too, once its classes have lost C: what it looks ahead at is either in
the stretch or counts as the end. Likewise in a run of all the C there are, with the others taken
away. Where the pieces are runs of up to so many, the next pattern has to leave each of them whole.
"""

from __future__ import annotations

from typing import Any

from bytemill import _core
from bytemill.formats import published
from bytemill.formats.regex_gaps import is_empty
from bytemill.formats.regex_parser import parse
from bytemill.formats.regex_tree import (
    Atomic,
    Class,
    Edge,
    Either,
    Intersection,
    Look,
    Node,
    One,
    Repeat,
    Sequence,
    emit,
    negate,
)


class _UnlikeError(Exception):
    """The pattern has something that these steps cannot take over."""


def as_one(splits: list[dict[str, Any]]) -> str | None:
    """One pattern that cuts as `splits` do; None if there is none of this kind.

    Args:
        splits: Splits in their order, as the Rust core takes them.
    """
    *before, last = splits
    if any(item["bytes"] for item in splits) or last["behavior"] != "Isolated":
        return None
    if not last["covers"]:
        return None
    isolated = all(item["behavior"] == "Isolated" and not item["invert"] for item in splits)
    known = published.AS_ONE.get(tuple((item["pattern"], item["covers"]) for item in splits))
    if isolated and known is not None:
        return _core.pat_str(known)
    return _worked_out(before, last)


def _worked_out(before: list[dict[str, Any]], last: dict[str, Any]) -> str | None:
    try:
        tree = parse(last["pattern"], "fancy-regex")
        for split in reversed(before):
            tree = _after(split, tree)
    except (_UnlikeError, ValueError):
        return None
    return emit(tree)


def _after(split: dict[str, Any], then: Node) -> Node:
    """What `then`, which covers all text, makes of the pieces of `split`."""
    of, all_there_are, alone = _parting(split)
    outside = _within(then, negate(of))
    inside = _within(then, of)
    if outside is None or inside is None:
        raise _UnlikeError
    if all_there_are:
        return Either((*_ways(inside), *_ways(outside)))
    if not _is_one_character(alone) and not _takes_all(inside, of):
        raise _UnlikeError
    return Either((alone, *_ways(outside)))


def _parting(split: dict[str, Any]) -> tuple[Class, bool, Node]:
    """The class, whether matches are all there are of it in a row, and the match."""
    # A pattern that covers all text has been given what it leaves as one more alternative.
    tree = parse(split["pattern"], "fancy-regex")
    if split["covers"] and isinstance(tree, Either) and len(tree.parts) == 2:
        tree = tree.parts[0]
    match tree:
        case One(of) if split["behavior"] == "Isolated":
            return of, False, tree
        case One(of) | Repeat(One(of), 1) if split["behavior"] == "Contiguous":
            return of, True, tree
        case Repeat(One(of), 1, most, False) if split["behavior"] == "Isolated":
            return of, most is None, tree
    raise _UnlikeError


def _is_one_character(node: Node) -> bool:
    return isinstance(node, One)


def _within(node: Node, of: Class) -> Node | None:
    """`node` where all characters are of a class and all others end the text; None: it never
    matches."""
    match node:
        case One(other):
            both = _both(other, of)
            return None if both is None else One(both)
        case Edge(r"\z"):
            return Look("(?!", One(of))
        case Look(("(?=" | "(?!") as opening, One(other)):
            both = _both(other, of)
            if both is not None:
                return Look(opening, One(both))
            return None if opening == "(?=" else Sequence(())
        case Repeat():
            inner = _within(node.inner, of)
            if inner is None:
                return Sequence(()) if node.least == 0 else None
            return node._replace(inner=inner)
        case Atomic():
            inner = _within(node.inner, of)
            return None if inner is None else Atomic(inner)
        case Sequence():
            parts = [_within(part, of) for part in node.parts]
            known = [part for part in parts if part is not None and part != Sequence(())]
            return None if None in parts else Sequence(tuple(known))
        case Either():
            ways = [way for part in node.parts if (way := _within(part, of)) is not None]
            return Either(tuple(ways)) if ways else None
    raise _UnlikeError


def _both(a: Class, b: Class) -> Class | None:
    """The characters of both classes, if there are any."""
    if is_empty(Intersection(False, (a, b))):
        return None
    if is_empty(Intersection(False, (a, negate(b)))):
        return a
    return Intersection(False, (a, b))


def _ways(node: Node) -> tuple[Node, ...]:
    return node.parts if isinstance(node, Either) else (node,)


def _takes_all(node: Node, of: Class) -> bool:
    """Whether a node, which is `_within` the class, surely takes a run of it whole."""
    match node:
        case Either((only,)) | Sequence((only,)) | Atomic(only):
            return _takes_all(only, of)
        case Repeat(inner, 1, None, False):
            left = of
            for way in _ways(inner):
                while isinstance(way, (Sequence, Either)) and len(way.parts) == 1:
                    (way,) = way.parts
                if not isinstance(way, One):
                    return False
                left = Intersection(False, (left, negate(way.of)))
            return is_empty(left)
    return False
