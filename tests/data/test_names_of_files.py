"""JSON lines under any name, folders of many things, links."""

import gzip
import json
import os
import threading
import warnings

import pytest

from bytemill import BpeTrainer, Tokenizer
from bytemill.data import expand_inputs, iter_documents
from tests.support.input_forms import zst

TEXTS = ["one text", "two\ntexts", "{three}"]
LINES = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)).encode()
TOKENIZER = Tokenizer.from_ranks({bytes([i]): i for i in range(256)})


def pack(name: str, data: bytes) -> bytes:
    return (
        gzip.compress(data) if name.endswith(".gz") else zst(data) if name[-4:] == ".zst" else data
    )


@pytest.mark.parametrize(
    "name",
    ["c4-train.00000.json.gz", "a.ndjson", "a.NDJSON.zst", "a.jsonlines", "a.json", "a.json.zst"],
)
@pytest.mark.parametrize("by_folder", [True, False])
def test_json_lines_are_known_by_name(name, by_folder, tmp_path):
    (tmp_path / name).write_bytes(pack(name, LINES))
    assert list(iter_documents(tmp_path if by_folder else tmp_path / name)) == TEXTS


@pytest.mark.parametrize(
    "name", ["a.txt", "part-00000", "a.txt.gz", "a.zst", "a.jsonl.1", "a.data"]
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n \r\n"])
def test_json_lines_of_other_names_are_refused(name, start, tmp_path):
    path = tmp_path / name
    path.write_bytes(pack(name, start + LINES))
    for read in (
        lambda: next(iter_documents(path)),
        lambda: BpeTrainer().feed_files(path),
        lambda: TOKENIZER.encode_files(path, tmp_path / "out"),
        lambda: TOKENIZER.encode_files_to_numpy(path),
    ):
        with pytest.raises(ValueError, match=r"not plain text but JSON lines.*name it \.jsonl"):
            read()
    assert not (tmp_path / "out").exists()
    # Other columns, and braces that are text.
    assert "".join(iter_documents(path, text_column="body")) == (start + LINES).decode()


@pytest.mark.parametrize("feed", ["trainer", "documents", "numpy"])
def test_json_lines_through_a_pipe_are_refused(feed, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(LINES,), daemon=True)
    writer.start()
    with pytest.raises(ValueError, match="pipe: this is not plain text but JSON lines"):
        {
            "trainer": lambda: BpeTrainer().feed_files(pipe),
            "documents": lambda: list(iter_documents(pipe)),
            "numpy": lambda: TOKENIZER.encode_files_to_numpy(pipe),
        }[feed]()


def test_a_long_line_is_known_as_well(tmp_path):
    text = "x" * 5_000_000
    for name in ("a.txt", "pipe"):
        (tmp_path / name).write_text(json.dumps({"text": text}) + "\n")
        with pytest.raises(ValueError, match="JSON lines"):
            next(iter_documents(tmp_path / name))
    (tmp_path / "a.json").write_text(json.dumps({"text": text}) + "\n")
    assert list(iter_documents(tmp_path / "a.json")) == [text]


@pytest.mark.parametrize(
    "text",
    ["{", "{}\n", '{"text": 3}\n', '{"text": "a"\n}', "[1]", '"text"', "{text}\n", '{"a": {}}'],
)
def test_text_with_braces_is_text(text, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    assert list(iter_documents(tmp_path)) == [text]


@pytest.mark.parametrize("text", ['{\n "text": "a"\n}\n', '[{"text": "a"}]', '"a"\n'])
def test_json_that_is_not_lines_of_objects(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json:1: not"):
        list(iter_documents(tmp_path / "a.json"))
    (tmp_path / "b.txt").write_text("text")
    with pytest.warns(UserWarning, match="1 file.*left out: a.json"):
        assert list(iter_documents(tmp_path)) == ["text"]


def test_a_folder_says_what_it_leaves_out(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tmp_path / ".hidden.csv").touch()
        assert len(expand_inputs(tmp_path)) == 1
    (tmp_path / "sub").mkdir()
    for i in range(7):
        (tmp_path / "sub" / f"{i}.csv").touch()
    message = r"7 file\(s\).*left out: sub/0.csv, sub/1.csv, .*sub/4.csv, \.\.\.; name them"
    with pytest.warns(UserWarning, match=message):
        assert len(expand_inputs(tmp_path)) == 1


def test_links_to_folders_are_followed_once(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "deep").mkdir(parents=True)
    outside.mkdir()
    (outside / "b.txt").write_text("b")
    (inside / "a.txt").write_text("a")
    (inside / "deep" / "up").symlink_to(inside)
    (inside / "deep" / "self").symlink_to(inside / "deep")
    for name in ("link", "link2"):
        (inside / name).symlink_to(outside)
    assert [str(f.path.relative_to(inside)) for f in expand_inputs(inside)] == [
        "a.txt",
        "link/b.txt",
    ]
    assert list(iter_documents([inside, outside])) == ["a", "b"]


@pytest.mark.parametrize("how", ["named", "glob", "folder"])
@pytest.mark.parametrize("target", ["gone/b.txt", "a.txt"])
def test_a_link_that_leads_nowhere(how, target, tmp_path):
    link = tmp_path / "a.txt"
    link.symlink_to(tmp_path / target)  # the second leads to itself
    name = {"named": link, "glob": str(tmp_path / "*.txt"), "folder": tmp_path}[how]
    with pytest.raises(FileNotFoundError, match=f"leads to '.*{target}', which.*a.txt'"):
        expand_inputs(name)
