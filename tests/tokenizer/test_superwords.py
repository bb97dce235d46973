"""Superwords: two-stage training against a naive trainer, encoding against a naive encoder."""

import functools
import itertools
import pickle
import random
from collections import Counter

import pytest
import regex

from bytemill import BpeTrainer, Counts, Tokenizer
from tests.support import naive

QUIET = pytest.mark.filterwarnings("ignore:the vocabulary has")
WORDS = [
    "the",
    "of",
    "and",
    "it",
    "it's",
    "don't",
    "steam",
    "'s",
    "A",
    "the'st",
    "é",
    "naïve",
    "中文",
]
GAPS = [" ", " ", " ", " ", ", ", ". ", "\n", "  ", "", " 12", ".\n", "\t", "("]


def sample(seed, n=400):
    rng = random.Random(seed)
    parts = itertools.chain.from_iterable((rng.choice(WORDS), rng.choice(GAPS)) for _ in range(n))
    return "".join(parts)


def apply(merges, text):
    """The tokens of one span: every merge in its order, wherever it applies, from the left."""
    parts = [bytes([byte]) for byte in text.encode()]
    for left, right in merges:
        joined, i = [], 0
        while i < len(parts):
            if parts[i : i + 2] == [left, right]:
                joined.append(left + right)
                i += 2
            else:
                joined.append(parts[i])
                i += 1
        parts = joined
    return parts


def spans_of(text, pattern):
    return [m[0] for m in regex.finditer(pattern, text) if m[0]]


def naive_merges(text, n_first, n_merges, *, first, spans, tie_break, limit=None):
    """Merges of two stages: pretokens of spans, then spans that those merges are applied to."""
    all_spans = spans_of(text, spans)
    pretokens = Counter(m.encode() for span in all_spans for m in spans_of(span, first))
    merges = naive.train(pretokens, n_first, tie_break, max_token_length=limit)
    ids = {bytes([byte]): byte for byte in range(256)}
    ids.update((left + right, 256 + i) for i, (left, right) in enumerate(merges))
    words = [(apply(merges, span), n) for span, n in Counter(all_spans).items()]

    def rank(item):
        (left, right), n = item
        if tie_break == "lexicographic":
            return n, (left, right)
        return n, (-ids[left], -ids[right])

    while len(merges) < n_merges:
        pairs = Counter()
        for word, n in words:
            for pair in itertools.pairwise(word):
                pairs[pair] += n
        allowed = [p for p in pairs.items() if limit is None or len(b"".join(p[0])) <= limit]
        if not allowed:
            break
        left, right = best = max(allowed, key=rank)[0]
        assert left + right not in ids
        ids[left + right] = len(ids)
        merges.append(best)
        words = [(naive.join(word, best), n) for word, n in words]
    return merges


@functools.cache
def trained(pattern="gpt2", seed=1, vocab_size=420, superwords_from=310, **options):
    trainer = BpeTrainer(pattern=pattern, superwords_from=superwords_from, **options)
    trainer.feed([sample(seed)])
    return trainer.train(vocab_size)


@QUIET
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "nanochat"])
@pytest.mark.parametrize("tie_break", ["lexicographic", "lowest_id"])
def test_training_is_the_naive_one(pattern, tie_break):
    plain = Tokenizer.train([""], 256, pattern=pattern)
    for seed, n_first, n_merges in ((1, 40, 120), (2, 0, 60), (3, 30, 30)):
        limit = [None, 9][seed % 2]
        options = {} if limit is None else {"max_token_length": limit}
        tokenizer = trained(
            pattern, seed, 256 + n_merges, 256 + n_first, tie_break=tie_break, **options
        )
        expected = naive_merges(
            sample(seed),
            n_first,
            n_merges,
            first=plain.pat_str,
            spans=tokenizer.pat_str,
            tie_break=tie_break,
            limit=limit,
        )
        assert tokenizer.merges == expected
        spanning = [a + b for a, b in expected if b" " in (a + b).strip()]
        assert bool(spanning) == (n_first < n_merges)


@QUIET
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "nanochat"])
def test_encoding_applies_the_merges_in_order(pattern):
    tokenizer = trained(pattern)
    ids = {token: id_ for id_, token in tokenizer.vocab.items()}
    crossed = 0
    for seed in range(40):
        text = sample(100 + seed, 1 + 3 * seed)
        spans = spans_of(text, tokenizer.pat_str)
        tokens = [token for span in spans for token in apply(tokenizer.merges, span)]
        expected = [ids[token] for token in tokens]
        crossed += sum(b" " in token.strip() for token in tokens)
        assert tokenizer.encode_ordinary(text) == expected
        assert tokenizer.count(text) == len(expected)
        assert tokenizer.decode(expected) == text
    assert crossed > 100


