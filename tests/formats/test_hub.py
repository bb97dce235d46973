"""Finding a model's tokenizer.json."""

import json

import pytest

from bytemill import Tokenizer
from bytemill.formats import huggingface
from bytemill.vocabulary import Vocabulary

BYTES = {bytes([i]): i for i in range(256)}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--org--name"
    for commit, token in (("abc", b"ab"), ("def", b"cd")):
        folder = model / "snapshots" / commit
        folder.mkdir(parents=True)
        data = huggingface.to_dict(Vocabulary({**BYTES, token: 256}))
        (folder / "tokenizer.json").write_text(json.dumps(data))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    return model


def test_from_the_cache(cache):
    assert Tokenizer.from_pretrained("org/name").encode("ab") == [256]
    assert Tokenizer.from_pretrained("org/name", revision="def").encode("cd") == [256]


def test_from_a_folder(cache):
    folder = cache / "snapshots" / "def"
    for path in (folder, folder / "tokenizer.json", str(folder)):
        assert Tokenizer.from_pretrained(path).encode("cd") == [256]


def test_what_is_not_there(cache, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"org/other: .*download=True"):
        Tokenizer.from_pretrained("org/other")
    with pytest.raises(FileNotFoundError, match=r"revision no-such.*download=True"):
        Tokenizer.from_pretrained("org/name", revision="no-such")
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json in this folder"):
        Tokenizer.from_pretrained(tmp_path)
    for name in ("a/b/c", "../name", "org/..", "", "org name"):
        with pytest.raises((ValueError, FileNotFoundError)):
            Tokenizer.from_pretrained(name)


def test_the_hub_is_asked_by_its_package(cache, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        Tokenizer.from_pretrained("org/name", download=True)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("LocalEntryNotFoundError", ConnectionError, r"could not be reached.*pass the folder to"),
        (
            "EntryNotFoundError",
            FileNotFoundError,
            r"no tokenizer\.json on the hub.*AutoTokenizer",
        ),
        ("HFValidationError", ValueError, "HFValidationError: the first line$"),
        ("OfflineModeIsEnabled", OSError, r"could not be fetched: .*first line.*hf auth login"),
    ],
)
def test_what_the_hub_does_not_give(cache, monkeypatch, error, kind, message):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    from huggingface_hub import errors

    def fails(*_, **__):
        raise getattr(errors, error)("the first line\nand many more")

    monkeypatch.setattr(hub, "hf_hub_download", fails)
    with pytest.raises(kind, match=rf"^org/name, revision main: .*{message}") as caught:
        Tokenizer.from_pretrained("org/name", download=True)
    assert "many more" not in str(caught.value)


def test_a_damaged_cache(cache):
    (cache / "refs" / "main").write_bytes(b"\xff\xfe\0")
    with pytest.raises(FileNotFoundError, match=r"org/name.*hub's cache.*download=True"):
        Tokenizer.from_pretrained("org/name")
    file = cache / "snapshots" / "def" / "tokenizer.json"
    file.write_text(file.read_text()[:500])
    with pytest.raises(ValueError, match=r"tokenizer\.json: not valid JSON"):
        Tokenizer.from_pretrained("org/name", revision="def")
