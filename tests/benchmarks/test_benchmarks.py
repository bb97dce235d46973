"""The benchmarks run on a tiny text, compare rightly, and say what went wrong."""

import json
import random
import sys
from pathlib import Path

import pytest

from benchmarks import documents, instructions, measure, report, tok_train
from benchmarks.equality import Verdict, compare
from benchmarks.peers import TRAINERS, byte_stand_ins, oniguruma


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 documents of words of three alphabets: enough for a few dozen merges."""
    choose = random.Random(7)
    words = ["".join(choose.choices("aeinrst ", k=choose.randint(1, 9))) for _ in range(300)]
    words += ["".join(choose.choices("日本語中文", k=3)) for _ in range(30)] + ["été", "0", "42"]
    texts = [" ".join(choose.choices(words, k=150)) for _ in range(40)]
    path = tmp_path_factory.mktemp("corpus") / "tiny.txt"
    path.write_bytes("<|endoftext|>".join(texts).encode())
    return path


def records(out: Path) -> list[dict]:
    lines = (out / "tok_train.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("chunk", [1, 2, 7, 13, 14, 1000])
def test_documents_are_cut_at_separators_wherever_a_chunk_ends(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(documents, "CHUNK", chunk)
    text = "<|endoftext|>één<|endoftext|><|endoftext|>two <|endof<|endoftext|>\r\nthree<|endoftext"
    path = tmp_path / "t.txt"
    path.write_bytes(text.encode())
    expected = ["één", "two <|endof", "\r\nthree<|endoftext"]
    assert list(documents.documents([str(path)])) == expected
    assert list(documents.documents([str(path), str(path)], times=2)) == expected * 4


def test_a_share_takes_whole_documents_all_along(tmp_path):
    path, out = tmp_path / "t.txt", tmp_path / "share.txt"
    texts = [str(i) * (1 + i * 37 % 50) for i in range(1000)]
    path.write_text("<|endoftext|>".join(texts))
    for of in (2, 4, 8):
        assert documents.write_share(str(path), out, of) == out.stat().st_size
        taken = list(documents.documents([str(out)]))
        assert set(taken) <= set(texts)
        assert out.stat().st_size * of == pytest.approx(path.stat().st_size, rel=0.02)
        assert sum(text in texts[:500] for text in taken) == pytest.approx(len(taken) / 2, rel=0.2)


AB, ABC, CD = ["61", "62"], ["6162", "63"], ["63", "64"]
BYTES = [f"{byte:02x}" for byte in range(256)]


@pytest.mark.parametrize(
    ("theirs", "text", "ok"),
    [
        ({"merges": [AB, ABC, CD]}, "equal (3)", True),
        ({"tokens": [*BYTES, "6162", "616263", "6364"]}, "equal (3)", True),
        ({"merges": [AB, ABC, ["61", "6263"]]}, "equal (2, 1 repeats dropped)", True),
        ({"merges": [AB, CD, ABC]}, "equal up to 1 of 3", False),
        ({"tokens": [*BYTES, "6162", "6364"]}, "equal up to 1 of 3", False),
        ({"merges": [AB, ABC]}, "equal up to 2 of 3, then ends", False),
        ({"merges": [AB, ABC, CD, ["64", "65"]]}, "equal (all 3), then 1 more", False),
    ],
)
def test_compare(theirs, text, ok):
    assert compare({"merges": [AB, ABC, CD]}, theirs) == Verdict(text, ok)


def test_stand_ins_are_gpt2s():
    stand_ins = byte_stand_ins()
    assert sorted(stand_ins.values()) == list(range(256))
    assert (stand_ins["Ġ"], stand_ins["Ċ"], stand_ins["a"]) == (32, 10, 97)


def test_pattern_in_oniguruma_syntax():
    assert oniguruma(r"\p{N}{1,3}+|\s++$|\s") == r"\p{N}{1,3}|\s++\z|\s"


def test_a_crash_a_failure_and_a_timeout_are_told():
    crash = measure.run_fresh("os:abort", {}, distribution="none")
    assert crash.error is not None
    assert crash.error.startswith(("signal", "exit status"))
    failure = measure.run_fresh("json:loads", {"s": "]"}, distribution="none")
    assert failure.error is not None
    assert "JSONDecodeError" in failure.error
    slow = measure.run_fresh("os:abort", {}, distribution="none", timeout=1e-4)
    assert slow.error == "stopped after 0.0001 s"


def test_an_absent_library_is_told():
    run = measure.run_fresh(
        "importlib:import_module", {"name": "no_such_module"}, distribution="no-such-package"
    )
    assert run.absent == "not installed"
    assert run.error is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_peak_is_the_workers_own(corpus):
    here = bytearray(b"x") * (300 << 20)
    arguments = {"paths": [str(corpus)], "vocab_size": 280, "pattern": "gpt2"}
    run = measure.run_fresh(TRAINERS["bytemill"].job, arguments, distribution="bytemill")
    assert run.error is None
    assert run.base_bytes and run.peak_bytes
    assert run.base_bytes <= run.peak_bytes < len(here)


def test_all_libraries_on_a_tiny_corpus(corpus, tmp_path, capsys):
    arguments = ["--corpus", str(corpus), str(corpus), "--together", "--vocab-size", "300"]
    status = tok_train.main([*arguments, "--runs", "2", "--threads", "1", "--out", str(tmp_path)])
    printed = capsys.readouterr()
    assert status == 0, printed.out
    done = records(tmp_path)
    assert {r["corpus"] for r in done} == {"tiny.txt", "together"}
    assert {r["library"] for r in done} == set(TRAINERS)
    for record in done:
        assert (record["schema"], record["mode"], record["cores"]) == (1, "compare", 1)
        if record["absent"]:
            assert record["absent"] == "not installed"
            assert "not installed" in printed.out
            continue
        assert record["error"] is None
        assert record["seconds"] > 0
        assert record["version"]
        if record["library"] != "bytemill":
            assert record["merges"].startswith("equal (43)"), record
    assert ((tmp_path / "tok_train.png").exists()) != ("matplotlib is not" in printed.err)


def test_a_pattern_of_ones_own_and_markdown(corpus, tmp_path, capsys):
    arguments = ["--corpus", str(corpus), "--vocab-size", "280", "--runs", "1", "--markdown"]
    names = "bytemill,rustbpe,gigatoken"
    more = ["--pattern", r"\s+|\S+", "--libraries", names, "--out", str(tmp_path)]
    assert tok_train.main([*arguments, *more]) == 0
    printed = capsys.readouterr().out
    assert "| bytemill " in printed
    assert "GPT-2's pattern only" in printed or "not installed" in printed


def test_unequal_merges_fail_after_the_table(corpus, tmp_path, capsys, monkeypatch):
    pytest.importorskip("rustbpe", reason="rustbpe is not installed: nothing to compare with")
    monkeypatch.setattr(tok_train, "compare", lambda *_: Verdict("equal up to 3 of 43", False))
    arguments = ["--corpus", str(corpus), "--vocab-size", "300", "--runs", "1"]
    more = ["--libraries", "bytemill,rustbpe", "--out", str(tmp_path)]
    assert tok_train.main([*arguments, *more]) == 1
    assert "equal up to 3 of 43" in capsys.readouterr().out


@pytest.mark.parametrize(("mode", "rows"), [(["--scaling"], 4), (["--repeat-feed", "3"], 2)])
def test_scaling_and_repeated_feeding(corpus, tmp_path, capsys, mode, rows):
    arguments = ["--corpus", str(corpus), "--vocab-size", "280", "--runs", "1", *mode]
    assert tok_train.main([*arguments, "--out", str(tmp_path)]) == 0
    assert len(records(tmp_path)) == rows
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith("bytemill")]) == rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "no.txt"], "no.txt is not a file"),
        (["--corpus", "CORPUS", "--libraries", "bytemill,x"], "'x' is none of"),
        (["--corpus", "CORPUS", "--runs", "0"], "--runs: 0 is less than 1"),
    ],
)
def test_bad_arguments(corpus, capsys, arguments, message):
    arguments = [str(corpus) if a == "CORPUS" else a for a in arguments]
    with pytest.raises(SystemExit):
        tok_train.main([*arguments, "--vocab-size", "300"])
    assert message in capsys.readouterr().err


def test_tables():
    head, rows = ["name", "n", "note"], [["a", "1", "x"], ["bb", "22", "yy"]]
    assert report.table(head, rows).splitlines() == [
        "name   n  note",
        "a      1  x",
        "bb    22  yy",
    ]
    assert report.table(head, rows, markdown=True).splitlines()[1] == "| ---- | -: | ---- |"


def test_no_plot_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "matplotlib is not installed" in (report.plot(tmp_path / "x.png", "", []) or "")
    assert not (tmp_path / "x.png").exists()


def test_the_machine_is_described():
    line = report.machine_line(report.machine())
    assert "Python 3." in line
    assert "cores" in line


def test_instructions_are_read_from_callgrinds_output():
    assert instructions.instructions_of("events: Ir\nsummary: 123\n\ntotals: 456\n") == 456
    with pytest.raises(instructions.Failed, match="no total"):
        instructions.instructions_of("")


def test_instructions_are_recorded_and_checked(tmp_path, monkeypatch, capsys):
    counts = {"text": 1_000, "count": 41_000, "train": 141_000}
    said = {"bytes": 2_000, "merges": 10}
    monkeypatch.setattr(instructions, "build", lambda: Path("phases"))
    monkeypatch.setattr(instructions, "versions", lambda: {"rustc": "1"})
    monkeypatch.setattr(instructions, "measure", lambda _p, _t, _v, phase: (counts[phase], said))
    record = ["--record", str(tmp_path / "docs" / "i.json")]
    assert instructions.main([*record, "--check"]) == 1  # nothing to compare with
    assert instructions.main(record) == 0
    assert instructions.main([*record, "--check"]) == 0
    (kept,) = instructions.load(tmp_path / "docs" / "i.json")
    assert kept["phases"]["count"] == {"instructions": 40_000, "per_byte": 20.0}
    assert kept["phases"]["train"] == {"instructions": 100_000, "per_merge": 10_000.0}
    counts["train"] += 5_000
    capsys.readouterr()
    assert instructions.main([*record, "--check"]) == 1
    assert "+5.00 %" in capsys.readouterr().out
    assert instructions.main([*record, "--check", "--tolerance", "6"]) == 0
    (tmp_path / "docs" / "i.json").write_text('{"schema": 9}')
    assert instructions.main([*record, "--check"]) == 1
    assert "schema 9" in capsys.readouterr().err


def test_a_missing_tool_is_named():
    with pytest.raises(instructions.Failed, match="no-such-tool is not installed"):
        instructions.tool(["no-such-tool"])


def test_the_committed_record_loads():
    if not instructions.RECORD.exists():
        pytest.skip("docs/instructions.json is not there (an installed package, not a checkout)")
    for kept in instructions.load(instructions.RECORD):
        assert set(kept["phases"]) == {"count", "train"}
