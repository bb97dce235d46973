"""Comparing with the other library before an export is trusted: a sample of texts, both ways."""

import contextlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from unicodedata import is_normalized

from bytemill import _core, patterns
from bytemill.formats import published
from bytemill.shape import Shape
from bytemill.vocabulary import Vocabulary

MAX_DEPTH: Final = 127
"""How deep objects and lists may lie in each other in what `tokenizers` reads, by its library."""

_PIECES: Final = (
    "Hello, world! The quick brown fox jumps over the lazy dog.",
    "I'm you're he'll WE'VE she'D it'S don't I’m 'ſ 'S'T'RE 'tis rock'n'roll",
    "0 12 345 6789 1,234,567.89 3.14e-10 0x1F ١٢٣ ½ Ⅷ x² 12ab34",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\r\n\n    }  // done\n\n\n",
    "   leading,  double,   triple\t\ttabs \n \n x\r\rend\n  \n",
    "nbsp\u00a0\u00a0x ideographic\u3000\u3000 nel\u0085 zwsp\u200b\u200b bom\ufeff mvs\u180e",
    "naïve Ärger ΣΊΣΥΦΟΣ Привет, мир! שָׁלוֹם السَّلام नमस्ते สวัสดี 你好，世界。 こんにちは 안녕 각",
    "ǅungla İstanbul ẞ ﬁ e\u0301 \u0301alone CamelCaseWord HTTPServer iPhone",
    "👍 👍🏽 👩‍👩‍👧‍👦 🇺🇳🇪🇺 ☂️ \U0001d54f \U0010ffff \ue000 \x00\x01\x7f",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaa ^^^^^^^^^^^^^ ________ -=-=-=-=-=-= ......",
    "https://example.org/a/b?c=d&e=f#g <p class='x'>a &amp; b</p> user@example.com //\n/\r\n///",
)
_ENDS: Final = ("", " ", "  ", "\n", " \n ", "\r\n\r\n", "a ", "a  \n", "'s", "\t \t")


def knows_pattern(vocabulary: Vocabulary) -> bool:
    """Whether the pattern is one whose pretokens the tests compare, known by its text: the core
    has a scanner for it, or it is a published one."""
    return _core.has_scanner(vocabulary.pat_str) or vocabulary.pat_str in published.TESTED


def is_settled(vocabulary: Vocabulary) -> bool:
    """Whether what another library's file says is decided by its parts, of which no sample of texts
    could say more: tokens, merges and ids are compared when the file is read, and how all else on
    this list works, the tests compare with that library.

    It is: a known pattern; no normalizer, or NFC; ids that follow the merges; rare bytes that are
    no tokens; added tokens that are found beside letters too and that NFC leaves as they are.
    """
    shape = vocabulary.shape
    if not knows_pattern(vocabulary):
        return False
    return shape is None or shape.core is None or _is_settled(shape)


def _is_settled(shape: Shape) -> bool:
    steps = [step["type"] for step in shape.normalizers if step["type"] != "Refuse"]
    model = shape.document["model"]
    others = (
        shape.prefix_space,
        shape.prefix_first,
        shape.n_merged is not None,
        not shape.whole_tokens,
        shape.of_characters,
        shape.spellings,
        model.get("byte_fallback"),
        steps and model.get("ignore_merges"),
    )
    if any(others) or steps not in ([], ["NFC"]):
        return False
    return not any(
        token.single_word
        or (steps and token.normalized and not is_normalized("NFC", token.content))
        for token in shape.added
    )


