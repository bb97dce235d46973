"""Training that goes on from a vocabulary, against training at once and by the book."""

import json
import random

import pytest

from bytemill import BpeTrainer, Counts, Tokenizer
from tests.support import families, naive
from tests.support.vocabularies import generated_text

TEXT = generated_text(0, 2500) + " aaaa aaaaaaa bbbaaaddddcccc aaabbbccccdddd don't\n"
OTHER = generated_text(7, 900) + " newer lowest widest 2048 4096 ababababab zzzzzz " * 9
SPECIAL = ["<|end|>", "€"]

# Vocabularies get fewer tokens than asked for where the text has no more pairs.
pytestmark = pytest.mark.filterwarnings("ignore:the vocabulary has")


def trainer(texts=(TEXT,), **options):
    made = BpeTrainer(special_tokens=SPECIAL, **options)
    made.feed(texts)
    return made


def ordinary(tokenizer):
    return sorted(tokenizer.mergeable_ranks, key=tokenizer.mergeable_ranks.__getitem__)


@pytest.mark.parametrize("tie_break", naive.TIE_RULES)
@pytest.mark.parametrize("pattern", ["gpt2", "o200k", r"(?s:.+)", r"\p{L}+|\p{N}"])
def test_from_any_size_it_gives_what_training_at_once_gives(tie_break, pattern):
    made = trainer(tie_break=tie_break, pattern=pattern)
    whole = made.train(700)
    for size in (258, 259, 300, 450):
        small = made.train(size)
        ours = small.extended(made.counts, 700, tie_break=tie_break)
        assert ordinary(ours) == ordinary(whole)
        assert ours.special_tokens == small.special_tokens
        assert {t: ours.mergeable_ranks[t] for t in small.mergeable_ranks} == small.mergeable_ranks
        assert min(set(ours.mergeable_ranks.values()) - set(small.mergeable_ranks.values())) == size
        assert ours.encode(OTHER) == [id_of(ours, whole, id_) for id_ in whole.encode(OTHER)]


def id_of(ours, theirs, id_):
    return ours.encode_single_token(theirs.decode_single_token_bytes(id_))


@pytest.mark.parametrize("tie_break", naive.TIE_RULES)
@pytest.mark.parametrize("limits", [{}, {"min_frequency": 4}, {"max_token_length": 5}])
@pytest.mark.parametrize("seed", range(2))
def test_on_another_text_it_is_training_by_the_book(tie_break, limits, seed):
    small = trainer(tie_break=tie_break).train(330)
    rng = random.Random(seed)
    text = " ".join(rng.choices(OTHER.split(" "), k=300))
    ours = small.extended([text], 430, tie_break=tie_break, **limits)
    counts = naive.count([text], special_tokens=SPECIAL)
    merges = naive.train(counts, 100, tie_break, after=small.merges, **limits)
    assert [a + b for a, b in merges] == ordinary(ours)[len(small.mergeable_ranks) :]
    assert ours.merges == small.merges + merges
    # And it encodes as applying the merges in their order does.
    for pretoken in counts:
        word = [bytes([byte]) for byte in pretoken]
        for pair in ours.merges:
            word = naive.join(word, pair)
        ids = [ours.mergeable_ranks[token] for token in word]
        assert ours.encode_ordinary(pretoken.decode()) == ids


def test_counts_of_three_billion_and_runs():
    made = trainer()
    items = [(b" zzzz", 3_000_000_000), (b" zzzzz", 2), (b"aaaaaaa", 2**40)]
    counts = Counts.from_items(made.pat_str, SPECIAL, items)
    small = made.train(300)
    ours = small.extended(counts, 303)
    expected = naive.train(dict(items), 3, after=small.merges)
    assert ours.merges[-3:] == expected


def test_a_pretoken_of_100_000_letters():
    rng = random.Random(0)
    text = "".join(rng.choices("acgt", k=100_000)) + " " + "a" * 100_000
    made = trainer([text])
    assert ordinary(made.train(290).extended([text], 500)) == ordinary(made.train(500))


def test_tokens_ids_and_files_survive(tmp_path):
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    ours = trainer().train(400).extended([OTHER], 500)
    assert len(ours) == 500
    ours.save(tmp_path / "ours")
    ours.to_huggingface(tmp_path / "tokenizer.json")
    for again in (
        Tokenizer.load(tmp_path / "ours"),
        Tokenizer.from_huggingface(tmp_path / "tokenizer.json"),
    ):
        text = f"{OTHER}<|end|>{TEXT}€ "
        assert again.encode(text) == ours.encode(text)
        assert again.decode(ours.encode(text)) == text


def test_a_published_shape_keeps_its_template_and_its_special_tokens(tmp_path):
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    file = tmp_path / "tokenizer.json"
    file.write_text(families.document("llama-3"), encoding="utf-8")
    small = Tokenizer.from_huggingface(file)
    ours = small.extended([OTHER], len(small) + 50)
    assert ours.special_tokens == small.special_tokens
    assert ours.encode("", add_special_tokens=True) == small.encode("", add_special_tokens=True)
    ours.to_huggingface(file)
    again = Tokenizer.from_huggingface(file)
    assert again == ours
    assert again.encode(OTHER) == ours.encode(OTHER)
    assert len(ours.encode(OTHER)) < len(small.encode(OTHER))


def test_files_progress_and_nothing_to_add(tmp_path):
    (tmp_path / "a.txt").write_text(OTHER, encoding="utf-8")
    small = trainer().train(300)
    seen: list[tuple[int, int]] = []
    ours = small.extended(tmp_path / "a.txt", 400, progress=lambda *a: seen.append(a))
    assert ours == small.extended([OTHER], 400)
    assert seen[-1] == (100, 100)
    assert small.extended([OTHER], len(small)) == small
    with pytest.warns(UserWarning, match=r"300 tokens instead of vocab_size=400: .*0 distinct"):
        assert small.extended([""], 400) == small


def test_what_cannot_be_extended_is_refused(tmp_path):
    small = trainer().train(300)
    with pytest.raises(ValueError, match="vocab_size=299: the vocabulary has 300 tokens already"):
        small.extended([TEXT], 299)
    with pytest.raises(ValueError, match="pattern"):
        small.extended(trainer(pattern="o200k").counts, 400)
    with pytest.raises(ValueError, match="tie_break='first'"):
        small.extended([TEXT], 400, tie_break="first")
    with pytest.raises(TypeError, match="doc_cap"):
        small.extended(trainer().counts, 400, doc_cap=3)
    with pytest.raises(TypeError, match="vocab_size"):
        small.extended([TEXT], 400.0)
    bytes_ = {bytes([byte]): byte for byte in range(256)}
    with pytest.raises(ValueError, match="no merge makes its token b'abc'"):
        Tokenizer.from_ranks({**bytes_, b"abc": 256}).extended([TEXT], 400)
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    file = tmp_path / "tokenizer.json"
    file.write_text(families.document("gpt-neox"), encoding="utf-8")
    assert json.loads(file.read_text(encoding="utf-8"))["normalizer"] is not None
    with pytest.raises(ValueError, match=r"tokenizer\.json that says more"):
        Tokenizer.from_huggingface(file).extended([TEXT], 5000)