@QUIET
def test_long_runs_of_superwords():
    """Runs beyond what is merged by scanning, against the merges in order."""
    rng = random.Random(3)
    words = ["of", "the", "and", "it", "it's"]
    trainer = BpeTrainer(superwords_from=275)
    trainer.feed([" ".join(rng.choices(words, k=2000))])
    tokenizer = trainer.train(330)
    ids = {token: id_ for id_, token in tokenizer.vocab.items()}
    for n in (20, 33, 100, 700):
        text = " ".join(rng.choices(words, k=n))
        tokens = apply(tokenizer.merges, text)
        assert tokenizer.encode_ordinary(text) == [ids[token] for token in tokens]
        assert sum(b" " in token.strip() for token in tokens) > n // 20


def random_merges(rng):
    """Merges as training could give them: some within words, then twice as many across them."""
    parts = [b"a", b"b", b"c", b" ", b",", "é".encode()]
    merges = [("é".encode()[:1], "é".encode()[1:])]
    while len(merges) < 46:
        token = (pair := (rng.choice(parts), rng.choice(parts)))[0] + pair[1]
        if len(merges) < 16 and b" " in token[1:]:
            continue
        if token in parts or len(token) > 16 or apply([*merges, pair], token.decode()) != [token]:
            continue
        merges.append(pair)
        parts.append(token)
    return merges


@QUIET
@pytest.mark.parametrize("seed", range(6))
def test_random_merges_across_words(seed):
    """Runs of all lengths, with neighbours that only some other token has side by side."""
    rng = random.Random(900 + seed)
    merges = random_merges(rng)
    tokens = [bytes([byte]) for byte in range(256)] + [left + right for left, right in merges]
    ids = dict(zip(tokens, itertools.count()))
    tokenizer = Tokenizer.from_ranks(ids, pattern=trained("gpt2").pat_str)
    assert tokenizer.merges == merges
    pieces = [token.decode() for token in tokens[257:]]
    lengths = Counter()
    for n in (1, 2, 3, 4, 20, 40, 64, 150, 300):
        for _ in range(4):
            # Ends of spans, at times many.
            ends = ["\n", " 1", "7"] * rng.choice([0, 1, 10])
            text = "".join(rng.choice([*pieces, *ends]) for _ in range(n))
            spans = spans_of(text, tokenizer.pat_str)
            found = [token for span in spans for token in apply(merges, span)]
            assert tokenizer.encode_ordinary(text) == [ids[token] for token in found]
            assert tokenizer.count(text) == len(found)
            lengths.update(ids[token] > 271 for token in found)
    assert lengths[True] > 500


@QUIET
def test_first_stage_is_training_without_superwords():
    plain = BpeTrainer(pattern="cl100k")
    plain.feed([sample(1)])
    assert trained("cl100k").merges[:54] == plain.train(310).merges


@QUIET
def test_threads_and_order_do_not_show():
    documents = [sample(seed, 60) for seed in range(30)]
    merges = []
    for num_threads, order in ((1, 1), (3, -1)):
        trainer = BpeTrainer(superwords_from=300, num_threads=num_threads)
        trainer.feed(documents[::order])
        merges.append(trainer.train(400).merges)
    assert merges[0] == merges[1]


@QUIET
def test_documents_and_special_tokens_part():
    trainer = BpeTrainer(superwords_from=258, special_tokens=["<|s|>"])
    trainer.feed(["a b<|s|>c d<|s|>" * 9, "e f"])
    tokens = trainer.train(400).mergeable_ranks
    assert {b"a b", b"c d", b"e f"} <= set(tokens)
    assert not any({*b"bc"} <= {*t} or {*b"da"} <= {*t} for t in tokens if len(t) > 1)


@QUIET
def test_a_pattern_of_ones_own():
    options = {"pattern": r"\w+|\W", "superwords_pattern": r"[^\n]+|\n"}
    trainer = BpeTrainer(superwords_from=300, **options)
    trainer.feed([sample(1)])
    tokenizer = trainer.train(380)
    assert tokenizer.merges == naive_merges(
        sample(1), 44, 124, first=r"\w+|\W", spans=r"[^\n]+|\n", tie_break="lexicographic"
    )
    ids = {token: id_ for id_, token in tokenizer.vocab.items()}
    text = sample(9)
    spans = spans_of(text, r"[^\n]+|\n")
    expected = [ids[token] for span in spans for token in apply(tokenizer.merges, span)]
    assert tokenizer.encode_ordinary(text) == expected


def ids_by_definition(tokenizer, text):
    ids = {token: id_ for id_, token in tokenizer.vocab.items()}
    spans = spans_of(text, tokenizer.pat_str)
    tokens = {span: apply(tokenizer.merges, span) for span in set(spans)}
    return [ids[token] for span in spans for token in tokens[span]]


@QUIET
@pytest.mark.parametrize("end", ["\n", " 12", ".\r\n"])
def test_texts_that_are_encoded_in_parts(end):
    tokenizer = trained("cl100k")
    rng = random.Random(6)
    lines = [sample(600 + seed, 1 + seed).replace("\n", " ") for seed in range(30)]
    # Without line ends it is one part.
    text = "".join(rng.choice(lines) + end for _ in range(900))
    assert len(text) > 60_000
    assert tokenizer.encode_ordinary(text) == ids_by_definition(tokenizer, text)
    assert tokenizer.count(text) == len(ids_by_definition(tokenizer, text))


