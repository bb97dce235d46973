"""`--tokenizer`: every program takes the same forms, and says so where there is none of them."""

import json
import shutil

import pytest

from bytemill import Tokenizer
from bytemill.cli.console.programs import PROGRAMS
from bytemill.formats import huggingface, source
from bytemill.formats import tiktoken as tiktoken_format
from tests.support.programs import SPECIAL, TEXT, call

pytest.importorskip("numpy", reason="numpy is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Text, and a tokenizer in each form."""
    folder = tmp_path_factory.mktemp("forms")
    (folder / "corpus.txt").write_text(TEXT[:20_000])
    tokenizer = Tokenizer.train([TEXT[:20_000]], 300, [SPECIAL], pattern="cl100k")
    tokenizer.save(folder / "own")
    (folder / "published").mkdir()
    document = json.dumps(huggingface.to_dict(tokenizer.vocabulary))
    (folder / "published" / "tokenizer.json").write_text(document)
    ranks = tiktoken_format.ranks_to_bytes(tokenizer.mergeable_ranks)
    (folder / "cl100k_base.tiktoken").write_bytes(ranks)
    (folder / "other.tiktoken").write_bytes(ranks)
    return folder


FORMS = ("own", "own/bytemill.json", "published", "published/tokenizer.json")


@pytest.mark.parametrize("form", [*FORMS, "cl100k_base.tiktoken"])
def test_each_form_gives_the_same_ids(made, form):
    tokenizer = Tokenizer.from_vocabulary(source.read(made / form))
    own = Tokenizer.load(made / "own")
    assert tokenizer.encode_ordinary(TEXT[:500]) == own.encode_ordinary(TEXT[:500])
    if form in FORMS:
        assert tokenizer.fingerprint == own.fingerprint


def test_a_folder_with_both_is_read_as_saved(made, tmp_path):
    shutil.copytree(made / "own", tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert source.read(tmp_path) == Tokenizer.load(made / "own").vocabulary


@pytest.mark.parametrize("name", ["nowhere", "nowhere/tokenizer.json", "corpus.tiktoken", "empty"])
def test_what_is_none_of_them(made, tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    base = ["--input", made / "corpus.txt", "--out", tmp_path / "out"]
    status, _, told = call(capsys, "tok-encode", "--tokenizer", name, *base)
    assert status == 2
    assert told.startswith(f"error: {name}: ")
    for kind in ("tok-train has written", "tokenizer.json", ".tiktoken", "encoding of tiktoken"):
        assert kind in told
    assert not (tmp_path / "out").exists()


def test_ranks_without_a_pattern(made, tmp_path, capsys):
    words = ["--tokenizer", made / "other.tiktoken", "--input", made / "corpus.txt"]
    status, _, told = call(capsys, "tok-encode", *words, "--out", tmp_path / "out")
    assert (status, "does not say its split pattern" in told) == (2, True)


def test_from_a_published_tokenizer_to_text(made, tmp_path, capsys):
    pytest.importorskip("torch", reason="the model stack is not installed")
    given = tmp_path / "given"
    shutil.copytree(made / "published", given)
    text = made / "corpus.txt"
    status, _, told = call(
        capsys, "tok-encode", "--tokenizer", given, "--input", text, "--separator", SPECIAL,
        "--separator-at", "start", "--val-fraction", 0.1, "--out", tmp_path / "shards",
    )  # fmt: skip
    assert status == 0, told
    run = tmp_path / "run"
    words = ["--n-layer", 1, "--d-model", 32, "--n-head", 1, "--context-length", 16]
    words += ["--batch-size", 2, "--steps", 2, "--threads", 1, "--device", "cpu"]
    shards = ["--data", tmp_path / "shards", "--tokenizer", given / "tokenizer.json"]
    status, _, told = call(capsys, "train", *shards, *words, "--out", run)
    assert status == 0, told
    shutil.rmtree(given)
    status, printed, told = call(
        capsys, "generate", "--model", run, "--prompt", "low", "--max-new-tokens", 4
    )
    assert (status, printed.startswith("low")) == (0, True), told
    status, _, told = call(
        capsys, "generate", "--model", run, "--tokenizer", made / "published", "--prompt", "low",
        "--max-new-tokens", 1,
    )  # fmt: skip
    assert status == 0, told


def test_every_help_says_so():
    pytest.importorskip("torch", reason="the model stack is not installed")
    found = []
    for name, program in PROGRAMS.items():
        for action in program.declared()._actions:
            if action.dest in ("tokenizer", "tokenizers", "extend"):
                found.append(name)
                text = str(action.help)
                for kind in ("tok-train has written", "tokenizer.json", ".tiktoken", "encoding"):
                    assert kind in text, (name, text)
    assert {"tok-train", "tok-encode", "tok-eval", "tok-prune", "train", "generate"} <= set(found)


def test_an_encoding_of_tiktoken_keeps_its_name(tmp_path):
    config = pytest.importorskip("bytemill.lm.train").TrainConfig
    given = {"data": "shards", "out": str(tmp_path / "run")}
    (tmp_path / "own").mkdir()
    assert config.of(**given, tokenizer="cl100k_base").placed().data.tokenizer == "cl100k_base"
    folder = str(tmp_path / "own")
    assert config.of(**given, tokenizer=folder).placed().data.tokenizer == folder
