"""Split patterns as two regex engines read them: Oniguruma's word is `tokenizers`."""

import itertools
import json
import random
import sys
import unicodedata
import warnings
from collections import Counter
from functools import cache, lru_cache

import pytest

from bytemill import Tokenizer, _core
from bytemill.formats import huggingface, regex_names
from bytemill.formats.oniguruma import from_oniguruma, to_oniguruma
from bytemill.formats.regex_parser import parse
from bytemill.formats.regex_tree import emit
from bytemill.vocabulary import Vocabulary

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")


@cache
def every_character() -> str:
    return "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)


@cache
def most_characters() -> str:
    """Without most of what lies deep within a long row of characters of one category, such as
    ideographs and what is not assigned: one in 19 is left."""
    kept = []
    for _, run in itertools.groupby(every_character(), unicodedata.category):
        row = list(run)
        is_long = len(row) > 64 and row[0] >= "\u3400"
        kept += [*row[:16], *row[16:-16:37], *row[-16:]] if is_long else row
    return "".join(kept)


PIECES = [
    *"abcstkABSTfilnxß ﬁŉ²½³\u200c\u200dſKé0129 \t\n\r'\"-_.,!?[](){}|:^$，。éЖ日\u0301\u00a0",
    *(
        "\u2028",
        "\x85",
        "\x0b",
        "\r\n",
        "ss",
        "ll",
        "'s",
        "\n\n",
        "  ",
        "ab",
        "km²",
        "Hello, world!",
        "2024",
    ),
]


def theirs(pattern: str, text: str, behavior: str = "isolated") -> list[str]:
    """What `tokenizers` cuts `text` into; with "removed", only what matches."""
    return [piece for piece, _ in splitter(pattern, behavior).pre_tokenize_str(text)]


@lru_cache(maxsize=8)
def splitter(pattern: str, behavior: str):
    """To compile a pattern takes longer than to cut a short text."""
    return tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(pattern), behavior, invert=behavior == "removed"
    )


def all_theirs(pattern: str, texts: list[str], behavior: str = "isolated") -> Counter[str]:
    """Their pieces, counted."""
    return Counter(piece for text in texts for piece in theirs(pattern, text, behavior))


def ours(pattern: str, *texts: str) -> Counter[str]:
    """Our pretokens, counted."""
    counting = _core.CountingPass(pattern, [], num_threads=1)
    counting.feed(list(texts))
    return Counter({token.decode(): n for token, n in counting.finish().items()})


def random_text(rng: random.Random) -> str:
    return "".join(rng.choices(PIECES, k=rng.randint(1, 25)))


# Classes, character by character


CLASSES = [
    *(rf"\p{{{name}}}" for name in sorted(set(regex_names.PROPERTIES.values()))),
    *(rf"\p{{{name}}}" for name in regex_names.PROPERTIES if len(name) > 2),
    *(f"[[:{name}:]]" for name in regex_names.POSIX["oniguruma"]),
    *(f"[[:^{name}:]x]" for name in regex_names.POSIX["oniguruma"]),
    *(rf"\p{{{name}}}" for name in regex_names.POSIX["oniguruma"]),
    *(r"\w", r"\W", r"\s", r"\S", r"\d", r"\D", r"\h", r"\H", ".", "(?m:.)", r"\P{L}", r"\p{^L}"),
    *(r"[\w]", r"[^\w]", r"[\W_]", r"[\w²]", r"[^\W]", r"[\s\W]", r"[a[\w]]", r"[\w&&[^a]]"),
    *(
        r"[^\p{Word}]",
        r"\p{^Word}",
        r"[\P{Word}_]",
        r"[^\s\p{L}\p{N}]",
        r"[\x00-\x7f]",
        r"\x{fb01}",
    ),
    *(
        "(?i)[a-z]",
        "(?i)[^k-t]",
        "(?i:k)",
        "(?i:s)",
        "(?i)[sdmt]",
        r"(?i)\d",
        r"(?i)[\s!]",
        "(?i)-",
    ),
    *(r"[a-z&&[^aeiou]]", r"[^a-z&&[^aeiou]]", r"[\s\S]", r"[(\s|[.,!?…。，、।۔،])]", "[日-本]"),
]
# Looked at in every character there is, and not only where categories begin and end.
WHOLE = {
    r"\w",
    r"\s",
    r"\d",
    r"\p{Han}",
    r"\P{L}",
    r"[[:punct:]]",
    r"[^\s\p{L}\p{N}]",
    "(?i)[^k-t]",
}


