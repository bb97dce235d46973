"""`--ray`: what programs make is what they make without it. Tasks are done in this process."""

import sys

import pytest

from bytemill.data import on_ray
from tests.support.programs import SPECIAL, TEXT, call, is_one_line
from tests.support.ray_stand_in import stand_in
from tests.support.shard_cases import contents

pytest.importorskip("numpy", reason="numpy is not installed")


@pytest.fixture
def addresses(monkeypatch):
    """Those that were connected to."""
    stand_in(monkeypatch)
    told = []
    monkeypatch.setattr(on_ray, "connect", told.append)
    return told


def test_the_same_files(addresses, tmp_path, capsys):
    (tmp_path / "corpus.txt").write_text(TEXT)
    train = ["tok-train", "--input", tmp_path / "corpus.txt", "--vocab-size", 300]
    encode = ["tok-encode", "--tokenizer", tmp_path / "one", "--input", tmp_path / "corpus.txt"]
    encode += ["--separator", SPECIAL, "--val-fraction", 0.2, "--shard-tokens", 9000]
    for name, flags in (("one", []), ("ray", ["--ray", "head:6379"])):
        options = ["--special", SPECIAL, "--doc-cap", 30, "--out", tmp_path / name, *flags]
        status, out, err = call(capsys, *train, *options)
        assert status == 0, err
        assert "merged" in out
        flags = flags[:1]
        status, out, err = call(capsys, *encode, "--out", tmp_path / f"{name}-shards", *flags)
        assert status == 0, err
    assert contents(tmp_path / "one") == contents(tmp_path / "ray")
    assert contents(tmp_path / "one-shards") == contents(tmp_path / "ray-shards")
    assert addresses == ["head:6379", "auto"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--threads", 2], "--threads"),
        (["--max-chars", 100], "--max-chars"),
        (["--held-out", "0.1"], "--held-out with a fraction"),
        (["--input", "-"], "--input -"),
    ],
)
def test_what_is_for_one_machine(flags, named, addresses, tmp_path, capsys):
    (tmp_path / "corpus.txt").write_text(TEXT)
    given = ["--input", tmp_path / "corpus.txt", "--vocab-size", 300, "--out", tmp_path / "out"]
    status, _, err = call(capsys, "tok-train", *given, "--ray", *flags)
    assert status == 2
    is_one_line(err, f"--ray auto: {named} is for one machine")
    assert addresses == []
    assert not (tmp_path / "out").exists()


def test_no_ray_and_no_cluster(tmp_path, capsys, monkeypatch):
    (tmp_path / "corpus.txt").write_text(TEXT)
    given = ["--input", tmp_path / "corpus.txt", "--vocab-size", 300, "--out", tmp_path / "out"]
    monkeypatch.setattr(on_ray, "connect", _not_there)
    status, _, err = call(capsys, "tok-train", *given, "--ray")
    assert status == 2
    is_one_line(err, "--ray auto: no cluster")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", None)
    status, _, err = call(capsys, "tok-train", *given, "--ray")
    assert status == 2
    is_one_line(err, "pip install 'bytemill[ray]'")
    assert not (tmp_path / "out").exists()


def _not_there(address):
    raise ConnectionError(f"address={address!r}: no cluster could be reached")
