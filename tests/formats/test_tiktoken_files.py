"""tiktoken's files and encodings: what is taken over, and what is refused."""

import functools
import hashlib

import pytest

from bytemill import Tokenizer, _core, patterns
from bytemill.formats import tiktoken as tiktoken_format
from tests.support.vocabularies import generated_text, small_vocabulary, tiktoken_encoding

tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")

trained = functools.partial(small_vocabulary, special_tokens=("<|end|>", "[x] (.*)", "<s p>", "€"))


def test_tiktoken_file_needs_a_pattern(tmp_path):
    path = tmp_path / "mine.tiktoken"
    trained("gpt2").save(tmp_path / "saved")
    (saved,) = (tmp_path / "saved").glob("*.tiktoken")
    path.write_bytes(saved.read_bytes())
    with pytest.raises(ValueError, match=r"mine\.tiktoken.*pattern="):
        Tokenizer.from_tiktoken(path)
    assert Tokenizer.from_tiktoken(str(path), pattern="o200k").special_tokens == {}
    # A published name brings pattern and special tokens with it, unless they are given.
    path = path.rename(tmp_path / "cl100k_base.tiktoken")
    known = Tokenizer.from_tiktoken(path)
    assert patterns.name_of(known.pat_str) == "cl100k"
    assert known.special_tokens["<|endofprompt|>"] == 100276
    own = Tokenizer.from_tiktoken(path, special_tokens={}, pattern=r"\S+")
    assert (own.special_tokens, own.pat_str) == ({}, r"\S+")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"YQ==\n", "line 1"),
        (b"YQ== 1\nYg== x\n", "line 2"),
        (b"YQ== 1\n\xff\xff 2\n", "line 2"),
        (b"YQ== 1\nYQ== 2\n", "line 2.*twice"),
        (b"YQ== 1 2\n", "line 1"),
        (b"YQ= 1\n", "line 1"),
        (b"YQ== 97\n", "255 single bytes are missing"),
    ],
)
def test_damaged_tiktoken_file(tmp_path, content, message):
    path = tmp_path / "bad.tiktoken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.tiktoken.*{message}"):
        Tokenizer.from_tiktoken(path, pattern="gpt2")


def test_the_fast_way_of_reading_is_the_slow_one(tmp_path):
    tokenizer = trained("cl100k")
    ranks, special = tokenizer.mergeable_ranks, {"<a>": 70_000, "<b>": 70_001}
    data = tiktoken_format.ranks_to_bytes(ranks)
    path = tmp_path / "some.tiktoken"
    # A blank line is not written as usual.
    for written in (data, data + b"\n"):
        path.write_bytes(written)
        assert (_core.Ranks.read(written) is None) == (written != data)
        found = Tokenizer.from_tiktoken(path, pattern="cl100k", special_tokens=special)
        expected = Tokenizer.from_ranks(ranks, special, pattern="cl100k")
        assert found.n_vocab == expected.n_vocab
        assert found.fingerprint == expected.fingerprint
        text = generated_text(3) + "<b>"
        assert found.encode(text) == expected.encode(text)
        assert list(found.mergeable_ranks.items()) == list(ranks.items())
        assert (found.merges, found.vocab) == (expected.merges, expected.vocab)
        with pytest.raises(ValueError, match=r"some\.tiktoken.*id 300 of '<a>' is taken"):
            Tokenizer.from_tiktoken(path, pattern="gpt2", special_tokens={"<a>": 300})
        with pytest.raises(TypeError, match="id of '<a>' is 'x'"):
            Tokenizer.from_tiktoken(path, pattern="gpt2", special_tokens={"<a>": "x"})