@pytest.mark.parametrize("pattern", CLASSES)
def test_a_class_holds_the_same_characters(pattern):
    mine = from_oniguruma(pattern, keeps_gaps=False)
    for text in (most_characters(), *([every_character()] if pattern in WHOLE else [])):
        expected = Counter(theirs(f"(?:{pattern})+", text, "removed"))
        assert ours(f"(?:{mine})+", text) == expected


@pytest.mark.parametrize(
    "pattern", [*(f"[[:{name}:]]" for name in regex_names.POSIX["fancy-regex"]), r"\w", r"[\W]"]
)
def test_our_classes_are_written_out_for_them(pattern):
    expected = ours(f"(?:{pattern})+", most_characters())
    assert (
        Counter(theirs(f"(?:{to_oniguruma(pattern)})+", most_characters(), "removed")) == expected
    )


# Patterns


PATTERNS = [
    # As found in files, with text left unmatched.
    r" ?[^(\s|[.,!?…。，、।۔،])]+", r"\d", r"\p{L}+", r" ?\w+| ?[^\w\s]+|\s+", r"\w+", r"\d{1,3}",
    r"'s|'t|'re| ?\p{L}+", r"'(?i:[sdmt]|ll|ve|re)| ?\p{L}++", r"\p{Lu}?\p{Ll}+", r"\p{Han}+|\p{P}",
    r"[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}", r"\s+(?!\S)|\S+", r"\s*[\r\n]+", r"[\r\n]", r"\.|,|!",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "[一-龥\u3040-ゟ゠-ヿ]+", "[0-9][0-9][0-9]", "<[a-z]+>|<|#~",
    r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d",
    # Where the engines differ.
    r"\b\w", r"\B.", r"\b.\b", "^a", "a$", ".$", r"a\Z", r"\s\z", r"\A.", r"(?:\n|^).", "^.+$",
    "[a-c]{1,2}+", "(?:ab|s){2,}+", "a{,2}b", "x{,}", "x{", r"\h+", r"\H", "[[:alpha:]]+",
    "[[:^space:]]+", "[[:punct:]]", r"\p{Alnum}+|\p{Punct}", r"[\W_]+", r"\x41|\u0062|\x{e9}",
    "(?i)a(?i:b)|t", "a(?i)b|c", "(?i:a)b|(?-i)c", "(?m).+", ".+", "(?i)[a-z]+", "(?i)[^k]",
    # Look-around, groups, repetitions, sets.
    "[a-z&&[^b]]+", "(?<=a)b|c", r"(?<!\n)\S+", r"\d{2}", r"\d{3}|\p{Lu}\p{Ll}*", "ab|abc", "a+?b",
    "(?>a|ab)c?", "(a)(?<x>b)?", "[^a]", r"\p{^L}+", r"(?=\Z)\n", "[!-/]+", r"(?!s)\p{L}+|b(?=\s)",
    r"(?:a|b(?=\d))+", r"\S*?\s", "a??b", "a{1,2}?b", r"[\]\[^-]", r"\p{L}{2}|\p{N}(?:,\p{N})*",
]  # fmt: skip


