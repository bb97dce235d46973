"""`bytemill.files`: whole files or none, the error of a full disk, versioned JSON."""

import errno
import json
import os

import pytest

from bytemill import files


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