def sample(vocabulary: Vocabulary) -> list[str]:
    """Texts that make the differences between tokenizers show, some from the vocabulary itself."""
    texts = [*_PIECES, " ".join(_PIECES), "\n".join(reversed(_PIECES))]
    texts += [piece.rstrip() + end for piece in _PIECES[:3] for end in _ENDS]
    words: list[str] = []
    for token in vocabulary.mergeable_ranks:
        if len(token) > 1:
            try:
                words.append(token.decode())
            except UnicodeDecodeError:
                continue
    few = words[:: len(words) // 2000 + 1] + sorted(words, key=len)[-100:]
    texts += [" ".join(few[i : i + 100]) for i in range(0, len(few), 100)]
    texts += ["".join(few[i : i + 100]) for i in range(0, len(few), 100)]
    for text in vocabulary.special_tokens:
        texts += [text, f"a {text} b", f"{text}{text} \n{text[:-1]}", f"{text[1:]}{text}'s"]
    specials = list(vocabulary.special_tokens)
    return [*texts, "".join(specials), " ".join(specials)]


def check(vocabulary: Vocabulary, other: Callable[[str], list[int]], library: str) -> None:
    """Checks that `other` encodes the sample as `vocabulary` does, special tokens included.

    Raises:
        ValueError: With the first text that it encodes differently, or fails on.
    """
    refused = vocabulary.shape.refused if vocabulary.shape is not None else frozenset()
    for text in sample(vocabulary):
        if any(byte in text.encode() for byte in refused):
            continue
        ours = vocabulary.encoder.encode(text)
        with panics_caught(library, text):
            theirs = other(text)
        if ours != theirs:
            at = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                min(len(ours), len(theirs)),
            )
            before = vocabulary.decoder.decode(ours[:at])
            named = patterns.name_of(vocabulary.pat_str) is not None
            raise ValueError(
                f"{library} would give other ids: {_cut(text)!r} is "
                f"{ours[at : at + 8]} here and {theirs[at : at + 8]} there, after {before[-40:]!r}"
                + (
                    ""
                    if named
                    else f" (pattern {vocabulary.pat_str!r}: do both engines read it alike?)"
                )
            )


@contextlib.contextmanager
def panics_caught(library: str, text: str | None = None) -> Iterator[None]:
    """Turns a panic of another library's Rust code, not an Exception, into a ValueError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        place = "" if text is None else f" on {_cut(text)!r}"
        raise ValueError(
            f"{library} panics{place}: {error}; give the vocabulary a pattern that always takes a "
            "character and backtracks less (possessive quantifiers help)"
        ) from None


def tokenizers_or_none() -> Any:
    """The package `tokenizers`, or None if it is not installed."""
    try:
        import tokenizers
    except ImportError:
        return None
    return tokenizers


def tokenizers_or_warning(path: str | os.PathLike[str], action: str) -> Any:
    """As `tokenizers_or_none`, with a UserWarning that `path` is not checked.

    Args:
        path: The file.
        action: "write" or "read". It must be a function that a method of `Tokenizer` calls, so that
            the warning names the line that called the method.
    """
    library = tokenizers_or_none()
    if library is None:
        warnings.warn(
            f"{os.fspath(path)} has not been checked: comparing its ids with those of Hugging "
            f"Face's tokenizers needs that package; pip install tokenizers and {action} it again",
            UserWarning,
            stacklevel=4,
        )
    return library


def refuse_depth(document: Mapping[str, Any], source: str) -> None:
    """Refuses a tokenizer.json that is nested deeper than `tokenizers` reads any JSON. One that is
    several times as deep could not be pickled.

    Raises:
        ValueError: If it is, with its section.
    """
    for section, content in document.items():
        level, depth = [content], 1
        while level := [part for part in level if isinstance(part, (dict, list))]:
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(
                    f"{source}: {section} is nested more than {MAX_DEPTH} deep, which tokenizers "
                    "does not read; write sequences in sequences as one"
                )
            inside = (part.values() if isinstance(part, dict) else part for part in level)
            level = list(itertools.chain.from_iterable(inside))


def refuse_shape(vocabulary: Vocabulary, target: str) -> None:
    """Refuses what only a tokenizer.json can hold.

    Raises:
        ValueError: Naming what it is.
    """
    told = [] if vocabulary.shape is None else beyond(vocabulary.shape)
    if vocabulary.pat_str.startswith('{"splits":'):
        told.append("several splits in a row")
    if told:
        raise ValueError(
            f"{target} cannot hold {' and '.join(told)}: to_huggingface writes all of this "
            "vocabulary"
        )


def beyond(shape: Shape) -> list[str]:
    """What a shape says beyond tokens, special tokens, a pattern and a template, in words."""
    if shape.core is None:
        return []
    kinds = ", ".join(step["type"] for step in shape.normalizers if step["type"] != "Refuse")
    manners = shape.passes or not all(token.special for token in shape.added)
    return [
        *[f"a normalizer ({kinds})"] * bool(kinds),
        *["a space put before the text"] * (shape.prefix_space or shape.prefix_first),
        *["merging that begins with characters"] * shape.of_characters,
        *["added tokens with manners of their own"] * manners,
        *["ids that do not follow the merges"] * (shape.n_merged is not None),
        *["tokens that no merge makes"] * (not shape.whole_tokens),
        *["fewer than all bytes"] * bool(shape.refused),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "..."