@pytest.mark.parametrize("behavior", ["isolated", "removed"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_cuts_alike(pattern, behavior):
    mine = from_oniguruma(pattern, keeps_gaps=behavior == "isolated")
    back = to_oniguruma(mine)
    rng = random.Random(pattern)
    texts = [random_text(rng) for _ in range(60)]
    expected = all_theirs(pattern, texts, behavior)
    assert ours(mine, *texts) == expected, mine
    assert all_theirs(back, texts, "removed") == expected, back


def random_pattern(rng: random.Random, depth: int = 0) -> str:
    """A pattern of any construct that is known, as Oniguruma writes it."""
    atoms = [
        *("a", "s", "ß", "'", " ", ".", r"\w", r"\W", r"\s", r"\S", r"\d", r"\p{L}", r"\p{Lu}"),
        *("<", ">", r"\-", "#", "&", "~", "{", "}", "]", r"\{", r"\#", r"\~", r"\@", "[!-/]"),
        *("[<>~#&|(.^$-]", r"[^\]\[\\-]", r"[\s\w&&[^a]]"),
        *(r"[^\s\w]", "[a-c]", "[^a]", r"[\w'-]", "[[:punct:]]", r"\h", "ab", "ll", r"\n", "é"),
    ]
    places = [r"\b", r"\B", "^", "$", r"\A", r"\z", r"\Z", r"(?!\S)", "(?=a)", "(?<=s)", "(?<!a)"]
    if depth > 2:
        return rng.choice(atoms)
    kind = rng.random()
    inner = random_pattern(rng, depth + 1)
    if kind < 0.3:
        return rng.choice(atoms) + rng.choice(["", "", "?", "*", "+", "++", "+?", "{2}", "{1,2}+"])
    if kind < 0.4:
        return rng.choice(places)
    if kind < 0.75:
        return inner + random_pattern(rng, depth + 1)
    if kind < 0.88:
        return f"(?:{inner}|{random_pattern(rng, depth + 1)})" + rng.choice(["", "?", "+", "{2}"])
    return rng.choice(["(?i:{})", "(?>{})", "(?m:{})", "({})", "{}|a", "(?i){}|b"]).format(inner)


@pytest.mark.parametrize("seed", range(8))
def test_any_pattern_cuts_alike_or_is_refused(seed):
    rng = random.Random(seed)
    compared = 0
    while compared < 40:
        pattern = random_pattern(rng)
        try:
            theirs(pattern, "a")
            mine = from_oniguruma(pattern, keeps_gaps=True)
        except Exception:  # tokenizers raises bare Exception for what it cannot read
            continue
        compared += 1
        texts = [random_text(rng) for _ in range(15)]
        assert ours(mine, *texts) == all_theirs(pattern, texts), (pattern, mine)


def test_texts_that_both_read_alike_stay_as_they_are():
    for pattern in (r" ?[A-Za-z]+|[0-9]{2}|\s+|[^A-Za-z\s]", r"(?i:'s|'t)| ?\p{L}++|\s+(?!\S)|."):
        assert to_oniguruma(pattern) == pattern
        assert from_oniguruma(pattern, keeps_gaps=False) == pattern
    # All of a text is matched: nothing to add.
    llama3 = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    assert from_oniguruma(llama3, keeps_gaps=True) == llama3
    assert emit(parse(llama3, "oniguruma")) != llama3


@pytest.mark.parametrize(
    ("pattern", "construct"),
    [
        ("(?i)ß", "in any case"), ("(?i:ss)", "'ss' in any case"), ("(?i)fi", "'fi' in any case"),
        ("(?i)[s]s", "'Ss' in any case"), (r"(?i)[\p{L}]", "in any case"), ("(?i)É", "in any case"),
        (r"(a)\1", r"\\1"), (r"(?<x>a)\k<x>", r"\\k"), (r"a\G", r"\\G"), (r"a\K", r"\\K"),
        (r"\R", r"\\R"), (r"\X", r"\\X"), (r"\pL", "without braces"), (r"\xff", r"\\xff"),
        (r"\p{Klingon}", "Klingon"), ("(?x)a b", r"\(\?x\)"), ("(?~a)", r"\(\?~"), ("[]a]", "]"),
        ("[a-c-e]", "range"), ("[[:nope:]]", "nope"), ("(?:a?)+", "may match nothing"),
        (r"[\s--b]", "- after a class"), ("a{3,2}", "repetition"), ("+a", "repetition"),
        (")", "unmatched"),
        ("a*", "may match nothing"), (r"(?=\d)", "may match nothing"), ("a|", "may match nothing"),
        ("(?#x)a", r"\(\?#"), ("(" * 60 + "a" + ")" * 60, "more than 50"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_by_name(pattern, construct):
    with pytest.raises(ValueError, match=construct) as error:
        from_oniguruma(pattern, keeps_gaps=True)
    assert "write it with an equivalent" in str(error.value)


# Files


RANKS = {
    **{bytes([i]): i for i in range(256)},
    **{
        token: 256 + i
        for i, token in enumerate([b"He", b", ", b"! ", b" I", b"m\xc2", b"20", b"! I"])
    },
}


def file_with(pattern: str, behavior: str = "Isolated") -> dict:
    data = huggingface.to_dict(Vocabulary(RANKS, {"<|end|>": 300}))
    split = data["pre_tokenizer"]["pretokenizers"][0]
    split.update(pattern={"Regex": pattern}, behavior=behavior, invert=behavior == "Removed")
    return data


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("behavior", ["Isolated", "Removed"])
@pytest.mark.parametrize("pattern", [*PATTERNS[:15], "gpt2", "the"])
def test_a_file_is_read_exactly(pattern, behavior, installed, tmp_path, monkeypatch):
    text = json.dumps(file_with(pattern, behavior))
    (tmp_path / "tokenizer.json").write_text(text)
    other = tokenizers.Tokenizer.from_str(text)
    if not installed:
        monkeypatch.setitem(sys.modules, "tokenizers", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tokenizer = Tokenizer.from_huggingface(tmp_path)
    rng = random.Random(pattern)
    for text in ["Hello, world! In 2024", " 12 km²", *(random_text(rng) for _ in range(60))]:
        ids = tokenizer.encode(text)
        assert ids == other.encode(text).ids, text
        assert tokenizer.decode(ids) == text or behavior == "Removed"


def test_a_long_gap_is_one_pretoken():
    """With tables where the pattern allows it: a regex engine would give up on a million."""
    for pattern in (r"\d", r"\p{Lu}?\p{Ll}+"):
        mine = from_oniguruma(pattern, keeps_gaps=True)
        assert ours(mine, "-" * 3_000_000) == {"-" * 3_000_000: 1}


# tiktoken has the same engine, in another version.


FANCY = [
    *(r"\h+", r"x\Z", r"a\Z|.", "(?i:ß)", "(?i)ss", r"\b\w+\b", r"\<\w+", r"\b{start}\w", r"\R"),
    *(r"\O", r"\N+", r"a\K.", "(?~ab)", r"(a)\1", r"\p{Punct}+", "(?m)^.", "(?s).+", "(?x) a b"),
    *(r"[\p{L}--a]+", r"\p{Word}+", "[[:^alpha:]]+", "[[:word:]]+", "^a|.", "a$|.", r"\p{N}{1,3}+"),
]


@pytest.mark.parametrize("pattern", sorted({*PATTERNS, *FANCY} - {"x{,}"}))
def test_tiktoken_reads_our_patterns_alike(pattern):
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    # Where a pretoken ends shows in the pairs of bytes that are a token.
    used = sorted({byte for piece in PIECES for byte in piece.encode()})
    ranks = {bytes([i]): i for i in range(256)}
    for a, b in itertools.product(used, used):
        ranks[bytes([a, b])] = len(ranks)
    tokenizer = Tokenizer.from_ranks(ranks, pattern=pattern)
    encoding = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    rng = random.Random(pattern)
    for _ in range(60):
        text = random_text(rng)
        assert tokenizer.encode(text) == encoding.encode_ordinary(text), text


def test_characters_beyond_the_first_plane_are_folded_to_one():
    """`regex_tree.several_folded` does not look at them."""
    assert {len(chr(c).casefold()) for c in range(0x10000, 0x110000)} == {1}
