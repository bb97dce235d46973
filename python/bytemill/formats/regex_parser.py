"""What an engine means by a split pattern: text -> tree, or a refusal that names the construct."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from bytemill.formats import regex_names as names
from bytemill.formats.regex_characters import MAX_DEPTH, Characters
from bytemill.formats.regex_tree import (
    ANYTHING,
    NEWLINE,
    Atomic,
    Class,
    Edge,
    Either,
    Engine,
    Look,
    Node,
    One,
    Property,
    Range,
    Repeat,
    Sequence,
    Union,
    may_be_empty,
    negate,
    orbit,
    several_folded,
)

_FLAGS: Final[dict[str, str]] = {"oniguruma": "im", "fancy-regex": "ims"}


def parse(text: str, engine: Engine) -> Node:
    """The tree of `text` as `engine` reads it.

    Raises:
        ValueError: For a construct whose meaning is not known to be one that both engines can be
            told; it is named. Texts that `engine` itself refuses may be read all the same.
    """
    parser = _Parser(text, engine)
    node = parser.alternatives("", 0)
    if parser.at < len(text):
        raise parser.refuse(parser.at, "an unmatched )")
    return node


class _Parser(Characters):
    def alternatives(self, flags: str, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.refuse(self.at, f"more than {MAX_DEPTH} groups in each other")
        parts = []
        while True:
            part, flags = self.sequence(flags, depth)
            parts.append(part)
            if not self.take("|"):
                return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def sequence(self, flags: str, depth: int) -> tuple[Node, str]:
        parts: list[Node] = []
        begin = self.at
        while self.at < len(self.text) and not self.peek("|") and not self.peek(")"):
            start = self.at
            alone = self.match(r"\(\?([a-zA-Z-]+)\)")
            if alone:
                new = self.flags(flags, alone[1], start)
                if self.ruby:  # they hold for the alternatives that follow, as one part
                    parts.append(self.alternatives(new, depth + 1))
                else:
                    flags = new
                continue
            parts.append(self.quantified(self.atom(flags, depth), start))
        if "i" in flags and self.ruby:
            self.check_folding(parts, begin)
        flat: list[Node] = []
        for part in parts:
            flat += part.parts if isinstance(part, Sequence) else (part,)
        return (flat[0] if len(flat) == 1 else Sequence(tuple(flat))), flags

    def quantified(self, node: Node, start: int) -> Node:
        repeated = False
        while found := self.match(r"([?*+])([?+]?)|\{(\d*)(,?)(\d*)\}(\+|\?)?"):
            sign, manner, low, comma, high, after = found.groups()
            if sign is None and not (low or high) and (self.ruby or not comma):
                self.at = found.start()  # literal
                return node
            least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(sign, (0, None))
            if sign is None:
                least = int(low or 0)
                most = least if not comma else int(high) if high else None
                manner = after or ""
            if repeated and not self.ruby:
                raise self.refuse(start, "a repetition of a repetition")
            if most is not None and most < least:
                raise self.refuse(start, "a repetition of more than its most")
            if may_be_empty(node) and (most is None or most > 1):
                raise self.refuse(start, "a repetition of what may match nothing")
            if isinstance(node, (Edge, Look)):
                raise self.refuse(start, "a repetition of a place")
            if sign is None and self.ruby and manner == "+":
                node = Repeat(Repeat(node, least, most, False), 1, None, False)
                if least == 0:
                    raise self.refuse(start, "a repetition of what may match nothing")
            elif sign is None and self.ruby and manner == "?" and least == most:
                node = Repeat(Repeat(node, least, most, False), 0, 1, False)
            else:
                node = Repeat(node, least, most, manner == "?" and least != most)
                node = Atomic(node) if manner == "+" else node
            repeated = True
        return node

    def atom(self, flags: str, depth: int) -> Node:
        start = self.at
        if self.take("("):
            return self.group(flags, depth, start)
        if self.peek("["):
            return self.bracketed(flags)
        if self.take("\\"):
            return self.escaped(flags, start)
        char = self.text[self.at]
        self.at += 1
        if char == ".":
            whole = "m" if self.ruby else "s"
            return One(ANYTHING if whole in flags else negate(NEWLINE))
        if char == "^":
            begins: Node = Edge(r"\A")
            if self.ruby:  # not after the newline at the end of the text
                after = (Look("(?<=", One(NEWLINE)), Look("(?=", One(ANYTHING)))
                return Either((begins, Sequence(after)))
            return begins if "m" not in flags else self.fancy_line_start(begins)
        if char == "$":
            end: Node = Edge(r"\z")
            multi = self.ruby or "m" in flags
            return Look("(?=", Either((One(NEWLINE), end))) if multi else end
        if char in "*+?":
            raise self.refuse(start, "a repetition of nothing")
        return self.literal(char, flags, start)

    @staticmethod
    def fancy_line_start(begins: Node) -> Node:
        return Either((begins, Look("(?<=", One(NEWLINE))))

    def group(self, flags: str, depth: int, start: int) -> Node:
        opening = "("
        if self.peek("?") or self.peek("*"):
            name = r"\?<[^\W\d]\w*>" if self.ruby else r"\?P?<[^\W\d]\w*>"
            found = self.match(rf"\?(?:[:=!>]|<[=!])|{name}|\?[a-zA-Z-]*:")
            if not found:
                self.at = min(start + 4, len(self.text))
                raise self.refuse(start, "a group of a special kind")
            opening += found[0]
            if opening.endswith(":"):
                flags = self.flags(flags, found[0][1:-1], start)
        inner = self.alternatives(flags, depth + 1)
        if not self.take(")"):
            raise self.refuse(start, "a group without an end")
        if opening in ("(?=", "(?!", "(?<=", "(?<!"):
            return Look(opening, inner)
        return Atomic(inner) if opening == "(?>" else inner

    def flags(self, flags: str, text: str, start: int) -> str:
        on, _, off = text.partition("-")
        if not set(on + off) <= set(_FLAGS[self.engine]):
            raise self.refuse(start, "a flag")
        return "".join(set(flags + on) - set(off))

    # Characters

    def literal(self, char: str, flags: str, start: int) -> Node:
        if "i" not in flags:
            return One(Union(False, (Range(char, char),)))
        if char.isascii():
            chars = orbit(char)
            return One(Union(False, tuple(Range(c, c) for c in chars)))
        if char.lower() == char.upper() == char.casefold():
            return One(Union(False, (Range(char, char),)))
        raise self.refuse(start, "a letter beyond ASCII in any case")

    def check_folding(self, parts: list[Node], start: int) -> None:
        """Oniguruma folds "ss" and "ß" into each other, and all such letters."""
        pairs = several_folded()
        for left, right in itertools.pairwise(parts):
            for a in _chars(left, last=True):
                for b in _chars(right, last=False):
                    if (a + b).casefold() in pairs:
                        raise self.refuse(
                            start, f"{a + b!r} in any case, which is one letter's folding as well"
                        )

    def escaped(self, flags: str, start: int) -> Node:
        found = self.shorthand(start, names.WORD)
        if found is not None:
            if "i" in flags and not self.ruby and not _is_caseless(found):
                raise self.refuse(start, "a class in any case")
            return One(found)
        char = self.text[self.at : self.at + 1]
        word = One(names.WORD[self.engine])
        if char and char in "AzZbB" and not (char in "bB" and self.text[self.at + 1 :][:1] == "{"):
            self.at += 1
            if char in "bB":
                before, after = Look("(?<=", word), Look("(?=", word)
                none_before, none_after = Look("(?<!", word), Look("(?!", word)
                pairs = ((before, none_after), (none_before, after))
                if char == "B":
                    pairs = ((before, after), (none_before, none_after))
                return Either(tuple(Sequence(pair) for pair in pairs))
            if char == "Z":
                line = Repeat(One(NEWLINE), 0, 1 if self.ruby else None, False)
                return Look("(?=", Sequence((line, Edge(r"\z"))))
            return Edge("\\" + char)
        return self.literal(self.escaped_char(start), flags, start)

    def bracketed(self, flags: str) -> Node:
        start = self.at
        of = self.char_class(0)
        if "i" not in flags or _is_caseless(of):
            return One(of)
        ranges: list[Range] = []
        for item in of.items if isinstance(of, Union) else ():
            if isinstance(item, Range) and item.last.isascii():
                ranges.append(item)
        if len(ranges) != len(of.items if isinstance(of, Union) else of.parts):
            raise self.refuse(start, "a class of more than ASCII characters in any case")
        codes = (code for a, b in ranges for code in range(ord(a), ord(b) + 1))
        chars = sorted({char for code in codes for char in orbit(chr(code))})
        return One(Union(of.negated, tuple(Range(char, char) for char in chars)))


def _is_caseless(of: Class) -> bool:
    r"""Whether case folding adds nothing: \s, \d and their like, and what is not a letter."""
    caseless = {r"\s", r"\d", r"\p{Nd}", r"\p{Z}", r"\p{Zs}", r"\p{P}"}
    items = of.items if isinstance(of, Union) else of.parts
    return all(
        item.text in caseless
        if isinstance(item, Property)
        else item.last.isascii() and not any(_letters(item))
        if isinstance(item, Range)
        else _is_caseless(item)
        for item in items
    )


def _letters(item: Range) -> Iterator[bool]:
    return (chr(n).isalpha() for n in range(ord(item.first), ord(item.last) + 1))


def _chars(node: Node, *, last: bool) -> str:
    """The single characters of small classes that a match of `node` may begin or end with."""
    match node:
        case One(Union(False, items)) if all(isinstance(item, Range) for item in items):
            return "".join(item[0] for item in items if item[0] == item[1])
        case One() | Edge() | Look():
            return ""
        case Repeat() | Atomic():
            return _chars(node.inner, last=last)
        case Either():
            return "".join(_chars(part, last=last) for part in node.parts)
        case Sequence():
            found = ""
            for part in reversed(node.parts) if last else node.parts:
                found += _chars(part, last=last)
                if not may_be_empty(part):
                    break
            return found
