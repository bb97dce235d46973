"""`benchmarks.tok_encode` measures on a tiny text, compares rightly, and says what went wrong."""

import json
import random
from array import array
from hashlib import sha256

import pytest

from benchmarks import encoders, tok_encode
from benchmarks.encode_tables import MEASUREMENTS
from benchmarks.families import FAMILIES, distinct_strings
from benchmarks.measure import Run

pytest.importorskip("tiktoken", reason="tiktoken is not installed: nothing to compare with")
MORE = ["--own-vocab-size", "300", "--runs", "1", "--memory-strings", "10", "--linear-chars", "99"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    choose = random.Random(5)
    words = ["".join(choose.choices("aeinrst", k=choose.randint(1, 9))) for _ in range(200)]
    words += ["日本語", "été", "42", "don't", "\r\n"]
    texts = [" ".join(choose.choices(words, k=120)) for _ in range(30)]
    path = tmp_path_factory.mktemp("corpus") / "tiny.txt"
    path.write_bytes("<|endoftext|>".join([*texts, "", texts[0]]).encode())
    return path


def records(out):
    lines = (out / "tok_encode.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_measurement_on_a_tiny_corpus(corpus, tmp_path, capsys, monkeypatch):
    few = {name: FAMILIES[name] for name in ("a run", "spaces, x")}
    monkeypatch.setattr(tok_encode, "FAMILIES", few)
    arguments = ["--corpus", str(corpus), "--vocabularies", "own", *MORE]
    names = ["--libraries", "bytemill,tiktoken,toktok-rs"]
    status = tok_encode.main([*arguments, *names, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert status == 0, printed
    done = records(tmp_path)
    assert {r["measurement"] for r in done} == {*MEASUREMENTS, "short batch", "linear"}
    assert {r["vocabulary"] for r in done} == {"own"}
    for record in done:
        assert record["schema"] == 1
        assert record["error"] is None, record
        if record["absent"]:
            # By design, not installed, or not in this bytemill yet.
            told = ("has no", "reads no", "knows cl100k", "not installed", "not there", "writes no")
            assert record["absent"].startswith(told), record
            assert record["absent"] in printed
            continue
        assert record["seconds"] > 0
        assert record["ids"] in ("equal", "counts equal", "not checked"), record
        if record["library"] == "bytemill" and record["way"] in ("list", "call", "decode"):
            assert record["figures"]
    checked = [r for r in done if r["ids"] == "equal"]
    assert {("bytemill", "list"), ("tiktoken", "list"), ("bytemill", "decode")} <= {
        (r["library"], r["way"]) for r in checked
    }
    assert "1.00x" in printed


def test_other_ids_of_bytemill_fail(corpus, tmp_path, capsys, monkeypatch):
    fresh = tok_encode.Bench.fresh

    def other(self, job, library, arguments, cores):
        run = fresh(self, job, library, arguments, cores)
        if library == "bytemill":
            run.outcome["digests"]["ids"] = "x"
        return run

    monkeypatch.setattr(tok_encode.Bench, "fresh", other)
    arguments = ["--corpus", str(corpus), "--vocabularies", "own", "--only", "list", *MORE]
    names = ["--libraries", "bytemill,tiktoken", "--markdown", "--out", str(tmp_path)]
    assert tok_encode.main([*arguments, *names]) == 1
    printed = capsys.readouterr().out
    assert "other ids" in printed
    assert "| bytemill" in printed


def test_a_vocabulary_that_cannot_be_had_is_left_out(corpus, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise ConnectionError("no network\nand more")

    monkeypatch.setattr(tok_encode, "vocabulary_files", fail)
    arguments = ["--corpus", str(corpus), "--vocabularies", "r50k_base", "--out", str(tmp_path)]
    assert tok_encode.main(arguments) == 0
    assert "r50k_base: left out: no network\n" in capsys.readouterr().out


def test_verdicts(tmp_path):
    args = tok_encode.parse(["--corpus", __file__, "--out", str(tmp_path)])
    bench = tok_encode.Bench(args)
    row = MEASUREMENTS["list"][0].rows[0]
    reference = {"ids": "1", "counts": "2"}

    def verdict(outcome):
        return bench.verdict(row, [Run(outcome=outcome)], reference)

    assert verdict({"digests": {"ids": "1", "counts": "2"}}) == "equal"
    assert verdict({"digests": {"ids": "3", "counts": "2"}}) == "other ids"
    assert verdict({"digests": {"counts": "2"}}) == "counts equal"
    assert verdict({"digests": {"counts": "3"}}) == "other counts"
    assert verdict({"equal": False}) == "other text"
    assert verdict(None) == "not checked"


def test_what_libraries_return_is_made_alike():
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")

    class Encoding:
        ids = (1, 2)

    lists = [[1, 2], [], [70000]]
    ids = array("I", [1, 2, 70000]).tobytes()
    assert encoders.flat(lists) == (ids, [2, 0, 1])
    pair = (numpy.array([1, 2, 70000], numpy.uint32), numpy.array([0, 2, 2, 3]))
    assert encoders.flat(pair) == (ids, [2, 0, 1])
    assert encoders.flat([Encoding()]) == (array("I", [1, 2]).tobytes(), [2])
    # Empty documents do not count, the division of the others does.
    assert encoders.digests(lists) == encoders.digests([[1, 2], [70000]])
    assert encoders.digests(lists) != encoders.digests([[1], [2, 70000]])
    assert encoders.digest_of_counts([2, 0, 1]) == sha256(array("Q", [2, 1])).hexdigest()


def test_hard_texts_and_distinct_strings():
    for name, make in FAMILIES.items():
        assert abs(len(make(1000)) - 1000) <= 1, name
        assert make(64) == make(64)
    strings = distinct_strings(120_000)
    first, second = next(strings), next(strings)
    assert len(first) == len(second) == 120_000
    assert first == next(distinct_strings(120_000))
    words = set(first.split())
    assert len(words) > 10_000
    assert len(words & set(second.split())) < len(words) / 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "no.txt"], "no.txt is not a file"),
        (["--corpus", __file__, "--only", "files,x"], "'x' is none of files,"),
        (["--corpus", __file__, "--vocabularies", "x"], "'x' is none of cl100k_base"),
        (["--corpus", __file__, "--memory-strings", "9"], "--memory-strings: 9 is less than 10"),
    ],
)
def test_bad_arguments(capsys, arguments, message):
    with pytest.raises(SystemExit):
        tok_encode.main(arguments)
    assert message in capsys.readouterr().err
