import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytemill import Tokenizer, patterns
from tests.support.vocabularies import NAMED, OVERLAPPING, generated_text, texts, train

BYTES = {bytes([i]): i for i in range(256)}
TEXT = generated_text()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train([TEXT], 400, ["<|end|>", "<|pad|>"])


# What it is made of


def test_ids_are_bytes_then_merges_then_special_tokens(tokenizer):
    vocab, merges = tokenizer.vocab, tokenizer.merges
    assert list(vocab) == list(range(400))
    assert [vocab[i] for i in range(256)] == [bytes([i]) for i in range(256)]
    assert [vocab[256 + i] for i in range(len(merges))] == [a + b for a, b in merges]
    assert (vocab[398], vocab[399]) == (b"<|end|>", b"<|pad|>")
    assert tokenizer.special_tokens == {"<|end|>": 398, "<|pad|>": 399}
    assert tokenizer.mergeable_ranks == {vocab[i]: i for i in range(398)}
    assert tokenizer.n_vocab == 400
    assert "n_vocab=400" in repr(tokenizer) and "gpt2" in repr(tokenizer)


def test_token_bytes_are_zero_for_special_tokens_and_holes():
    tokenizer = Tokenizer.from_ranks({**BYTES, b"ab": 300, "é".encode(): 256}, {"<|end|>": 305})
    lengths = tokenizer.token_bytes()
    assert len(lengths) == tokenizer.n_vocab == 306
    assert lengths[:257] == [1] * 256 + [2]
    assert lengths[300] == 2
    assert sum(lengths) == 256 + 4


def test_worked_example_of_sennrich_et_al():
    text = " ".join(["low"] * 5 + ["lower"] * 2 + ["widest"] * 3 + ["newest"] * 6)
    tokenizer = train([text], 256 + 12, pattern=r"\S+")
    shown = [f"{a.decode()} {b.decode()}" for a, b in tokenizer.merges]
    expected = "s t,e st,o w,l ow,w est,n e,ne west,w i,wi d,wid est,low e,lowe r"
    assert shown == expected.split(",")
    assert [tokenizer.vocab[i] for i in tokenizer.encode("newest")] == [b"newest"]


@pytest.mark.parametrize("pattern", NAMED)
def test_merges_recovered_from_ranks_are_the_trained_ones(pattern):
    trained = train([TEXT, "a" * 1000, "ab" * 500], 450, pattern=pattern)
    assert Tokenizer.from_ranks(trained.mergeable_ranks, pattern=pattern).merges == trained.merges


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=25), min_size=1, max_size=5))
def test_no_two_merges_give_the_same_bytes(words):
    # Why it cannot happen: see Tokenizer.merges. The tokens, merges and ranks stay one to one.
    tokenizer = train(words, 340, pattern=r"\S+")
    joined = [a + b for a, b in tokenizer.merges]
    assert len(set(joined)) == len(joined) == len(tokenizer.mergeable_ranks) - 256
    again = Tokenizer.from_ranks(tokenizer.mergeable_ranks, pattern=r"\S+")
    assert again.merges == tokenizer.merges


def test_merges_of_ranks_that_are_no_merges():
    tokenizer = Tokenizer.from_ranks({**BYTES, b"abcd": 256})
    with pytest.raises(ValueError, match="abcd"):
        _ = tokenizer.merges
    assert tokenizer.encode("abcd abc") == [256, 32, 97, 98, 99]


# The fingerprint


def test_fingerprint_depends_on_all_that_decides_ids():
    ranks, special = {**BYTES, b"ab": 256, b"bc": 257}, {"<|end|>": 258}
    base = Tokenizer.from_ranks(ranks, special)
    different = [
        Tokenizer.from_ranks({**ranks, b"ab": 257, b"bc": 256}, special),
        Tokenizer.from_ranks({**ranks, b"bd": 259}, special),
        Tokenizer.from_ranks(ranks, {"<|end|>": 259}),
        Tokenizer.from_ranks(ranks, {"<|pad|>": 258}),
        Tokenizer.from_ranks(ranks, {}),
        Tokenizer.from_ranks({**ranks, b"<|end|>": 258}, {}),
        Tokenizer.from_ranks(ranks, special, pattern="cl100k"),
    ]
    assert len({t.fingerprint for t in [base, *different]}) == 8
    assert all(len(t.fingerprint) == 64 for t in different)


