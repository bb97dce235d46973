"""Places without a tokenizer.json, and tokenizers of other kinds: named, with what reads them."""

import base64
import json

import pytest

from bytemill import Tokenizer

BYTES = {bytes([i]): i for i in range(256)}


def piece(text: str, score: bytes = b"\0\0\0\0", kind: int = 1) -> bytes:
    """A piece of a SentencePiece model, as protobuf writes it."""
    inner = b"\x0a" + bytes([len(text.encode())]) + text.encode() + b"\x15" + score
    if kind != 1:
        inner += b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(inner)]) + inner


MODELS = {
    "llama": piece("<unk>", kind=2) + piece("<s>", kind=3) + piece("▁the"),
    "t5": piece("<pad>", kind=3) + piece("</s>", kind=3),
    "no score": b"\x0a\x07\x0a\x05<unk>" + piece("<s>", kind=3),
}
LINES = b"".join(b"%b %d\n" % (base64.b64encode(token), id_) for token, id_ in BYTES.items())
LINES += base64.b64encode(b"ab") + b" 256\n"


@pytest.mark.parametrize("read", [Tokenizer.from_pretrained, Tokenizer.from_huggingface])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_sentencepiece(tmp_path, read, name):
    file = tmp_path / "tokenizer.model"
    file.write_bytes(MODELS[name])
    remedy = r"SentencePiece.*AutoTokenizer\.from_pretrained\(.*save_pretrained"
    with pytest.raises(FileNotFoundError, match=rf"no tokenizer\.json.*{remedy}"):
        read(tmp_path)
    with pytest.raises(ValueError, match=rf"it is not a tokenizer\.json.*{remedy}"):
        read(file)
    with pytest.raises(ValueError, match=r"SentencePiece's, not a \.tiktoken file.*AutoTokenizer"):
        Tokenizer.from_tiktoken(file, pattern="cl100k")


@pytest.mark.parametrize("read", [Tokenizer.from_pretrained, Tokenizer.from_huggingface])
@pytest.mark.parametrize("name", ["tokenizer.model", "qwen.tiktoken"])
def test_tiktokens_lines(tmp_path, monkeypatch, read, name):
    file = tmp_path / name
    file.write_bytes(LINES)
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json.*Tokenizer\.from_tiktoken\("):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"not a tokenizer\.json.*Tokenizer\.from_tiktoken\("):
        read(file)
    # What the message says reads it; also by its bare name.
    special = {"<|begin_of_text|>": 300}
    for source in (file, str(file)):
        tokenizer = Tokenizer.from_tiktoken(source, pattern="cl100k", special_tokens=special)
        assert tokenizer.encode("<|begin_of_text|>abc") == [300, 256, 99]
    monkeypatch.chdir(tmp_path)
    assert Tokenizer.from_tiktoken(name, pattern="cl100k").encode("ab") == [256]


def test_bytemills_own_and_gpt2s(tmp_path):
    tokenizer = Tokenizer.from_ranks({**BYTES, b"ab": 256})
    tokenizer.save(tmp_path / "own")
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json.*Tokenizer\.load"):
        Tokenizer.from_pretrained(tmp_path / "own")
    for name, text in (("vocab.json", json.dumps({"a": 0})), ("merges.txt", "")):
        (tmp_path / name).write_text(text)
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json.*Tokenizer\.from_files"):
        Tokenizer.from_huggingface(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\n", b"\x0a\x05\x0a", b"\x0a\xff\x0a\x03abc", b"{}", b"A"])
def test_what_is_none_of_these(tmp_path, data):
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json in this folder, which from_"):
        Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer\.model"):
        Tokenizer.from_huggingface(tmp_path / "tokenizer.model")
