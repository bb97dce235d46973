"""What is learned: the worked example, the naive trainer, ties, large counts, long runs."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytemill import BpeTrainer, Counts, train_bpe
from tests.support import naive

SENNRICH = ["low", "lower", "widest", "newest"]
QUIET = pytest.mark.filterwarnings("ignore:the vocabulary has")


def learn(texts, n_merges, **options):
    trainer = BpeTrainer(**options)
    trainer.feed(texts)
    return trainer.train(256 + len(trainer.special_tokens) + n_merges).merges


def learn_from_counts(items, n_merges, *, num_threads=None, **options):
    trainer = BpeTrainer(num_threads=num_threads, **options)
    trainer.add_counts(Counts.from_items(trainer.pat_str, trainer.special_tokens, items))
    return trainer.train(256 + n_merges).merges


def test_worked_example_of_sennrich_et_al():
    text = "low " * 5 + "lower " * 2 + "widest " * 3 + "newest " * 6
    merges = learn([text], 12, pattern=r"\S+", tie_break="lexicographic")
    assert ", ".join(b" ".join(pair).decode() for pair in merges) == (
        "s t, e st, o w, l ow, w est, n e, ne west, w i, wi d, wid est, low e, lowe r"
    )


def test_vocab_is_bytes_then_merges_then_special_tokens(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("low low<|b|>low lower lowest<|a|>" * 3)
    vocab, merges = train_bpe(path, 262, ["<|b|>", "<|a|>"])
    assert list(vocab) == list(range(262))
    assert [vocab[i] for i in range(256)] == [bytes([i]) for i in range(256)]
    assert [vocab[256 + i] for i in range(4)] == [left + right for left, right in merges]
    assert [vocab[260], vocab[261]] == [b"<|b|>", b"<|a|>"]


@QUIET
def test_special_tokens_are_in_no_merge():
    texts = ["once upon a time<|endoftext|>" * 50 + "<|endoftext|>the end"]
    merges = learn(texts, 20, special_tokens=["<|endoftext|>"])
    assert merges
    assert not any(b"<" in left + right or b"|" in left + right for left, right in merges)


alphabets = st.sampled_from(["a", "ab", "abc ", "aé ", "ab \n", "xyz'  \t", "日本 語a"])
texts = alphabets.flatmap(lambda chars: st.lists(st.text(chars, max_size=40), max_size=6))


@QUIET
@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    texts=texts,
    tie_break=st.sampled_from(naive.TIE_RULES),
    n_merges=st.integers(0, 40),
    min_frequency=st.integers(1, 4),
    max_token_length=st.none() | st.integers(1, 8),
    num_threads=st.sampled_from([1, 2, 8]),
)
def test_equals_the_naive_trainer(
    texts, tie_break, n_merges, min_frequency, max_token_length, num_threads
):
    merges = learn(
        texts,
        n_merges,
        tie_break=tie_break,
        min_frequency=min_frequency,
        max_token_length=max_token_length,
        num_threads=num_threads,
    )
    expected = naive.train(naive.count(texts), n_merges, tie_break, min_frequency, max_token_length)
    assert merges == expected


@QUIET
@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    items=st.dictionaries(
        st.binary(min_size=1, max_size=12) | st.text("ab", min_size=1).map(str.encode),
        st.integers(1, 5) | st.integers(1, 2**40),
        max_size=12,
    ),
    tie_break=st.sampled_from(naive.TIE_RULES),
    n_merges=st.integers(0, 60),
)
def test_equals_the_naive_trainer_on_any_bytes_and_counts(items, tie_break, n_merges):
    merges = learn_from_counts(items.items(), n_merges, tie_break=tie_break)
    assert merges == naive.train(items, n_merges, tie_break)


@QUIET
@pytest.mark.parametrize("tie_break", naive.TIE_RULES)
def test_equals_the_naive_trainer_on_prose(tie_break):
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 9))) for _ in range(300)]
    text = " ".join(rng.choices(words, k=3000))
    expected = naive.train(naive.count([text]), 120, tie_break)
    assert learn([text], 120, tie_break=tie_break) == expected


@QUIET
@pytest.mark.parametrize("tie_break", naive.TIE_RULES)
@pytest.mark.parametrize(
    "text",
    ["bbbaaaddddcccc", "aaabbbccccdddd", "aaa", "aaaa", "a" * 7, "abababa", "aabaabaa" * 3],
)
def test_ties_and_runs(text, tie_break):
    for pattern in (r"(?s).+", r"(.)\1*"):
        expected = naive.train(naive.count([text], pattern), 20, tie_break)
        assert learn([text], 20, pattern=pattern, tie_break=tie_break) == expected


def test_ties_do_not_depend_on_where_a_pair_stands():
    first = learn(["bbbaaaddddcccc"], 1, pattern=".+")
    assert first == learn(["aaabbbccccdddd"], 1, pattern=".+") == [(b"d", b"d")]


def test_a_pretoken_three_billion_times():
    items = [(b"ab", 3_000_000_000), (b"cd", 2_999_999_999), (b"ef", 3_000_000_001)]
    assert learn_from_counts(items, 3) == [(b"e", b"f"), (b"a", b"b"), (b"c", b"d")]


def test_a_pair_more_than_2_to_the_32_times():
    # As 32-bit numbers the first pair would have a count of 10, far below the second.
    items = [(b"xab", 2**31), (b"yab", 2**31 + 10), (b"cd", 2**31 + 11)]
    assert learn_from_counts(items, 2) == [(b"a", b"b"), (b"c", b"d")]
    items = [(b"aaaa", 2**33), (b"bb", 2**34)]
    assert learn_from_counts(items, 1) == [(b"a", b"a")]


@QUIET
def test_bytes_that_are_a_token_already_make_no_second_token():
    # (aa, a) and (a, aa) both join to aaa.
    tokens = []
    for n in range(2, 40):
        merges = learn(["a" * n], 60, pattern="a+")
        tokens = [left + right for left, right in merges]
        assert len(tokens) == len(set(tokens))
        assert merges == naive.train({b"a" * n: 1}, 60)
    assert tokens


@QUIET
@pytest.mark.parametrize(
    "make",
    [
        lambda n: "a" * n,
        lambda n: "ab" * (n // 2),
        lambda n: " " * (n - 1) + "x",
        lambda n: "".join(random.Random(2).choices("abcdefghijklmnopqrstuvwxyz", k=n)),
        lambda n: "".join(random.Random(3).choices("ACGT", k=n)),
    ],
    ids=["run", "period", "blanks", "letters", "dna"],
)
def test_long_pretokens_take_linear_time(make):
    def seconds(n):
        text = [make(n)]
        best = []
        for _ in range(3):
            began = time.process_time()
            learn(text, 500, num_threads=1)
            best.append(time.process_time() - began)
        return min(best)

    def is_linear():
        small, large = seconds(100_000), seconds(400_000)
        # Four times the text; the rest is for a busy machine.
        return large < 8 * small + 0.1

    assert any(is_linear() for _ in range(5))


def documents(n=400, seed=4):
    rng = random.Random(seed)
    alphabets = [
        "abcdefgh",
        "αβγδε ζ",
        "日本語の文",
        "  \n\t\r ",
        "0123456789",
        "'s't'll \u00a0\u3000",
    ]
    result = []
    for _ in range(n):
        parts = [
            "".join(rng.choices(rng.choice(alphabets), k=rng.randint(1, 12)))
            for _ in range(rng.randint(0, 300))
        ]
        result.append("".join(parts))
    return result


@pytest.mark.parametrize("tie_break", naive.TIE_RULES)
def test_same_result_for_any_number_of_threads_and_order_of_documents(tie_break):
    docs = documents()
    shuffled = random.Random(5).sample(docs, len(docs))
    results = []
    for num_threads in (1, 2, 8):
        for texts in (docs, shuffled, ["<|x|>".join(docs)]):
            trainer = BpeTrainer(
                num_threads=num_threads, special_tokens=["<|x|>"], tie_break=tie_break
            )
            trainer.feed(texts)
            results.append((trainer.counts.items(), trainer.train(1000).merges))
    assert all(result == results[0] for result in results)
    assert dict(results[0][0]) == naive.count(docs)
