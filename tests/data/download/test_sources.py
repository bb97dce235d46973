"""What a name stands for: a repository's files at one commit, and the one to validate on."""

import hashlib
import json

import pytest

from bytemill.data.download import DownloadError, download
from bytemill.data.download.fetch import Patience
from bytemill.data.download.manifest import check_name
from tests.support.faulty_server import serving

QUICK = Patience(timeout=60.0, tries=3, first_wait=0.01, longest_wait=0.02)
REPOSITORY = "me/texts"
COMMIT = "c0ffee"


def shard(text):
    return b"PAR1" + text.encode() * 10 + b"PAR1"


class Hub:
    """Answers as the hub does, as far as it is asked here."""

    def __init__(self, server):
        self.server = server
        self.entries = []

    def add(self, path, body, *, lfs=True, commit=COMMIT):
        digest = hashlib.sha256(body).hexdigest()
        entry = {"type": "file", "path": path, "size": len(body), "oid": "0" * 40}
        if lfs:
            entry["lfs"] = {"oid": digest, "size": len(body), "pointerSize": 130}
        self.entries.append(entry)
        self.server.files[f"/datasets/{REPOSITORY}/resolve/{commit}/{path}"] = body
        self.publish(commit)

    def publish(self, commit=COMMIT, revision="main", within=""):
        api = f"/api/datasets/{REPOSITORY}"
        self.server.files[f"{api}/revision/{revision}"] = json.dumps({"sha": commit}).encode()
        first = f"{api}/tree/{commit}{within}?recursive=true"
        half = len(self.entries) // 2
        self.server.files[first] = json.dumps(self.entries[:half]).encode()
        self.server.files[f"{first}&cursor=x"] = json.dumps(self.entries[half:]).encode()
        link = f'<{self.server.url}{first}&cursor=x>; rel="next"'
        self.server.headers[first]["Link"] = link


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield Hub(server)


def get(out, name=f"hf:{REPOSITORY}", **options):
    return download(name, out, patience=QUICK, **options)


def test_a_repository_of_one_folder(hub, tmp_path):
    hub.add("README.md", b"# texts")
    for i in range(4):
        hub.add(f"shard_{i:05}.parquet", shard(f"text {i}"))
    hub.server.faults[f"/api/datasets/{REPOSITORY}/revision/main"] = [503]
    manifest = get(tmp_path, shards=2)
    assert sorted(manifest.files) == [f"shard_0000{i}.parquet" for i in (0, 1, 3)]
    assert (manifest.revision, manifest.validation) == (COMMIT, "shard_00003.parquet")
    assert (tmp_path / "shard_00001.parquet").read_bytes() == shard("text 1")


def test_splits_by_name(hub, tmp_path):
    for name in ("train-00000-of-00001", "test-00000-of-00001", "validation-00000-of-00001"):
        hub.add(f"data/{name}.parquet", shard(name))
    manifest = get(tmp_path)
    assert manifest.validation == "data/validation-00000-of-00001.parquet"
    assert sorted(manifest.files) == ["data/train-00000-of-00001.parquet", manifest.validation]
    assert (tmp_path / manifest.validation).is_file()


def test_all_files_are_of_one_commit(hub, tmp_path):
    hub.add("a.parquet", shard("a"))
    hub.add("b.parquet", shard("b"))
    hub.add("c.parquet", shard("c"))
    get(tmp_path, shards=1)
    hub.publish("another")
    assert sorted(get(tmp_path).files) == ["a.parquet", "b.parquet", "c.parquet"]


def test_the_hubs_checksum_counts(hub, tmp_path):
    hub.add("a.parquet", shard("a"))
    hub.server.files[f"/datasets/{REPOSITORY}/resolve/{COMMIT}/a.parquet"] = shard("b")
    with pytest.raises(DownloadError, match="SHA-256"):
        get(tmp_path)


def test_the_hubs_size_counts(hub, tmp_path):
    hub.add("a.parquet", shard("a"), lfs=False)
    hub.server.files[f"/datasets/{REPOSITORY}/resolve/{COMMIT}/a.parquet"] = shard("abc")
    with pytest.raises(DownloadError, match="were expected"):
        get(tmp_path)


def test_a_folder_and_a_revision(hub, tmp_path):
    hub.entries = []
    hub.add("en/a.parquet", shard("a"))
    hub.publish(revision="refs%2Fconvert%2Fparquet", within="/en")
    manifest = get(tmp_path, f"hf:{REPOSITORY}@refs/convert/parquet:en")
    assert list(manifest.files) == ["en/a.parquet"]
    assert manifest.validation is None


def test_a_token_stays_with_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.add("a.parquet", shard("a"))
    path = f"/datasets/{REPOSITORY}/resolve/{COMMIT}/a.parquet"
    with serving() as store:
        store.files["/a"] = shard("a")
        hub.server.redirects[path] = f"{store.url}/a"
        get(tmp_path)
        assert all(sent["Authorization"] == "Bearer secret" for _, sent in hub.server.seen)
        assert [("Authorization" in sent) for _, sent in store.seen] == [False]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "no parquet files"),
        ({"error": "x"}, "not a list"),
        ([{"type": "file", "path": "../../up.parquet", "size": 1}], "plain path"),
    ],
)
def test_answers_that_are_not_used(hub, tmp_path, entries, words):
    hub.publish()
    tree = f"/api/datasets/{REPOSITORY}/tree/{COMMIT}?recursive=true"
    hub.server.files[tree] = json.dumps(entries).encode()
    hub.server.headers.clear()
    with pytest.raises((DownloadError, ValueError), match=words):
        get(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_repository_that_is_not_there(hub, tmp_path):
    with pytest.raises(DownloadError, match="404"):
        get(tmp_path)


def test_the_known_datasets_have_their_pinned_validation(hub, tmp_path):
    name = "karpathy/climbmix-400b-shuffle"
    entries = []
    for i in (0, 1, 6541, 6542):
        body, path = shard(str(i)), f"shard_{i:05}.parquet"
        entries.append({"type": "file", "path": path, "size": len(body)})
        hub.server.files[f"/datasets/{name}/resolve/{COMMIT}/{path}"] = body
    hub.server.files[f"/api/datasets/{name}/revision/main"] = json.dumps({"sha": COMMIT}).encode()
    tree = f"/api/datasets/{name}/tree/{COMMIT}?recursive=true"
    hub.server.files[tree] = json.dumps(entries).encode()
    manifest = get(tmp_path, "climbmix", shards=1)
    assert manifest.validation == "shard_06542.parquet"
    assert sorted(manifest.files) == ["shard_00000.parquet", "shard_06542.parquet"]


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../b", "a\\b", "c:a", "a//b", "./a", "download.json", "a\nb"]
)
def test_names_that_leave_the_folder(name):
    with pytest.raises(ValueError):
        check_name(name)


def test_a_record_that_was_changed_is_named(hub, tmp_path):
    hub.add("a.parquet", shard("a"))
    get(tmp_path)
    path = tmp_path / "download.json"
    path.write_text(path.read_text().replace('"size": ', '"size": -'))
    with pytest.raises(ValueError, match=r"download\.json"):
        get(tmp_path)
