"""`bytemill.files`: whole files or none, the error of a full disk, versioned JSON."""

import builtins
import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bytemill import BpeTrainer, Tokenizer, files
from bytemill.data import open_shards
from tests.support.vocabularies import generated_text, train


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "file"
    files.write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    with files.replacing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT"])
def test_a_full_disk_is_named(name):
    number = getattr(errno, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")
    with (
        pytest.raises(files.DiskFullError) as caught,
        files.naming_full_disk("out", "call again"),
    ):
        raise OSError(number, os.strerror(number), "out/file")
    assert (caught.value.errno, caught.value.filename) == (number, "out/file")
    assert "make room and call again to go on" in str(caught.value)
    with pytest.raises(files.DiskFullError, match="'out'"), files.naming_full_disk("out", "x"):
        raise OSError(number, os.strerror(number))


CALLS_WITH_FILES = {
    "encode_files": lambda t, path: t.encode_files(path, path.with_name("out")),
    "encode_files_to_numpy": lambda t, path: t.encode_files_to_numpy(path),
    "load": lambda t, path: t.load(path),
    "from_tiktoken": lambda t, path: t.from_tiktoken(path, pattern="gpt2"),
    "from_huggingface": lambda t, path: t.from_huggingface(path),
    "from_files": lambda t, path: t.from_files(path, path),
    "feed_files": lambda t, path: BpeTrainer().feed_files(path),
    "open_shards": lambda t, path: open_shards(path.parent),
}


@pytest.mark.parametrize("call", CALLS_WITH_FILES)
def test_no_memory_for_a_file_is_no_memory(call, tmp_path, monkeypatch):
    tokenizer, path = train([generated_text()], 300), tmp_path / "a.txt"
    path.write_text("text")
    message = os.strerror(errno.ENOMEM)

    def refuse(*args, **options):
        raise OSError(errno.ENOMEM, message, str(path))

    with monkeypatch.context() as patch:
        for owner, name in [(io, "open"), (builtins, "open"), (os, "scandir"), (os, "stat")]:
            patch.setattr(owner, name, refuse)
        with pytest.raises(MemoryError, match=message):
            CALLS_WITH_FILES[call](tokenizer, path)
    assert not (tmp_path / "out").exists()


def test_a_library_that_cannot_be_mapped_is_no_memory():
    for message in ("mmap.so: failed to map segment from shared object", "Cannot allocate memory"):
        with pytest.raises(MemoryError, match=message), files.raising_memory_error():
            raise ImportError(message)
    with pytest.raises(ImportError, match="No module"), files.raising_memory_error():
        raise ImportError("No module named 'mmap'")


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "denied"), OSError("no number"), ValueError("x")]
)
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, files.naming_full_disk("out", "call again"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "expected a JSON object, found list"),
        (b'{"version": 2}', "\"format\" is None, not 'mine'"),
        (b'{"format": "mine"}', "version None.*reads version 2: update bytemill, or make it again"),
        (b'{"format": "mine", "version": "2"}', "version '2'"),
        (b'{"format": "mine", "version": 3}', "version 3"),
    ],
)
def test_versioned_json_of_another_kind(content, message, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.json: .*{message}"):
        files.read_versioned(path, "mine", 2, "make it again")


def test_versioned_json(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"format": "mine", "version": 2, "a": [1]}))
    assert files.read_versioned(path, "mine", 2, "make it again") == {"a": [1]}


KILLED = """
import os, signal, sys
from bytemill import Tokenizer, files
with files.replacing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    if sys.argv[2:] == ["wait"]:
        print("writing", flush=True)
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def begun_long_ago(folder):
    """The files beside the target, with the time set back."""
    found = list(folder.glob(".*.tmp"))
    for path in found:
        os.utime(path, (1, 1))
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks are tested where there is flock")
def test_what_killed_processes_left_is_removed(tmp_path):
    path, other = tmp_path / "a[1].b", tmp_path / "a[1].b.c"
    for target in (path, path, other):
        done = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
        assert done.returncode == -signal.SIGKILL
        for left in tmp_path.glob(".*.tmp"):  # or the next one may remove it, if it comes late
            os.utime(left, (2**31, 2**31))
    mine = tmp_path / ".a[1].b.notes.tmp"
    mine.touch()
    assert len(begun_long_ago(tmp_path)) == 4
    command = [sys.executable, "-c", KILLED, str(path), "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writing:
        assert writing.stdout.readline() == b"writing\n"
        begun_long_ago(tmp_path)
        files.write_bytes(path, b"new")
        # Left are those of a process that is alive, of another target, and what is not such a file.
        left = begun_long_ago(tmp_path)
        assert mine in left and len(left) == 3
        writing.stdin.close()
    assert writing.returncode == -signal.SIGKILL
    files.write_bytes(path, b"newer")
    files.write_bytes(other, b"other")
    assert {p.name for p in tmp_path.iterdir()} == {path.name, other.name, mine.name}


def test_a_file_that_another_thread_is_writing_is_left(tmp_path):
    path = tmp_path / "file"
    with files.replacing(path) as first:
        first.write(b"first")
        begun_long_ago(tmp_path)
        files.write_bytes(path, b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"


class EmptyPath:
    """What `os.fspath` makes nothing of."""

    def __fspath__(self) -> str:
        return ""


@pytest.mark.parametrize("empty", ["", EmptyPath()])
def test_an_empty_path_is_not_the_current_folder(empty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = Tokenizer.from_ranks({bytes([i]): i for i in range(256)})
    for write in (
        lambda: files.write_bytes(empty, b""),
        lambda: tokenizer.save(empty),
        lambda: Tokenizer.load(empty),
        lambda: tokenizer.to_huggingface(empty),
        lambda: Tokenizer.from_huggingface(empty),
        lambda: tokenizer.to_files(empty, "merges.txt"),
        lambda: tokenizer.to_files("vocab.json", empty),
        lambda: tokenizer.encode_files(__file__, empty),
    ):
        with pytest.raises(ValueError, match=r"the path is empty; .* pass '\.'"):
            write()
    assert not list(tmp_path.iterdir())
    tokenizer.save(".")
    assert Tokenizer.load(".") == tokenizer


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_bytes(path, b"text")
        assert os.read(reader, 10) == b"text"
        assert path.is_fifo() and list(tmp_path.iterdir()) == [path]
    finally:
        os.close(reader)


def test_a_link_stays_one(tmp_path):
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    files.write_bytes(link, b"new")
    assert link.is_symlink() and real.read_bytes() == b"new"
    assert [path.name for path in real.parent.iterdir()] == ["real"]


def test_a_full_device_stays_one(tmp_path):
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("there is no /dev/full")
    with pytest.raises(OSError, match="No space left"):
        files.write_bytes(full, b"text")
    assert full.is_char_device()


def test_a_folder_and_a_missing_one_are_named(tmp_path):
    with pytest.raises(IsADirectoryError) as error:
        files.write_bytes(tmp_path, b"")
    assert error.value.filename == str(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        files.write_bytes(tmp_path / "no" / "x", b"")
    assert error.value.filename == str(tmp_path / "no")