@QUIET
def test_spans_that_leave_text_out():
    trainer = BpeTrainer(superwords_from=262, pattern=r"\S+|\s", superwords_pattern=r"[^\n]+")
    trainer.feed(["ab ab ab ab ab ab ab cd ab ab ab ab ef\n" * 3 + "cd ef ab cd cd ab" * 5])
    tokenizer = trainer.train(285)
    assert max(token.count(b" ") for token in tokenizer.vocab.values()) > 2
    rng = random.Random(8)
    for n in [1, 2, 5, 9, 30, 50, 400]:
        text = "".join(rng.choice(["ab ", "ab ", "cd ", "ef", "x\n", "\n\n"]) for _ in range(n))
        assert tokenizer.encode_ordinary(text) == ids_by_definition(tokenizer, text)


@QUIET
def test_every_surface_gives_the_same_ids(tmp_path):
    tokenizer = trained("cl100k", special_tokens=("<|s|>",))
    text = sample(5, 3000)
    expected = tokenizer.encode_ordinary(text)
    rng = random.Random(5)
    cuts = [0, *sorted(rng.sample(range(len(text)), 90)), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(cuts)]
    assert list(tokenizer.encode_iterable(pieces)) == expected
    assert tokenizer.encode_batch([text, "", text[:99]], num_threads=2)[0] == expected
    with_offsets, offsets = tokenizer.encode_with_offsets(text)
    assert with_offsets == expected
    pairs = zip(offsets, map(tokenizer.decode_bytes, ([i] for i in expected)), strict=True)
    whole = [(text[a:b].encode(), token) for (a, b), token in pairs if token.isascii()]
    assert len(whole) > len(expected) / 2
    assert all(part == token for part, token in whole)
    half = tokenizer.truncate(text, len(expected) // 2)
    assert text.startswith(half)
    assert len(half) > len(text) / 3
    assert tokenizer.count(half) <= len(expected) // 2
    path = tmp_path / "text.txt"
    path.write_bytes(f"{text}<|s|>{text}".encode())
    flat, starts = tokenizer.encode_files_to_numpy([path], num_threads=2)
    assert flat.tolist() == expected * 2
    assert starts.tolist() == [0, len(expected), 2 * len(expected)]
    tokenizer.save(tmp_path / "saved")
    for same in (Tokenizer.load(tmp_path / "saved"), pickle.loads(pickle.dumps(tokenizer))):
        assert same.fingerprint == tokenizer.fingerprint
        assert same.encode_ordinary(text) == expected


@QUIET
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "nanochat"])
def test_tokenizers_gives_the_same_ids(pattern, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = trained(pattern)
    path = tmp_path / "tokenizer.json"
    tokenizer.to_huggingface(path)
    theirs = tokenizers.Tokenizer.from_file(str(path))
    for seed in range(60):
        text = sample(500 + seed, 1 + 4 * seed)
        assert theirs.encode(text).ids == tokenizer.encode_ordinary(text)
    back = Tokenizer.from_huggingface(path)
    assert back.pat_str == tokenizer.pat_str
    assert back.merges == tokenizer.merges
    assert back.encode_ordinary(text) == tokenizer.encode_ordinary(text)


@QUIET
def test_counts_are_of_spans():
    trainer = BpeTrainer(superwords_from=300)
    trainer.feed(["of the, of the 12"])
    assert dict(trainer.counts.items()) == {b"of the, of the": 1, b" 12": 1}
    other = BpeTrainer(superwords_from=300)
    other.add_counts(trainer.counts)
    assert other.train(300).merges == trainer.train(300).merges
    with pytest.raises(ValueError, match="pattern="):
        BpeTrainer().add_counts(trainer.counts)


@QUIET
def test_spans_that_are_not_text_are_pretokens():
    trainer = BpeTrainer(superwords_from=257)
    items = [(b"\xff\xfe\xff\xfe", 3), (b"a b a b", 2)]
    trainer.add_counts(Counts.from_items(trainer.pat_str, [], items))
    # One merge within pretokens; 3 spans of two such tokens are then less than 4 of "a ".
    assert trainer.train(260).merges == [
        (b"\xff", b"\xfe"), (b"a", b" "), (b"a ", b"b"), (b"\xff\xfe", b"\xff\xfe"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"superwords_from": 0}, "superwords_from=0"),
        ({"superwords_from": 257, "special_tokens": ["<|a|>", "<|b|>"]}, "superwords_from=257"),
        ({"superwords_from": 301}, "superwords_from=301"),
        ({"superwords_from": 280, "pattern": r"\S+"}, "superwords_pattern=None"),
        ({"superwords_from": 280, "superwords_pattern": "("}, "not a valid regex"),
        ({"superwords_pattern": r"\S+"}, r"superwords_pattern='\\\\S\+'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer.train(["of the of the"], 300, **options)