def test_fingerprint_ignores_names_and_order():
    ranks = {**BYTES, b"ab": 256}
    one = Tokenizer.from_ranks(ranks, {"<a>": 257, "<b>": 258}, name="one")
    reordered = dict(reversed(list(ranks.items())))
    two = Tokenizer.from_ranks(
        reordered, {"<b>": 258, "<a>": 257}, pattern=patterns.canonical("gpt2")
    )
    assert one.fingerprint == two.fingerprint
    # Fixed for good: files written today must load with later versions.
    assert Tokenizer.from_ranks(BYTES, {"<|end|>": 256}).fingerprint == (
        "4a49f21a0283e908a6aa4f622838a6dac0a699d6f31086243d2ab732a33dacb8"
    )


# Truncation


@pytest.mark.parametrize("tie_break", ["lexicographic", "lowest_id", "huggingface"])
def test_truncated_equals_training_at_that_size(tie_break):
    big = train([TEXT], 400, OVERLAPPING, "cl100k", tie_break)
    for size in (256 + len(OVERLAPPING), 270, 399, 400):
        small = train([TEXT], size, OVERLAPPING, "cl100k", tie_break)
        cut = big.truncated(size)
        assert cut.vocab == small.vocab
        assert cut.merges == small.merges
        assert cut.fingerprint == small.fingerprint


@pytest.mark.parametrize("size", [-1, 0, 257, 401])
def test_truncated_to_an_impossible_size(tokenizer, size):
    with pytest.raises(ValueError, match=rf"vocab_size={size}.*258.*400"):
        tokenizer.truncated(size)


def test_truncated_closes_holes_before_special_tokens():
    cut = Tokenizer.from_ranks({**BYTES, b"ab": 260, b"bc": 270}, {"<|end|>": 300}).truncated(258)
    assert cut.vocab[260] == b"ab" and cut.special_tokens == {"<|end|>": 261}
    with pytest.raises(ValueError, match="259"):
        Tokenizer.from_ranks({**BYTES, b"ab": 260, b"bc": 270}, {"<|end|>": 300}).truncated(260)


# Training


def test_train_from_files_and_texts(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8", newline="")
    expected = train([TEXT], 300, ["<|end|>"], "o200k", "lowest_id").fingerprint
    for source in (tmp_path / "a.txt", str(tmp_path / "a.txt"), [tmp_path / "a.txt"], [TEXT]):
        tokenizer = Tokenizer.train(
            source, 300, ["<|end|>"], pattern="o200k", tie_break="lowest_id", num_threads=1
        )
        assert tokenizer.fingerprint == expected
    assert Tokenizer.train(iter([TEXT]), 300).pat_str == patterns.canonical("gpt2")
    with pytest.warns(UserWarning) as warned:
        assert Tokenizer.train(["ab"], 300).n_vocab == 257
    assert warned[0].filename == __file__
    with pytest.raises(ValueError, match="vocab_size=256"):
        Tokenizer.train([TEXT], 256, ["<|end|>"])


# Text and ids


@settings(max_examples=200, deadline=None)
@given(texts, st.sampled_from(NAMED))
def test_decode_gives_the_text_back(text, pattern):
    tokenizer = by_pattern(pattern)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode_ordinary(text), "strict") == text


_by_pattern: dict[str, Tokenizer] = {}


def by_pattern(pattern: str) -> Tokenizer:
    if pattern not in _by_pattern:
        _by_pattern[pattern] = train([TEXT], 380, OVERLAPPING, pattern)
    return _by_pattern[pattern]


