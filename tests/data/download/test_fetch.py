"""A server's faults are met by another try or refused; what is wrong never gets a file's name."""

import email.utils
import hashlib
import http.client
import io
import json
import os
import random
import threading
import time
import urllib.request

import pytest

from bytemill.data.download import DownloadError, download
from bytemill.data.download.fetch import Patience
from bytemill.data.download.http import _Redirects
from bytemill.files import DiskFullError
from tests.support.faulty_server import SILENCE_SECONDS, serving, wait_until

QUICK = Patience(timeout=60.0, tries=4, first_wait=0.01, longest_wait=0.02)
BODY = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files["/a.txt"] = BODY
        yield server


def get(server, out, pattern="a.txt", **options):
    return download(f"{server.url}/{pattern}", out, **{"patience": QUICK, **options})


def sums(path, **files):
    lines = [f"{hashlib.sha256(body).hexdigest()}  {name}.txt" for name, body in files.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def names(folder):
    """What is there, without the lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".download.lock")


def refused(server, out, *words, **options):
    with pytest.raises(DownloadError) as caught:
        get(server, out, **options)
    for word in words:
        assert word in str(caught.value)
    assert "a.txt" not in names(out)
    return caught.value


def test_a_file_and_its_record(server, tmp_path):
    seen = []
    get(server, tmp_path, progress=lambda *numbers: seen.append(numbers))
    assert (tmp_path / "a.txt").read_bytes() == BODY
    assert names(tmp_path) == ["a.txt", "download.json"]
    record = json.loads((tmp_path / "download.json").read_text())
    digest = hashlib.sha256(BODY).hexdigest()
    assert record["files"] == {"a.txt": {"size": len(BODY), "sha256": digest}}
    assert seen[-1] == (len(BODY), len(BODY))
    get(server, tmp_path)
    assert server.requests["/a.txt"] == 1


@pytest.mark.parametrize("faults", [[503], [429, 500], ["short"], ["short", "short", 502]])
def test_passing_faults_are_tried_again(server, tmp_path, faults):
    server.faults["/a.txt"] = list(faults)
    get(server, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == BODY
    assert server.requests["/a.txt"] == len(faults) + 1


def test_what_has_come_is_not_fetched_twice(server, tmp_path):
    server.faults["/a.txt"] = ["short", "short"]
    get(server, tmp_path)
    assert server.sent == len(BODY)
    assert [headers.get("Range") for _, headers in server.seen] == [
        None,
        "bytes=150000-",
        "bytes=225000-",
    ]
    assert server.seen[1][1]["If-Range"].startswith('"')


def test_a_server_that_ignores_ranges(server, tmp_path):
    server.faults["/a.txt"] = ["short", "no_range"]
    get(server, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == BODY


def test_a_file_that_changes_half_way_is_begun_anew(server, tmp_path):
    server.faults["/a.txt"] = ["short"]
    server.after_fault["/a.txt"] = OTHER
    get(server, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == OTHER


def test_without_an_etag_nothing_is_joined_unless_a_checksum_will_tell(server, tmp_path):
    server.has_etags = False
    server.faults["/a.txt"] = ["short"]
    server.after_fault["/a.txt"] = OTHER
    get(server, tmp_path / "one")
    assert (tmp_path / "one" / "a.txt").read_bytes() == OTHER
    assert "Range" not in server.seen[1][1]
    server.faults["/a.txt"] = ["short"]
    get(server, tmp_path / "two", checksums=sums(tmp_path / "SUMS", a=OTHER))
    assert (tmp_path / "two" / "a.txt").read_bytes() == OTHER
    assert "Range" in server.seen[3][1]


def test_halves_of_two_files_are_never_one(server, tmp_path):
    """Even if the server keeps its ETag: only the checksum can tell."""
    server.headers["/a.txt"]["ETag"] = '"same"'
    server.has_etags = False
    server.faults["/a.txt"] = ["short"]
    server.after_fault["/a.txt"] = OTHER
    get(server, tmp_path, checksums=sums(tmp_path / "SUMS", a=OTHER))
    assert (tmp_path / "a.txt").read_bytes() == OTHER


def test_a_wrong_checksum_is_refused_after_a_second_look(server, tmp_path):
    checksums = sums(tmp_path / "SUMS", a=OTHER)
    refused(server, tmp_path / "out", "SHA-256", "was not used", checksums=checksums)
    assert server.requests["/a.txt"] == 2
    assert names(tmp_path / "out") == ["download.json"]


def test_a_part_that_lies_about_its_place_is_refused(server, tmp_path):
    server.faults["/a.txt"] = ["short", "lying_range"]
    get(server, tmp_path, checksums=sums(tmp_path / "SUMS", a=BODY))
    assert (tmp_path / "a.txt").read_bytes() == BODY


def test_patience_ends(server, tmp_path):
    server.faults["/a.txt"] = [503] * 9
    error = refused(server, tmp_path, "503", "4 tries")
    assert server.requests["/a.txt"] == 4, error


def test_a_server_that_falls_silent(server, tmp_path):
    server.faults["/a.txt"] = ["silent"]
    began = time.monotonic()
    # More tries than it takes: a busy machine may seem silent, too.
    get(
        server,
        tmp_path,
        patience=Patience(timeout=0.5, tries=200, first_wait=0.01, longest_wait=0.1),
    )
    assert time.monotonic() - began < SILENCE_SECONDS / 2
    assert (tmp_path / "a.txt").read_bytes() == BODY
    assert server.requests["/a.txt"] >= 2


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_lasting_faults_are_not_tried_again(server, tmp_path, status):
    server.faults["/a.txt"] = [status]
    refused(server, tmp_path, str(status), f"{server.url}/a.txt")
    assert server.requests["/a.txt"] == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_kept(server, tmp_path, form):
    server.faults["/a.txt"] = [503]
    began = time.monotonic()
    until = email.utils.formatdate(time.time() + 2, usegmt=True)
    server.headers["/a.txt"]["Retry-After"] = "1" if form == "seconds" else until
    get(server, tmp_path)
    assert time.monotonic() - began > 0.9
    server.faults["/a.txt"] = [503]
    server.headers["/a.txt"]["Retry-After"] = "86400"
    refused(server, tmp_path / "late", "86400")


def test_redirects_are_followed_and_tell_a_checksum(server, tmp_path):
    server.files["/store"] = BODY
    server.redirects["/a.txt"] = f"{server.url}/store"
    server.headers["/a.txt"]["X-Linked-ETag"] = f'"{hashlib.sha256(BODY).hexdigest()}"'
    server.faults["/store"] = ["short"]
    get(server, tmp_path / "right")
    assert (tmp_path / "right" / "a.txt").read_bytes() == BODY
    server.headers["/a.txt"]["X-Linked-ETag"] = f'"{hashlib.sha256(OTHER).hexdigest()}"'
    refused(server, tmp_path / "wrong", "SHA-256")


def test_a_redirect_does_not_leave_encryption():
    arguments = (io.BytesIO(), 302, "Found", http.client.HTTPMessage(), "http://host/a")
    with pytest.raises(DownloadError, match="not encrypted"):
        _Redirects().redirect_request(urllib.request.Request("https://host/a"), *arguments)
    request = _Redirects().redirect_request(urllib.request.Request("http://host/b"), *arguments)
    assert request.full_url == "http://host/a"


def test_redirects_without_end(server, tmp_path):
    server.redirects["/a.txt"] = f"{server.url}/a.txt"
    refused(server, tmp_path, "302")


def test_an_error_page_is_not_a_shard(server, tmp_path):
    server.files["/a.parquet"] = b"<html>please log in</html>"
    with pytest.raises(DownloadError, match="not a parquet file"):
        get(server, tmp_path, "a.parquet")
    assert "a.parquet" not in names(tmp_path)


def test_a_file_without_a_length_is_not_taken_for_whole(server, tmp_path):
    server.headers["/a.txt"]["Content-Length"] = ""
    refused(server, tmp_path, "how long the file is")


def test_several_at_a_time_with_a_fault_each(server, tmp_path):
    bodies = {f"s_{i:02}.txt": random.Random(i).randbytes(90_000 + i) for i in range(11)}
    for i, (name, body) in enumerate(bodies.items()):
        server.files[f"/{name}"] = body
        server.faults[f"/{name}"] = [[503], ["short"], [], ["short", 500]][i % 4]
    manifest = get(server, tmp_path, "s_{00..10}.txt", workers=4)
    assert {name: (tmp_path / name).read_bytes() for name in manifest.files} == bodies
    assert manifest.validation == "s_10.txt"


def test_validation_is_the_same_whatever_is_fetched(server, tmp_path):
    for i in range(5):
        server.files[f"/s_{i}.txt"] = bytes([i])
    few = get(server, tmp_path / "few", "s_{0..4}.txt", shards=1)
    assert (few.validation, sorted(few.files)) == ("s_4.txt", ["s_0.txt", "s_4.txt"])
    more = get(server, tmp_path / "few", "s_{0..4}.txt", shards=3)
    assert (more.validation, len(more.files)) == ("s_4.txt", 4)
    with pytest.raises(ValueError, match=r"validation='s_1\.txt'"):
        get(server, tmp_path / "few", "s_{0..4}.txt", validation="s_1.txt")
    with pytest.raises(ValueError, match="no such file"):
        get(server, tmp_path / "other", "s_{0..4}.txt", validation="t")


def test_what_the_first_fetch_recorded_is_compared_later(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / "a.txt").unlink()
    server.files["/a.txt"] = OTHER
    refused(server, tmp_path, "SHA-256")


@pytest.mark.parametrize("verify", [False, True])
def test_a_file_that_was_changed_here_is_named(server, tmp_path, verify):
    get(server, tmp_path)
    (tmp_path / "a.txt").write_bytes(OTHER if verify else BODY[:-1])
    with pytest.raises(ValueError, match=r"a\.txt.*changed"):
        get(server, tmp_path, verify=verify)


def test_a_file_of_which_nothing_is_known_is_not_replaced(server, tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match="move it away"):
        get(server, tmp_path)
    assert (tmp_path / "a.txt").read_text() == "mine"
    (tmp_path / "a.txt").write_bytes(BODY)
    get(server, tmp_path, checksums=sums(tmp_path / "SUMS", a=BODY))
    assert not server.requests


def test_another_source_is_refused(server, tmp_path):
    get(server, tmp_path)
    with pytest.raises(ValueError, match="choose another"):
        download(f"{server.url}/b.txt", tmp_path, patience=QUICK)


def test_another_run_takes_up_what_one_left(server, tmp_path):
    server.faults["/a.txt"] = ["short", *[500] * 4]
    refused(server, tmp_path)
    assert (tmp_path / ".a.txt.part").stat().st_size == 150_000
    get(server, tmp_path)
    assert server.sent == len(BODY)
    assert names(tmp_path) == ["a.txt", "download.json"]


def test_a_part_that_was_changed_meanwhile_is_found(server, tmp_path):
    checksums = sums(tmp_path / "SUMS", a=BODY)
    server.faults["/a.txt"] = ["short", *[500] * 4]
    refused(server, tmp_path / "out", checksums=checksums)
    (tmp_path / "out" / ".a.txt.part").write_bytes(OTHER[:1000])
    get(server, tmp_path / "out", checksums=checksums)
    assert (tmp_path / "out" / "a.txt").read_bytes() == BODY


def test_a_full_disk_keeps_what_has_come(server, tmp_path, monkeypatch):
    import errno

    real = os.fsync
    left = [1]

    def fsync(fd):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskFullError, match="run the same command again"):
        get(server, tmp_path)
    monkeypatch.setattr(os, "fsync", real)
    get(server, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == BODY


def test_two_downloads_into_one_folder(server, tmp_path):
    server.faults["/a.txt"] = ["silent"]
    thread = threading.Thread(target=get, args=(server, tmp_path), daemon=True)
    thread.start()
    wait_until(lambda: server.requests["/a.txt"])
    with pytest.raises(ValueError, match="another download"):
        get(server, tmp_path)
    server.ended.set()
    thread.join()


@pytest.mark.parametrize(
    "name", ["corpus", "hf:owner", "file:///etc/x", "http://h/{3..1}.txt", "http://h/{1..2}/a.txt"]
)
def test_names_that_mean_nothing(tmp_path, name):
    with pytest.raises(ValueError, match="name="):
        download(name, tmp_path / "out", patience=QUICK)
    assert not (tmp_path / "out").exists()
