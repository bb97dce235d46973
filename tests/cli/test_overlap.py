"""`bytemill overlap` on a corpus that holds some of the items."""

import json

import pytest

from bytemill import Tokenizer
from tests.support.programs import SPECIAL, TEXT, call, is_one_line

KNOWN = (
    "Weng earns 12 dollars an hour for babysitting, and did 50 minutes of it yesterday: so much?"
)
ANSWER = "She earned 12/60 = <<12/60=0.2>>0.2 a minute.\n#### 10"
OTHER = "A robe takes 2 bolts of blue fiber and half that much white fiber; how many bolts in all?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlap")
    Tokenizer.train([TEXT[:20_000]], 400, [SPECIAL]).save(folder / "tokenizer")
    (folder / "corpus.txt").write_text(f"{TEXT[:5000]}{SPECIAL}Read this: {KNOWN}{SPECIAL}more")
    gsm8k = folder / "data" / "gsm8k"
    gsm8k.mkdir(parents=True)
    rows = [{"question": q, "answer": ANSWER} for q in (OTHER, KNOWN)]
    (gsm8k / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "own.txt").write_text(OTHER)
    return folder


def test_table_lines_and_json(folder, capsys, tmp_path):
    base = ["overlap", "--tokenizer", folder / "tokenizer", "--data", folder / "data"]
    base += ["--tasks", "gsm8k", "--items", folder / "own.txt", "--threads", 1]
    out = tmp_path / "found.jsonl"
    status, shown, _ = call(capsys, *base, "--input", folder / "corpus.txt", "--out", out)
    assert status == 0
    assert "touched" in shown and f"saved: {out}" in shown
    first, second, own = map(json.loads, out.read_text().splitlines())
    assert (first["task"], first["item"], first["found"], first["file"]) == ("gsm8k", 0, 0, None)
    assert second["found"] > 5 and 0.4 < second["share"] < 1
    assert second["file"] == str(folder / "corpus.txt")
    assert second["document"] == TEXT[:5000].count(SPECIAL) + 1
    assert own["task"] == str(folder / "own.txt") and own["found"] == 0
    whole = json.loads(call(capsys, *base, "--input", folder / "corpus.txt", "--json")[1])
    assert whole["tasks"]["gsm8k"]["touched"] == whole["tasks"]["gsm8k"]["known"] == 1
    assert whole["tasks"]["gsm8k"]["items"] == 2
    call(
        capsys, "tok-encode", "--tokenizer", folder / "tokenizer", "--input",
        folder / "corpus.txt", "--out", tmp_path / "shards", "--separator", SPECIAL,
    )  # fmt: skip
    shards = json.loads(call(capsys, *base, "--shards", tmp_path / "shards", "--json")[1])
    assert shards["tasks"] == whole["tasks"]
    assert shards["documents"] == whole["documents"]


def test_items_of_core(folder, capsys, tmp_path):
    pytest.importorskip("torch")
    items = [{"query": KNOWN, "choices": ["ten", "nine"], "gold": 0}] * 2
    (tmp_path / "copa.jsonl").write_text("\n".join(map(json.dumps, items)))
    base = ["overlap", "--tokenizer", folder / "tokenizer", "--input", folder / "corpus.txt"]
    whole = json.loads(call(capsys, *base, "--core", tmp_path, "--json")[1])
    assert whole["tasks"]["copa"]["known"] == 2
    assert whole["tasks"]["copa"]["share"] < 1  # the answer is not there


def test_bad_input(folder, capsys, tmp_path):
    base = ["--tokenizer", folder / "tokenizer"]
    text, own = ["--input", folder / "corpus.txt"], ["--items", folder / "own.txt"]
    for options, message in (
        (own, "give the training data"),
        ([*text, *own, "--shards", tmp_path], "give the training data"),
        (text, "nothing to look for"),
        ([*text, *own, "--n", 0], "--n 0"),
        ([*text, *own, "--n", 5000], "no test item has 5000 tokens"),
        ([*text, *own, "--out", tmp_path / "none" / "x"], "there is no folder"),
        ([*text, "--tasks", "mmlu", "--data", tmp_path], "bytemill download"),
        (["--shards", tmp_path, *own], "manifest"),
        ([*text, *own, "--threads", 0], "--threads 0"),
    ):
        status, _, err = call(capsys, "overlap", *base, *options)
        assert status == 2, err
        assert message in err
        is_one_line(err)