def test_special_tokens_longest_first_or_as_text(tokenizer):
    overlapping = by_pattern("gpt2")
    end, twice, e, *_ = (overlapping.special_tokens[t] for t in OVERLAPPING)
    assert overlapping.encode("<|end|><|end|><|end|><|e") == [twice, end, e]
    some = {"<|end|>"}
    assert overlapping.encode("<|end|><|end|>", allowed_special=some) == [end, end]
    ordinary = overlapping.encode_ordinary("<|end|>")
    assert overlapping.encode("<|end|>", allowed_special=()) == ordinary
    assert overlapping.encode("<|end|>", allowed_special=["no such token"]) == ordinary
    assert tokenizer.encode("a <|end|> b") == [
        *tokenizer.encode("a "), 398, *tokenizer.encode(" b")
    ]  # fmt: skip


def test_allowed_special_is_no_single_token(tokenizer):
    with pytest.raises(TypeError, match=r"'<\|end\|>'.*\"all\""):
        tokenizer.encode("x", allowed_special="<|end|>")


@pytest.mark.parametrize(
    ("text", "meaning"), [("\ud83d\udc4d", "👍"), ("\ud83d", "�"), ("a\udc4d\ud83db", "a��b")]
)
def test_surrogates(tokenizer, text, meaning):
    assert tokenizer.encode(text) == tokenizer.encode(meaning)
    assert tokenizer.encode_ordinary(text) == tokenizer.encode_ordinary(meaning)


def test_decoding(tokenizer):
    assert tokenizer.decode([398, 0xC3, 0xA9, 0xF0, 0x9F]) == "<|end|>é�"
    assert tokenizer.decode_bytes([0xC3, 398]) == b"\xc3<|end|>"
    assert tokenizer.decode([]) == ""
    assert tokenizer.decode([0xC3], errors="ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode([0xC3], errors="strict")
    for id_ in (-1, 400, 2**32 - 1, 2**40):
        with pytest.raises(KeyError, match=str(id_)):
            tokenizer.decode([id_])


def test_special_tokens_that_share_an_id_are_accepted():
    assert Tokenizer.from_ranks(BYTES, {"<a>": 256, "<b>": 256}).vocab[256] == b"<a>"


# What the constructor refuses


@pytest.mark.parametrize(
    ("ranks", "special", "error", "message"),
    [
        ({}, {}, ValueError, "256 single bytes are missing, the first 0x00"),
        ({k: v for k, v in BYTES.items() if v != 0x41}, {}, ValueError, "first 0x41"),
        ({**BYTES, b"": 256}, {}, ValueError, "b''"),
        ({**BYTES, "ab": 256}, {}, TypeError, "'ab'"),
        ({**BYTES, b"ab": "256"}, {}, TypeError, "'256'"),
        ({**BYTES, b"ab": True}, {}, TypeError, "True"),
        ({**BYTES, b"ab": -1}, {}, ValueError, "-1"),
        ({**BYTES, b"ab": 2**32}, {}, ValueError, "4294967296"),
        ({**BYTES, b"ab": 255}, {}, ValueError, "255"),
        ({**BYTES, b"ab": 256, b"bc": 256}, {}, ValueError, "b'ab' and b'bc' both have id 256"),
        (BYTES, {"": 256}, ValueError, "empty"),
        (BYTES, {b"<s>": 256}, TypeError, "b'<s>': a special token must be a str"),
        (BYTES, {None: 256}, TypeError, "None"),
        (BYTES, {"<s>": 255}, ValueError, "255.*taken"),
        (BYTES, {"<s>": 1.5}, TypeError, "1.5"),
        (BYTES, {"\ud800": 256}, ValueError, "surrogate"),
    ],
)
def test_bad_vocabulary(ranks, special, error, message):
    with pytest.raises(error, match=message):
        Tokenizer.from_ranks(ranks, special)


def test_bad_pattern():
    with pytest.raises(ValueError, match=r"\(unclosed"):
        Tokenizer.from_ranks(BYTES, pattern="(unclosed")
    for name in ("gpt4", "", "cl100k_base"):
        with pytest.raises(ValueError, match=f'pattern=\'{name}\'.*"gpt2", "cl100k", "o200k"'):
            Tokenizer.from_ranks(BYTES, pattern=name)
    with pytest.raises(TypeError, match="None"):
        Tokenizer.from_ranks(BYTES, pattern=None)


# Files


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "deep" / "dir")
    loaded = Tokenizer.load(str(tmp_path / "deep" / "dir"))
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.vocab == tokenizer.vocab and loaded.merges == tokenizer.merges
    assert list(loaded.special_tokens) == list(tokenizer.special_tokens)
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    names = sorted(p.name for p in (tmp_path / "deep" / "dir").iterdir())
    assert names[0] == "bytemill.json" and len(names) == 2


