"""Characters and classes of characters in a split pattern, as an engine reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from bytemill.formats import regex_names as names
from bytemill.formats.regex_tree import Class, Engine, Intersection, Property, Range, Union

MAX_DEPTH: Final = 50
"""Groups, and classes, in each other."""
_CONTROLS: Final = {
    "n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b",
}  # fmt: skip


class Characters:
    """A place in a pattern, and what reads characters and classes there."""

    def __init__(self, text: str, engine: Engine) -> None:
        self.text, self.engine, self.at = text, engine, 0
        self.ruby = engine == "oniguruma"

    def refuse(self, start: int, what: str) -> ValueError:
        """The error for what was read since `start`."""
        shown = self.text[start : max(self.at, start + 1)]
        return ValueError(
            f"the pattern {self.text!r} holds {shown!r} (at {start}), {what}, which Hugging Face's "
            "tokenizers may read differently than bytemill; write it with an equivalent that "
            "avoids it"
        )

    def peek(self, text: str) -> bool:
        """Whether `text` comes next."""
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        """Passes over `text`, if it comes next."""
        found = self.peek(text)
        self.at += len(text) * found
        return found

    def match(self, regex: str) -> re.Match[str] | None:
        """Passes over what `regex` matches, if it does here."""
        found = re.compile(regex).match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def shorthand(self, start: int, word: Mapping[str, Union]) -> Union | None:
        r"""The class that an escape stands for, after its \."""
        char = self.text[self.at : self.at + 1]
        lower = char.lower()
        if char and lower in "sdwh":
            self.at += 1
            known = {
                "s": Union(False, (Property(r"\s", False),)),
                "d": Union(False, (Property(r"\d", False),)),
                "w": word[self.engine],
                "h": names.HEX,
            }[lower]
            return known if char == lower else known._replace(negated=True)
        if lower != "p":
            return None
        found = self.match(r"[pP]\{(\^?)([^{}]*)\}")
        if not found and not self.ruby:
            found = self.match(r"[pP]()([LMNPSZC])")
        if not found:
            self.at += 1
            raise self.refuse(start, "a property without braces")
        key = re.sub(r"[ _-]", "", found[2]).lower()
        negated = (char == "P") != bool(found[1])
        if found[1] and not self.ruby:
            raise self.refuse(start, "a property")
        posix = None
        if self.ruby and key != "punct":
            posix = word["oniguruma"] if key == "word" else names.POSIX["oniguruma"].get(key)
        if posix is not None:
            return posix._replace(negated=posix.negated != negated)
        if key not in names.PROPERTIES:
            raise self.refuse(start, "a property")
        return Union(negated, (Property(rf"\p{{{names.PROPERTIES[key]}}}", False),))

    def escaped_char(self, start: int, in_class: bool = False) -> str:
        r"""The character that an escape stands for, after its \."""
        if found := self.match(r"x\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})"):
            code = int(found[1] or found[2] or found[3], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000 or (found[3] and code > 0x7F):
                raise self.refuse(start, "not the number of a character in both engines")
            return chr(code)
        char = self.text[self.at : self.at + 1]
        self.at += 1
        if in_class and char == "b" and self.ruby:
            return "\b"
        if char in _CONTROLS and char:
            return _CONTROLS[char]
        if not char or (char.isascii() and char.isalnum()) or (char in "<>" and not self.ruby):
            raise self.refuse(start, "an escape")
        return char

    def char_class(self, depth: int) -> Class:
        """A class in brackets."""
        start = self.at
        self.take("[")
        negated = self.take("^")
        if self.peek("]") or depth > MAX_DEPTH:
            raise self.refuse(start, "a ] at the beginning of a class")
        parts: list[Class] = []
        items: list[Range | Property | Union | Intersection] = []
        while not self.take("]"):
            if self.at >= len(self.text):
                raise self.refuse(start, "a class without an end")
            here = self.at
            if self.take("&&"):
                parts.append(Union(False, tuple(items)))
                items = []
            elif self.match(r"--|~~"):
                raise self.refuse(here, "a set operation")
            elif found := self.match(r"\[:(\^?)([a-z]+):\]"):
                posix = names.POSIX[self.engine].get(found[2])
                if posix is None:
                    raise self.refuse(here, "a POSIX bracket")
                items.append(posix._replace(negated=posix.negated != bool(found[1])))
            elif self.peek("[:"):
                raise self.refuse(here, "a POSIX bracket")
            elif self.peek("["):
                items.append(self.char_class(depth + 1))
            else:
                items.append(self.item(here, first=not items))
        if not parts:
            return Union(negated, tuple(items))
        parts.append(Union(False, tuple(items)))
        if not all(part.items for part in parts if isinstance(part, Union)):
            raise self.refuse(start, "an intersection with nothing")
        return Intersection(negated, tuple(parts))

    def item(self, start: int, first: bool) -> Range | Property | Union:
        """A character, range or shorthand in brackets; `first` if it is the first there."""
        if self.peek("\\"):
            self.at += 1
            found = self.shorthand(start, names.WORD_IN_BRACKETS)
            if found is not None:
                if re.match(r"-[^\]]", self.text[self.at :]):
                    raise self.refuse(start, "a - after a class")
                item = found.items[0]
                if len(found.items) == 1 and isinstance(item, Property):
                    return Property(item.text, item.negated != found.negated)
                return found
            char = self.escaped_char(start, in_class=True)
        else:
            char = self.text[self.at]
            self.at += 1
            if char == "-" and not first and not self.peek("]"):
                raise self.refuse(start, "a - that may be read as a range")
        if not re.match(r"-[^\]]", self.text[self.at :]):
            return Range(char, char)
        if self.peek("--") and not self.ruby:  # a set operation, not a range to -
            raise self.refuse(start, "a range that may be read as a set operation")
        self.at += 1
        if self.peek("["):
            raise self.refuse(start, "a range to a class")
        if self.take("\\"):
            if self.shorthand(start, names.WORD_IN_BRACKETS) is not None:
                raise self.refuse(start, "a range to a class")
            last = self.escaped_char(start, in_class=True)
        else:
            last = self.text[self.at]
            self.at += 1
        if last < char:
            raise self.refuse(start, "a range that runs backwards")
        return Range(char, last)