def test_tiktokens_cache_is_read_without_it(tmp_path, monkeypatch):
    data = tiktoken_format.ranks_to_bytes(trained("cl100k").mergeable_ranks)
    address = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    file = tmp_path / hashlib.sha1(address.encode()).hexdigest()
    file.write_bytes(data)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    # Not the published file: tiktoken is asked, which would delete it here and fetch the other.
    asked = []
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: asked.append(name))
    with pytest.raises(TypeError, match="cl100k_base"):
        Tokenizer.from_tiktoken("cl100k_base")
    assert asked == ["cl100k_base"]
    sha256 = hashlib.sha256(data).hexdigest()
    monkeypatch.setitem(tiktoken_format._SHA256, "cl100k_base", sha256)
    found = Tokenizer.from_tiktoken("cl100k_base")
    assert (asked, found.name) == (["cl100k_base"], "cl100k_base")
    assert found.mergeable_ranks == trained("cl100k").mergeable_ranks
    assert found.special_tokens["<|endofprompt|>"] == 100276


def test_from_tiktoken_of_something_else(tmp_path):
    with pytest.raises(TypeError, match="source=3"):
        Tokenizer.from_tiktoken(3)
    with pytest.raises(ValueError, match="no_such"):
        Tokenizer.from_tiktoken("no_such_encoding")
    with pytest.raises(FileNotFoundError, match="missing"):
        Tokenizer.from_tiktoken(tmp_path / "missing.tiktoken", pattern="gpt2")


def test_published_special_tokens_are_tiktokens():
    from tiktoken_ext import openai_public

    for name, (pattern, special) in tiktoken_format.PUBLISHED.items():
        if not name.startswith(("r50k", "p50k")):
            encoding = tiktoken_encoding(name)
            assert encoding.special_tokens == special
            assert patterns.name_of(encoding.pat_str) == pattern
        assert hasattr(openai_public, name)


def test_special_tokens_of_one_id():
    tokenizer = tiktoken_encoding("o200k_harmony")
    encoding = tokenizer.to_tiktoken("test")
    text = "<|endofprompt|><|reserved_200018|>"
    assert tokenizer.encode(text) == encoding.encode(text, allowed_special="all") == [200018] * 2
    assert tokenizer.decode([200018]) == "<|endofprompt|>"


class NetworkError(OSError):
    """As those of requests, which name no file."""


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """An empty cache of tiktoken's, and nothing to be fetched; gives a way to fetch something."""
    from tiktoken import load, registry

    def fails(address):
        raise NetworkError(f"no way to {address}\n and so on")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "ENCODINGS", {})
    monkeypatch.setattr(load, "read_file", fails)
    return lambda data: monkeypatch.setattr(load, "read_file", lambda _: data)


@pytest.mark.parametrize("name", ["o200k_base", "p50k_edit", "gpt2"])
def test_an_encoding_that_cannot_be_fetched(no_network, name):
    message = rf"{name}' is not in tiktoken's cache .*NetworkError: no way.*CACHE_DIR.*from_"
    with pytest.raises(ConnectionError, match=message) as caught:
        Tokenizer.from_tiktoken(name)
    assert isinstance(caught.value.__cause__, NetworkError)
    assert "and so on" not in str(caught.value)


def test_a_damaged_file_in_the_cache(no_network, tmp_path):
    (tmp_path / "cache").mkdir()
    address = b"https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    file = tmp_path / "cache" / hashlib.sha1(address).hexdigest()
    file.write_bytes(b"YQ== 97\n")
    with pytest.raises(ConnectionError, match=r"o200k_base' is damaged in tiktoken's cache.*from_"):
        Tokenizer.from_tiktoken("o200k_base")
    no_network(b"also damaged")
    with pytest.raises(ConnectionError, match=r"o200k_base'.*Hash mismatch"):
        Tokenizer.from_tiktoken("o200k_base")


def test_a_cache_that_cannot_be_written_to(no_network, tmp_path, monkeypatch):
    from tiktoken import load

    no_network(b"")
    monkeypatch.setattr(load, "check_hash", lambda *_: True)
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"o200k_base'.*could not be written.*CACHE_DIR to a"):
        Tokenizer.from_tiktoken("o200k_base")


def test_names_that_tiktoken_does_not_know(no_network):
    with pytest.raises(ValueError, match=r"source='nope': .*it knows .*cl100k_base.*by its path"):
        Tokenizer.from_tiktoken("nope")
    with pytest.raises(ValueError, match=r"'gpt-4o' is a model of the encoding 'o200k_base'"):
        Tokenizer.from_tiktoken("gpt-4o")
