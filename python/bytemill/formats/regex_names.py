"""The classes of characters that Oniguruma and fancy-regex (regex-syntax) have names for.

`tests/formats/test_regexes.py` compares each of them, code point by code point.
"""

from typing import Final

from bytemill.formats.regex_tree import Property, Range, Union

_CATEGORIES: Final = {
    "L": "letter", "Lu": "uppercaseletter", "Ll": "lowercaseletter", "Lt": "titlecaseletter",
    "Lm": "modifierletter", "Lo": "otherletter", "M": "mark", "Mn": "nonspacingmark",
    "Mc": "spacingmark", "Me": "enclosingmark", "N": "number", "Nd": "decimalnumber",
    "Nl": "letternumber", "No": "othernumber", "P": "punctuation", "Pc": "connectorpunctuation",
    "Pd": "dashpunctuation", "Ps": "openpunctuation", "Pe": "closepunctuation",
    "Pi": "initialpunctuation", "Pf": "finalpunctuation", "Po": "otherpunctuation", "S": "symbol",
    "Sm": "mathsymbol", "Sc": "currencysymbol", "Sk": "modifiersymbol", "So": "othersymbol",
    "Z": "separator", "Zs": "spaceseparator", "Zl": "lineseparator", "Zp": "paragraphseparator",
    "C": "other", "Cc": "control", "Cf": "format", "Co": "privateuse", "Cn": "unassigned",
}  # fmt: skip
_OTHERS: Final = (
    "Alphabetic Lowercase Uppercase White_Space Emoji Emoji_Presentation Emoji_Modifier "
    "Extended_Pictographic Ideographic Arabic Armenian Bengali Bopomofo Braille Cherokee Common "
    "Coptic Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Han Hangul Hebrew "
    "Hiragana Inherited Kannada Katakana Khmer Lao Latin Malayalam Mongolian Myanmar Oriya Runic "
    "Sinhala Syriac Tamil Telugu Thaana Thai Tibetan"
)
PROPERTIES: Final[dict[str, str]] = {
    **{short.lower(): short for short in _CATEGORIES},
    **{long: short for short, long in _CATEGORIES.items()},
    **{name.lower().replace("_", ""): name for name in _OTHERS.split()},
    "punct": "P",
}
"""`\\p{...}` of one meaning, by name without case, space, hyphen and underscore."""


def _of(*names: str, chars: str = "") -> Union:
    ranges = tuple(Range(a, b) for a, b in zip(chars[::2], chars[1::2], strict=True))
    return Union(False, tuple(Property(rf"\p{{{name}}}", False) for name in names) + ranges)


_WORD: Final = _of("Alphabetic", "M", "Nd", "Pc")
WORD: Final[dict[str, Union]] = {
    # Six characters of Latin-1 are words by themselves, but not in brackets.
    "oniguruma": Union(False, _WORD.items + _of(chars="\xb2\xb3\xb9\xb9\xbc\xbe").items),
    "fancy-regex": Union(False, _WORD.items + _of(chars="\u200c\u200d").items),
}
"""What each engine means by `\\w` outside brackets, and for `\\b`."""
WORD_IN_BRACKETS: Final[dict[str, Union]] = {
    "oniguruma": _WORD,
    "fancy-regex": WORD["fancy-regex"],
}
"""What it means by `\\w` in brackets."""

_HEX: Final = "09AFaf"
POSIX: Final[dict[str, dict[str, Union]]] = {
    "oniguruma": {
        "alnum": _of("Alphabetic", "Nd"),
        "alpha": _of("Alphabetic"),
        "ascii": _of(chars="\0\x7f"),
        "blank": _of("Zs", chars="\t\t"),
        "cntrl": _of("Cc"),
        "digit": Union(False, (Property(r"\d", False),)),
        "graph": Union(True, (Property(r"\s", False), *_of("Cc", "Cn").items)),
        "lower": _of("Lowercase"),
        "print": Union(True, _of("Cc", "Cn", "Zl", "Zp").items),
        "punct": _of("P", "S"),
        "space": Union(False, (Property(r"\s", False),)),
        "upper": _of("Uppercase"),
        "word": _WORD,
        "xdigit": _of(chars=_HEX),
    },
    "fancy-regex": {
        "alnum": _of(chars="09AZaz"),
        "alpha": _of(chars="AZaz"),
        "ascii": _of(chars="\0\x7f"),
        "blank": _of(chars="\t\t  "),
        "cntrl": _of(chars="\0\x1f\x7f\x7f"),
        "digit": _of(chars="09"),
        "graph": _of(chars="!~"),
        "lower": _of(chars="az"),
        "print": _of(chars=" ~"),
        "punct": _of(chars="!/:@[`{~"),
        "space": _of(chars="\t\r  "),
        "upper": _of(chars="AZ"),
        "word": _of(chars="09AZ__az"),
        "xdigit": _of(chars=_HEX),
    },
}
"""POSIX brackets: over all of Unicode in one engine, over ASCII in the other."""

HEX: Final = _of(chars=_HEX)
"""`\\h`"""
