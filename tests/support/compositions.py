"""Random tokenizer.json files: components in any composition, and texts to try them on."""

import json
import random
from typing import Any

from tests.support.families import byte_level, digits, row, split, template, token
from tests.support.vocabularies import PIECES

_REGEXES = (
    r"\p{N}{1,3}", r"\p{N}", r"[0-9][0-9][0-9]", r"\s+", r"\s", r" ?\p{L}+", r"\p{L}+|\p{N}+",
    r"[\r\n]", r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", r"(?i:'s|ll)", r"a+b|b",
    r"[一-龥]+", r"[^\s\p{L}\p{N}]++[\r\n]*", r"\b", r"a|ab", r"(?=a)", r"\w+|[^\w\s]+", r"a*",
    r"\p{Lu}?\p{Ll}+", r"(?<=a)b", r"[\p{L}&&[^a-z]]+", r"\S+$", r"^a", r".", r"\X", r"(?:ab)+?",
)  # fmt: skip
_STRINGS = ("a", " ", "ab", ".", "the", "'", "é", "e\u0301", "  ", "[x]", "\n")
_BEHAVIORS = ("Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext")
_ADDED = (
    "<s>",
    "</s>",
    "<|x|>",
    "<|x|><|x|>",
    "  ",
    " a",
    "ab",
    "the",
    "é",
    "e\u0301",
    "A",
    "x y",
    "ﬁ",
)
_TEXTS = (
    *PIECES,
    *_ADDED, *_STRINGS, "e\u0301", "\u1100\u1161\u11a8", "ﬁ½", "Å", "ò²³", "İ", "Ab", "THE",
    "th", "e",
)  # fmt: skip


def document(rng: random.Random, vocab: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    """A file around a vocabulary in the byte alphabet. What is in it may be refused by both."""
    added, names = _added(rng, vocab)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": _maybe(rng, _normalizer(rng)),
        "pre_tokenizer": _pre_tokenizer(rng),
        "post_processor": _post_processor(rng, names),
        "decoder": rng.choice([byte_level(), byte_level(use_regex=False)]),
        "model": _model(rng, vocab, merges),
    }


def text(rng: random.Random) -> str:
    """A text that has some of everything in it."""
    return "".join(rng.choices(_TEXTS, k=rng.randint(0, 14)))


def small(rng: random.Random) -> tuple[dict[str, int], list[list[str]]]:
    """A vocabulary of all bytes and some merges, with ids in whatever order."""
    from bytemill.formats.byte_alphabet import to_text

    tokens = [to_text(bytes([b])) for b in range(256)]
    merges: list[list[str]] = []
    parts = [
        to_text(part.encode()) for part in ("t", "h", "e", " ", "a", "b", "s", "l", "1", "2", "é")
    ]
    parts += ["Ã", "©", "Ì", "ģ", "ä", "½", "ł"]
    for _ in range(rng.randint(0, 30)):
        left, right = rng.choice(parts), rng.choice(parts)
        if left + right not in tokens and left in tokens and right in tokens:
            tokens.append(left + right)
            parts.append(left + right)
            merges.append([left, right])
    order = list(range(len(tokens)))
    if rng.random() < 0.3:
        rng.shuffle(order)
    if rng.random() < 0.1 and merges:
        merges.pop(rng.randrange(len(merges)))
    if rng.random() < 0.1:
        rng.shuffle(merges)
    return dict(zip(tokens, order, strict=True)), merges


def _maybe(rng: random.Random, part: Any) -> Any:
    return part if rng.random() < 0.6 else None


def _normalizer(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    kinds = ["NFC", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "Replace", "Prepend"]
    kind = rng.choice([*kinds, *["Sequence"] * (2 if depth < 2 else 0), "StripAccents"])
    if kind == "Sequence":
        parts = [_normalizer(rng, depth + 1) for _ in range(rng.randint(0, 3))]
        return {"type": kind, "normalizers": parts}
    if kind == "Strip":
        return {"type": kind, "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5}
    if kind == "Replace":
        return {"type": kind, "pattern": _pattern(rng), "content": rng.choice(["", "a", "▁", "é "])}
    if kind == "Prepend":
        return {"type": kind, "prepend": rng.choice([" ", "▁", "ab", ""])}
    return {"type": kind}


def _pattern(rng: random.Random) -> dict[str, str]:
    if rng.random() < 0.4:
        return {"String": rng.choice(_STRINGS)}
    return {"Regex": rng.choice(_REGEXES)}


def _step(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    kinds = ["Split", "Split", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit"]
    kind = rng.choice([*kinds, "CharDelimiterSplit", *["Sequence"] * (depth < 2)])
    if kind == "Sequence":
        return row(*(_step(rng, depth + 1) for _ in range(rng.randint(0, 2))))
    if kind == "Split":
        made = split("", rng.choice(_BEHAVIORS), rng.random() < 0.3)
        return {**made, "pattern": _pattern(rng)}
    if kind == "Digits":
        return digits(rng.random() < 0.5)
    if kind == "Punctuation":
        return {"type": kind, "behavior": rng.choice(_BEHAVIORS)}
    if kind == "CharDelimiterSplit":
        return {"type": kind, "delimiter": rng.choice("a .")}
    return {"type": kind}


def _pre_tokenizer(rng: random.Random) -> dict[str, Any]:
    prefix, regex = rng.random() < 0.25, rng.random() < 0.5
    level = byte_level(add_prefix_space=prefix, use_regex=regex)
    before = [_step(rng) for _ in range(rng.choice([0, 0, 1, 1, 2, 3]))]
    after = [_step(rng) for _ in range(rng.choice([0, 0, 0, 1, 2]))]
    parts = [*before, level, *after]
    return parts[0] if len(parts) == 1 and rng.random() < 0.5 else row(*parts)


def _added(
    rng: random.Random, vocab: dict[str, int]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    entries, names, following = [], {}, len(vocab)
    for content in rng.sample(_ADDED, rng.choice([0, 1, 2, 3, 5])):
        flags = {
            key: rng.random() < 0.3 for key in ("single_word", "lstrip", "rstrip", "normalized")
        }
        if content in vocab:
            id_ = vocab[content]
        else:
            id_, following = following, following + 1
        names[content] = id_
        entries.append({"id": id_, **token(content, special=rng.random() < 0.5, **flags)})
    return entries, names


def _post_processor(rng: random.Random, names: dict[str, int]) -> Any:
    if not names or rng.random() < 0.4:
        return None
    some = [rng.choice(list(names)) for _ in range(rng.randint(0, 3))]
    cut = rng.randint(0, len(some))
    made = template(some[:cut], some[cut:])
    made["special_tokens"] = {
        name: {"id": name, "ids": [names[name]], "tokens": [name]}
        for name in made["special_tokens"]
    }
    if rng.random() < 0.2:
        first, last = rng.choice(list(names)), rng.choice(list(names))
        named = {"sep": [last, names[last]], "cls": [first, names[first]]}
        if rng.random() < 0.5:
            return {"type": "BertProcessing", **named}
        flags = {"trim_offsets": True, "add_prefix_space": False}
        return {"type": "RobertaProcessing", **named, **flags}
    if rng.random() < 0.3:
        return {"type": "Sequence", "processors": [byte_level(), made]}
    return made


def _model(rng: random.Random, vocab: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": rng.choice([None, None, 0.0]),
        "unk_token": rng.choice([None, None, "<unk>"]),
        "continuing_subword_prefix": rng.choice([None, ""]),
        "end_of_word_suffix": rng.choice([None, ""]),
        "fuse_unk": rng.random() < 0.2,
        "byte_fallback": rng.random() < 0.2,
        "ignore_merges": rng.random() < 0.4,
        "vocab": vocab,
        "merges": merges,
    }


def dumped(data: dict[str, Any]) -> str:
    """As it stands in a file."""
    return json.dumps(data, ensure_ascii=False)


def compare(data: dict[str, Any], texts: list[str]) -> str:
    """What becomes of a file and some texts: "equal", "refused here", "refused there" or "refused".

    Args:
        data: The file's content.
        texts: Texts to encode by both libraries.

    Raises:
        AssertionError: If `tokenizers` gives other ids, offsets or text.
    """
    import tokenizers

    from bytemill import Tokenizer
    from bytemill.formats.tokenizer_json import content

    try:
        theirs = tokenizers.Tokenizer.from_str(dumped(data))
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        theirs = None
    try:
        ours = Tokenizer.from_vocabulary(content.vocabulary(data, "random"))
        ours.encode("")  # makes the core's tables
    except ValueError:
        return "refused" if theirs is None else "refused here"
    if theirs is None:
        return "refused there"
    untrimmed = tokenizers.Tokenizer.from_str(dumped({**data, "post_processor": None}))
    for text in texts:
        try:
            encoding = untrimmed.encode(text, add_special_tokens=False)
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            continue  # a bug of theirs
        ids, offsets = ours.encode_with_offsets(text)
        assert (ids, offsets) == (encoding.ids, encoding.offsets), text
        assert ours.encode(text) == ids, text
        assert ours.count(text) == len(ids), text
        with_special = theirs.encode(text).ids
        assert ours.encode(text, add_special_tokens=True) == with_special, text
        middle = len(text) // 2
        assert list(ours.encode_iterable([text[:middle], text[middle:]])) == ids, text
        if len({entry["special"] for entry in data["added_tokens"]}) > 1:
            # Special tokens that are not wanted hide others that they overlap with there, not here.
            continue
        theirs.encode_special_tokens = True
        ordinary = theirs.encode(text, add_special_tokens=False).ids
        theirs.encode_special_tokens = False
        assert ours.encode_ordinary(text) == ordinary, text
    return "equal"
