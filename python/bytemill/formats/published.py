"""Split patterns of published tokenizer.json files, and what taking them over gives.

They are known by their exact text, so that reading such a file need not work out what a pattern
leaves unmatched. `tests/formats/test_published.py` holds that working it out gives just this, and
`tests/formats/test_families.py` compares all of them with `tokenizers`.
"""

import json
from typing import Final

from bytemill import _core

_CASED: Final = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ"
    "ἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳ"
    "Ꙁ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
"""The letters with case of DeepSeek's first tokenizers."""
_MARKS: Final = "!-/:-~！-／：-～‘-‟　-。"
_MARKS_OUT: Final = r"!-/:-\~！-／：-～‘-‟\x{3000}-。"
_HAN: Final = "[一-龥ࠀ-一가-퟿]+"
_KANA: Final = "[一-龥぀-ゟ゠-ヿ]+"
_WORDS: Final = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
"""DeepSeek V3's third split."""
_SUFFIXES: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_END: Final = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_QWEN_3_5: Final = (
    rf"{_SUFFIXES}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{_END}"
)
_TEKKEN: Final = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_END}"
)
_KIMI_UPPER: Final = _UPPER.replace("]", r"&&[^\p{Han}]]")
_KIMI_LOWER: Final = _LOWER.replace("]", r"&&[^\p{Han}]]")
_KIMI: Final = (
    rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{_KIMI_UPPER}*{_KIMI_LOWER}+{_SUFFIXES}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_KIMI_UPPER}+{_KIMI_LOWER}*{_SUFFIXES}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_END}"
)


def _or_spaced(of: str, not_of: str, beside: str) -> str:
    r"""What `\s?[...]+` leaves: of the class in brackets, out of it, and without brackets."""
    return rf"|(?:[^{beside}\s]|[[\s]&&{not_of}](?!{of}))+"


_ALL: Final = {
    **{_core.pat_str(name): "" for name in ("llama3", "qwen2", "o200k")},
    _QWEN_3_5: "",
    _TEKKEN: "",
    _KIMI: "",
    "[\r\n]": r"|[^\r\n]+",
    r"\s?\p{L}+": _or_spaced(r"\p{L}", r"[\P{L}]", r"\p{L}"),
    r"\s?\p{P}+": _or_spaced(r"\p{P}", r"[\P{P}]", r"\p{P}"),
    rf"\s?[{_CASED}]+": _or_spaced(f"[{_CASED}]", f"[^{_CASED}]", _CASED),
    rf"\s?[{_MARKS}]+": _or_spaced(f"[{_MARKS_OUT}]", f"[^{_MARKS_OUT}]", _MARKS_OUT),
    _HAN: r"|[^一-龥ࠀ-一가-\x{d7ff}]+",
    _KANA: r"|[^一-龥\x{3040}-ゟ゠-ヿ]+",
    r"\p{N}{1,3}": r"|\P{N}+",
    "[0-9][0-9][0-9]": r"|(?:[^0-9]++|(?![0-9][0-9][0-9])[\s\S])+",
    _WORDS: (
        r"|(?:[^\p{L}\p{M}\p{P}\p{S}\r\n\s[^\r\n\p{L}\p{P}\p{S}]]"
        r"|[[^\r\n\p{L}\p{P}\p{S}]&&[^\p{L}\p{M}\p{P}\p{S}\r\n\s]](?![\p{L}\p{M}]))+"
    ),
}
"""What such a pattern leaves unmatched, as one more alternative."""

TAKEN_OVER: Final = {
    **{text: text + gap for text, gap in _ALL.items()},
    r"\s+$": r"\s+(?=\n|\z)|(?:\S++|(?!\s+(?=\n|\z))[\s\S])+",
}
"""Patterns as Oniguruma reads them: the regex, with what they leave unmatched."""

KEPT: Final = frozenset(_ALL)
"""Those that both engines read alike."""

AS_ONE: Final = {
    tuple((TAKEN_OVER[text], True) for text in (r"\p{N}{1,3}", _KANA, _WORDS)): "deepseek",
    ((r"\p{N}", False), (_core.pat_str("gpt2"), True)): "starcoder",
}
"""Patterns that isolate, one after the other, with whether they cover all text: the name of the one
that cuts like all of them."""


def _row(*patterns: str) -> str:
    splits = [_split(TAKEN_OVER[pattern], covers=True) for pattern in patterns]
    return _in_a_row(*splits, _split(r"\p{N}"))


def _split(pattern: str, behavior: str = "Isolated", **flags: bool) -> dict[str, object]:
    plain = {"invert": False, "covers": False, "bytes": False}
    return {"pattern": pattern, "behavior": behavior, **plain, **flags}


def _in_a_row(*splits: dict[str, object]) -> str:
    return json.dumps({"splits": splits}, separators=(",", ":"))


TESTED: Final = frozenset(
    {
        _QWEN_3_5,
        _TEKKEN,
        _KIMI,
        _row("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN),  # DeepSeek Coder
        _row("[\r\n]", rf"\s?[{_CASED}]+", rf"\s?[{_MARKS}]+", r"\s+$", _HAN),  # DeepSeek V2
        _in_a_row(  # Falcon
            _split(r"[!-/:-@\[-`{-~\p{P}]", "Contiguous"),
            _split(_core.pat_str("gpt2"), covers=True),
            _split(r"\p{N}", "Contiguous", bytes=True),
            _split(TAKEN_OVER["[0-9][0-9][0-9]"], covers=True, bytes=True),
        ),
    }
)
"""What whole pre-tokenizers become that the core has no scanner for."""
