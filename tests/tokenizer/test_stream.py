import io
import itertools
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytemill import Tokenizer
from tests.support.against_tiktoken import (
    ALL,
    PATTERNS,
    TEXT,
    cases,
    edge_cases,
    overlapping,
    pair,
    trained,
)
from tests.support.vocabularies import NAMED, texts

BYTES = {bytes([i]): i for i in range(256)}
SHORT = [text for text in edge_cases() if len(text) <= 40]


def pieces(text: str, cuts: list[int]) -> list[str]:
    ends = [0, *sorted(cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(ends)]


# Encoding


@pytest.mark.parametrize("name", ALL)
def test_every_split_of_short_texts(name):
    tokenizer, encoding = pair(name)
    for text in SHORT:
        expected = encoding.encode(text, allowed_special="all")
        assert list(tokenizer.encode_iterable(text)) == expected
        for cut in range(len(text) + 1):
            assert list(tokenizer.encode_iterable(pieces(text, [cut]))) == expected, cut


@pytest.mark.parametrize("pattern", PATTERNS)
def test_overlapping_special_tokens_at_every_split(pattern):
    tokenizer = overlapping(pattern)
    found = ["<|end|><|end|><|e", "a<|end|><|end|", "<|e<|end|> <|end|><|end|>", "x[x] (.*)€<s p>"]
    for text in found:
        expected = tokenizer.encode(text)
        for cuts in itertools.combinations(range(len(text) + 1), 2):
            assert list(tokenizer.encode_iterable(pieces(text, list(cuts)))) == expected
    some = {"<|e", "€"}
    for text in found:
        expected = tokenizer.encode(text, allowed_special=some)
        assert list(tokenizer.encode_iterable(text, allowed_special=some)) == expected
        plain = list(tokenizer.encode_iterable(text, allowed_special=()))
        assert plain == tokenizer.encode_ordinary(text)


def test_a_special_token_inside_the_beginning_of_a_longer_one():
    tokenizer = Tokenizer.from_ranks(BYTES, {"abcdef": 256, "cd": 257, "bcde": 258})
    for text in ("xabcdef", "xabcdex", "abcdabcdef", "xxcdef abcd", "bcdecd abcde"):
        expected = tokenizer.encode(text)
        for cuts in itertools.combinations(range(len(text) + 1), 2):
            assert list(tokenizer.encode_iterable(pieces(text, list(cuts)))) == expected
        assert list(tokenizer.encode_iterable(text)) == expected


@pytest.mark.parametrize("name", ALL)
def test_random_splits_of_generated_strings(name):
    tokenizer, _ = pair(name)

    @settings(max_examples=cases(60), deadline=None, derandomize=True, database=None)
    @given(texts, st.lists(st.integers(0, 60), max_size=6))
    def check(text, cuts):
        cut_text = pieces(text, [min(cut, len(text)) for cut in cuts])
        assert list(tokenizer.encode_iterable(cut_text)) == tokenizer.encode(text)

    check()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_random_splits_of_long_texts(pattern):
    tokenizer = overlapping(pattern)
    rng = random.Random(0)
    specials = [*tokenizer.special_tokens, "\n", "\ud83d", "\udc4d", "\r\n \n", "//\n/"]
    words = [*TEXT.split(" "), *specials * 8]
    for _ in range(cases(4)):
        text = " ".join(rng.choices(words, k=2000)) + "".join(rng.choices(words, k=2000))
        expected = tokenizer.encode(text)
        for n_cuts in (3, 40, 1000):
            cuts = [rng.randrange(len(text)) for _ in range(n_cuts)]
            assert list(tokenizer.encode_iterable(pieces(text, cuts))) == expected
        assert list(tokenizer.encode_iterable([text])) == expected


WIDE = [
    *"中文字的好国，。々𠀀あいー한กაᲐＡａ𐐀𐐨ếẾẞ三１１23abAB'’!/-éÉßſʰǅⅧ\u0301\u20dd👍 \n\u3000",
    *["你好", "世界", "我们", "アイ", "東京", "です", "국어", "ก็", "ไทย", "क्ष", "👩\u200d👧"],
    *["Ab", "aB", "'s", "'S", "'ll", "’s", "\r\n", "<|end|>", "<|endoftext|>"],
]


@pytest.mark.parametrize("name", ALL)
def test_random_splits_of_text_without_spaces(name):
    tokenizer, encoding = pair(name)
    rng = random.Random(0)
    for _ in range(cases(100)):
        some = rng.choices(WIDE, k=rng.choice([2, 4, 8, 80]))
        text = "".join(rng.choices(some, k=rng.choice([10, 100, 1000])))
        expected = encoding.encode(text, allowed_special="all")
        for n_cuts in (1, 3, 50):
            cuts = [rng.randrange(len(text) + 1) for _ in range(n_cuts)]
            assert list(tokenizer.encode_iterable(pieces(text, cuts))) == expected
        assert list(tokenizer.encode_iterable(text)) == expected


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base"])
def test_ids_come_before_a_word_ends(name):
    tokenizer, _ = pair(name)
    rng = random.Random(0)
    taken = []

    def letters():
        yield "iPhone"
        while True:
            taken.append(chr(rng.randrange(0x4E00, 0x9000)))
            yield taken[-1]

    ids = list(itertools.islice(tokenizer.encode_iterable(letters()), 1000))
    assert tokenizer.decode_bytes(ids) in ("iPhone" + "".join(taken)).encode()
    assert len(taken) < 800


def test_ids_come_before_the_text_ends():
    for pattern in NAMED:
        tokenizer = trained(pattern)
        taken = []

        def lines(taken=taken):
            for i in itertools.count():
                taken.append(i)
                yield f"line {i} of a text without an end,\nand"

        ids = tokenizer.encode_iterable(lines())
        assert taken == []  # nothing is read before it is asked for
        first = list(itertools.islice(ids, 10))
        assert tokenizer.decode(first)[:6] == "line 0"
        assert len(taken) <= 3
    # With a regex that nothing is known of, special tokens at least divide the text.
    tokenizer = trained(PATTERNS[-1])
    endless = (text for text in itertools.repeat("some text <|end|>"))
    assert len(list(itertools.islice(tokenizer.encode_iterable(endless), 100))) == 100


def test_files_and_other_iterables(tmp_path):
    tokenizer = trained("cl100k")
    path = tmp_path / "text.txt"
    text = TEXT.replace(" ", "\n", 100) + "\r\n <|end|>"
    path.write_text(text, encoding="utf-8", newline="")
    with path.open(encoding="utf-8", newline="") as file:
        assert list(tokenizer.encode_iterable(file)) == tokenizer.encode(text)
    assert list(tokenizer.encode_iterable(io.StringIO(text, newline=""))) == tokenizer.encode(text)
    assert list(tokenizer.encode_iterable([])) == [] == list(tokenizer.encode_iterable(["", ""]))
    ids = tokenizer.encode_iterable(iter(["a"]))
    assert iter(ids) is ids and next(ids) == 97
    with pytest.raises(StopIteration):
        next(ids)


def test_pieces_of_other_types():
    tokenizer = trained("gpt2")
    ids = tokenizer.encode_iterable(["some text that is longer than a special token", b"bytes"])
    assert next(ids) is not None
    with pytest.raises(TypeError, match="bytes"):
        list(ids)
    for bad in (None, 3):
        with pytest.raises(TypeError):
            list(tokenizer.encode_iterable(bad))
    with pytest.raises(TypeError):
        tokenizer.encode_iterable([], allowed_special="<|end|>")

    def failing():
        yield "a b c"
        raise OSError("the source")

    with pytest.raises(OSError, match="the source"):
        list(tokenizer.encode_iterable(failing()))


# As the memory test of Stanford's CS336 has it, but with the limit held while ids are taken.
MEMORY = """
import resource, sys
sys.path[:0] = {path!r}
from bytemill import Tokenizer
from tests.support.vocabularies import generated_text, train

def limited(status):
    with open("/proc/self/status") as file:
        size = next(int(line.split()[1]) for line in file if line.startswith(status + ":"))
    resource.setrlimit(resource.RLIMIT_AS, (1024 * size + 1_000_000, -1))

tokenizer = train([generated_text()], 1000, ["<|end|>"], {pattern!r})
with open({file!r}, encoding="utf-8", newline="") as file:
    n = sum(1 for _ in tokenizer.encode_iterable([file.read(100_000)]))  # no first call any more
    file.seek(0)
    limited({status!r})
    total = n = 0
    for id_ in tokenizer.encode_iterable(file):
        n += 1
        total += id_ * n
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
text = open({file!r}, encoding="utf-8", newline="").read()
ids = tokenizer.encode(text)
assert n == len(ids) and total == sum(i * id_ for i, id_ in enumerate(ids, 1))
print(len(text.encode()), n)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's RLIMIT_AS")
@pytest.mark.parametrize("pattern", NAMED)
@pytest.mark.parametrize("status", ["VmSize", "VmRSS"])
def test_memory_is_constant(tmp_path, pattern, status):
    path = tmp_path / "five_megabytes.txt"
    lines = [*(line + "\n" for line in TEXT.split("  ")), "<|end|>", "x" * 5000, "\n\n"]
    rng = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        while file.tell() < 5_000_000:
            file.write("".join(rng.choices(lines, k=100)))
    program = MEMORY.format(path=sys.path, file=str(path), pattern=pattern, status=status)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    n_bytes, n_ids = map(int, done.stdout.split())
    assert n_bytes >= 5_000_000 and n_ids > 500_000


WIDE_MEMORY = """
import random, resource, sys
sys.path[:0] = {path!r}
from bytemill import Tokenizer
from tests.support.vocabularies import generated_text, train

tokenizer = train([generated_text()], 1000, ["<|end|>"], {pattern!r})
letters = random.Random(0).choices([chr(c) for c in range(0x4E00, 0x9000)], k=70_000)
text = "".join(letters)

def pieces(n):
    yield "iPhone"
    for _ in range(n):
        for i in range(0, len(text), 1000):
            yield text[i : i + 1000]

once = sum(1 for _ in tokenizer.encode_iterable(pieces(1)))
with open("/proc/self/status") as file:
    size = next(int(line.split()[1]) for line in file if line.startswith("VmSize:"))
resource.setrlimit(resource.RLIMIT_AS, (1024 * size + 2_000_000, -1))
n = sum(1 for _ in tokenizer.encode_iterable(pieces(100)))
print(once, n)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's RLIMIT_AS")
@pytest.mark.parametrize("pattern", NAMED)
def test_memory_is_constant_in_a_word_without_an_end(pattern):
    program = WIDE_MEMORY.format(path=sys.path, pattern=pattern)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    once, n = map(int, done.stdout.split())
    assert abs(n - 100 * once) < 1000 and n > 7_000_000


# Decoding


def check_decoder(tokenizer: Tokenizer, ids: list[int]) -> None:
    expected = tokenizer.decode(ids)
    decoder = tokenizer.stream_decoder()
    one_by_one = [*map(decoder.push, ids), decoder.finish()]
    assert "".join(one_by_one) == expected
    for cut in range(len(ids) + 1):  # the decoder is as new after finish
        found = decoder.push(ids[:cut]) + decoder.push(ids[cut:]) + decoder.finish()
        assert found == expected
    strict = tokenizer.stream_decoder("strict")
    try:
        expected = tokenizer.decode(ids, "strict")
    except UnicodeDecodeError as error:
        with pytest.raises(UnicodeDecodeError) as raised:
            for id_ in ids:
                strict.push(id_)
            strict.finish()
        assert raised.value.reason in (error.reason, "unexpected end of data")
    else:
        assert "".join([*map(strict.push, ids), strict.finish()]) == expected


@pytest.mark.parametrize("name", ALL)
def test_decoding_at_every_split(name):
    tokenizer, _ = pair(name)
    for text in SHORT:
        check_decoder(tokenizer, tokenizer.encode(text))
    known = sorted(tokenizer.vocab)

    @settings(max_examples=cases(60), deadline=None, derandomize=True, database=None)
    @given(st.lists(st.one_of(st.sampled_from(known), st.integers(0, 255)), max_size=20))
    def check(ids):
        check_decoder(tokenizer, [id_ for id_ in ids if id_ in tokenizer.vocab])

    check()


LEADS = [*b"aZ\x00\x7f\x80\xbf\xc0\xc1\xc2\xdf\xe0\xed\xef\xf0\xf4\xf5\xff\x90\x8f\xa0\x9f"]


@settings(max_examples=cases(300), deadline=None, derandomize=True, database=None)
@given(st.lists(st.one_of(st.sampled_from(LEADS), st.integers(0, 255)), max_size=12))
def test_decoding_any_bytes(data):
    check_decoder(Tokenizer.from_ranks(BYTES), data)


def test_text_comes_as_soon_as_it_is_certain():
    tokenizer = Tokenizer.from_ranks(BYTES)
    decoder = tokenizer.stream_decoder()
    assert [decoder.push(b) for b in "aé👍".encode()] == ["a", "", "é", "", "", "", "👍"]
    assert [decoder.push(b) for b in b"\xf0\x9fa\xc3\xc3"] == ["", "", "�a", "", "�"]
    assert (decoder.finish(), decoder.finish(), decoder.push(97)) == ("�", "", "a")


def test_an_error_leaves_the_stream_decoder_as_it_was():
    decoder = Tokenizer.from_ranks(BYTES).stream_decoder()
    assert decoder.push(0xC3) == ""
    for bad, error in (([97, 256], KeyError), (2**40, KeyError), ([97, "a"], TypeError)):
        with pytest.raises(error):
            decoder.push(bad)
    assert decoder.push(0xA9) == "é"
    strict = Tokenizer.from_ranks(BYTES).stream_decoder("strict")
    assert strict.push([97, 0xC3]) == "a"
    with pytest.raises(UnicodeDecodeError):
        strict.push([97])
    assert strict.push([0xA9]) == "é"
    strict.push([0xC3])
    with pytest.raises(UnicodeDecodeError, match="unexpected end"):
        strict.finish()
    assert strict.finish() == ""


@pytest.mark.parametrize("errors", ["ignore", "", "surrogateescape"])
def test_other_error_handlers_are_refused(errors):
    with pytest.raises(ValueError, match=f'errors="{errors}".*replace.*strict'):
        trained("gpt2").stream_decoder(errors)