def test_saved_ranks_are_a_tiktoken_file(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (path,) = tmp_path.glob("*.tiktoken")
    again = Tokenizer.from_tiktoken(
        path, pattern=tokenizer.pat_str, special_tokens=tokenizer.special_tokens
    )
    assert again.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("fail_at", [0, 1])
def test_crash_while_saving_over_another_leaves_the_other(
    tokenizer, tmp_path, monkeypatch, fail_at
):
    other = tokenizer.truncated(300)
    other.save(tmp_path)
    before = sorted(tmp_path.iterdir())
    calls, replace = [], Path.replace

    def failing_replace(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) > fail_at:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing_replace)
        with pytest.raises(KeyboardInterrupt):
            tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == other.fingerprint
    assert sorted(tmp_path.iterdir()) == before
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    assert len(list(tmp_path.iterdir())) == 2


def test_save_to_a_path_that_is_a_file(tokenizer, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        tokenizer.save(tmp_path / "file")


def _edit(tmp_path: Path, **changes: object) -> None:
    path = tmp_path / "bytemill.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "bytemill.json.*'other'"),
        ({"version": 2}, "version 2.*update"),
        ({"version": None}, "version None"),
        ({"ranks_file": "../ranks.tiktoken"}, "ranks_file"),
        ({"ranks_file": 3}, "ranks_file.*3"),
        ({"ranks_file": "ranks-0123456789abcdef.tiktoken"}, "ranks-0123456789abcdef.*missing"),
        ({"ranks_sha256": "0" * 64}, r"ranks-.*\.tiktoken: its SHA-256.*save it again"),
        ({"pattern": "cl100k"}, "fingerprint"),
        ({"pattern": "("}, "bytemill.json.*regex"),
        ({"special_tokens": {"<|end|>": 398}}, "n_vocab"),
        ({"special_tokens": {"<|end|>": 3, "<|pad|>": 399}}, "taken"),
        ({"special_tokens": {"": 398}}, "empty"),
        ({"special_tokens": []}, "special_tokens"),
        ({"fingerprint": None}, "fingerprint"),
        ({"name": None}, "name"),
    ],
)
def test_load_of_a_changed_config(tokenizer, tmp_path, changes, message):
    tokenizer.save(tmp_path)
    _edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_load_of_cut_files(tokenizer, tmp_path, keep):
    tokenizer.save(tmp_path)
    (ranks,) = tmp_path.glob("*.tiktoken")
    whole, config = ranks.read_bytes(), (tmp_path / "bytemill.json").read_bytes()
    ranks.write_bytes(whole[:keep])
    with pytest.raises(ValueError, match=ranks.name):
        Tokenizer.load(tmp_path)
    ranks.write_bytes(whole)
    (tmp_path / "bytemill.json").write_bytes(config[: keep if keep >= 0 else -3])
    with pytest.raises(ValueError, match=r"bytemill\.json"):
        Tokenizer.load(tmp_path)


def test_load_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"bytemill\.json.*Tokenizer\.save"):
        Tokenizer.load(tmp_path)
    (tmp_path / "bytemill.json").write_text("[]")
    with pytest.raises(ValueError, match="list"):
        Tokenizer.load(tmp_path)
