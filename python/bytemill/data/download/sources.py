"""What a name stands for: files on a server, in order, and the one to validate on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote, urlsplit

from bytemill.data.download.fetch import Remote
from bytemill.data.download.http import DownloadError, get
from bytemill.data.download.manifest import check_name, is_sha256

_HUB: Final = "https://huggingface.co"
_REPOSITORY: Final = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<rev>[^:]+))?(?::(?P<at>.+))?")
_RANGE: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")
_SPLIT: Final = re.compile(r"(?:^|[/_.-])(train|validation|valid|val|dev|test)(?=[/_.-]|$)")
_MOST_FILES: Final = 1_000_000

Answer = tuple[Any, "str | None"]
"""A JSON value, and the address where a list of several pages goes on."""
Retry = Callable[[Callable[[], Answer]], Answer]
"""Calls a function until it goes well, or the server's patience is spent."""


@dataclass(frozen=True)
class Known:
    """A dataset that has a name of its own."""

    repository: str
    validation: str
    summary: str


KNOWN: Final = {
    "fineweb-edu": Known(
        "hf:karpathy/fineweb-edu-100b-shuffle",
        "shard_01822.parquet",
        "100 billion tokens of educational web pages, shuffled: 1,822 shards and validation",
    ),
    "climbmix": Known(
        "hf:karpathy/climbmix-400b-shuffle",
        "shard_06542.parquet",
        "400 billion tokens of ClimbMix, shuffled: 6,542 shards and validation",
    ),
}


@dataclass(frozen=True)
class Source:
    """Files on a server."""

    name: str
    """As it is written in the folder's record."""
    revision: str | None
    train: Sequence[Remote]
    validation: Remote | None
    headers: dict[str, str] = field(default_factory=dict)
    """Of the requests for them."""


def find_source(
    name: str, *, revision: str | None, validation: str | None, timeout: float, retry: Retry
) -> Source:
    """Finds the files that a name stands for.

    Args:
        name: One of `KNOWN`; "hf:OWNER/NAME", "hf:OWNER/NAME@REVISION" or "hf:OWNER/NAME:FOLDER",
            for the parquet files of a dataset repository; or an address with a range of numbers in
            braces, such as "https://host/shard_{00000..00099}.parquet".
        revision: The repository's commit, if it is settled already.
        validation: The file to validate on; by default the known one, or a repository's first file
            of a validation (or else test) split, or the last one.
        timeout: Seconds of silence that end a request.
        retry: What a request that may go right later is made with.

    Raises:
        DownloadError: The server does not have it, or not what is needed.
        ValueError: The name is of none of these forms, or `validation` is not among the files.
    """
    if known := KNOWN.get(name):
        found = _REPOSITORY.fullmatch(known.repository)
        validation = validation or known.validation
    else:
        found = _REPOSITORY.fullmatch(name)
    if found is not None:
        return _repository(name, found, revision, validation, timeout, retry)
    if urlsplit(name).scheme in ("http", "https"):
        return _addresses(name, validation)
    raise ValueError(
        f"name={name!r}: it is none of {', '.join(KNOWN)}, nor of the form hf:OWNER/NAME, nor an "
        "address like https://host/shard_{00000..00099}.parquet"
    )


def _addresses(pattern: str, validation: str | None) -> Source:
    """Files whose addresses differ by a number."""
    found = _RANGE.search(pattern)
    if found is None:
        addresses = [pattern]
    else:
        first, last = int(found[1]), int(found[2])
        if last < first or last - first >= _MOST_FILES or _RANGE.search(pattern, found.end()):
            raise ValueError(
                f"name={pattern!r}: it needs one range, from the lower number to the higher, of "
                f"at most {_MOST_FILES:,} files"
            )
        width = len(found[1]) if found[1].startswith("0") else 0
        before, after = pattern[: found.start()], pattern[found.end() :]
        addresses = [f"{before}{i:0{width}}{after}" for i in range(first, last + 1)]
    files = []
    for address in addresses:
        name = PurePosixPath(urlsplit(address).path).name
        check_name(name)
        files.append(Remote(name, address))
    if len({file.name for file in files}) < len(files):
        raise ValueError(f"name={pattern!r}: the number is not in the files' names")
    if validation is None and len(files) > 1:
        validation = files[-1].name
    return _split(pattern, None, files, validation, {})


def _repository(
    name: str,
    found: re.Match[str],
    revision: str | None,
    validation: str | None,
    timeout: float,
    retry: Retry,
) -> Source:
    """The parquet files of a dataset repository of the hub."""
    hub = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    api = f"{hub}/api/datasets/{found['repo']}"

    def ask(url: str) -> Answer:
        return retry(lambda: _json(url, headers, timeout))

    if revision is None:
        about, _ = ask(f"{api}/revision/{quote(found['rev'] or 'main', safe='')}")
        revision = about.get("sha") if isinstance(about, dict) else None
        if not isinstance(revision, str):
            raise DownloadError(f"{api}: the hub's answer names no revision")
    within = (found["at"] or "").strip("/")
    url: str | None = f"{api}/tree/{revision}{'/' + quote(within) if within else ''}?recursive=true"
    files: list[Remote] = []
    while url is not None:
        entries, url = ask(url)
        files += _remotes(entries, f"{hub}/datasets/{found['repo']}/resolve/{revision}", api)
    if not files:
        raise DownloadError(
            f"{name}: the repository has no parquet files there; the hub makes some for most "
            f"datasets: hf:{found['repo']}@refs/convert/parquet"
        )
    files.sort(key=lambda file: file.name)
    splits = {file.name: _split_of(file.name) for file in files}
    if validation is None:
        for split in ("validation", "test"):
            of_split = [file.name for file in files if splits[file.name] == split]
            if validation is None and of_split:
                validation = of_split[0]
    if validation is None and len(files) > 1:
        validation = files[-1].name
    kept = [file for file in files if splits[file.name] == "train" or file.name == validation]
    return _split(name, revision, kept, validation, headers)


def _remotes(entries: Any, base: str, api: str) -> list[Remote]:
    if not isinstance(entries, list):
        raise DownloadError(f"{api}: the hub's answer is not a list of files")
    files = []
    for entry in entries:
        path = entry.get("path") if isinstance(entry, dict) else None
        if not isinstance(path, str) or entry.get("type") != "file":
            continue
        if path.endswith(".parquet"):
            check_name(path)  # it is the server's word, and becomes a path here
            stored = entry.get("lfs") or {}
            size, sha256 = entry.get("size"), stored.get("oid")
            files.append(
                Remote(
                    path,
                    f"{base}/{quote(path)}",
                    size if type(size) is int else None,
                    sha256 if is_sha256(sha256) else None,
                )
            )
    return files


def _json(url: str, headers: dict[str, str], timeout: float) -> Answer:
    """What the hub answers."""
    with get(url, headers, timeout) as response:
        pieces = []
        while piece := response.read(1 << 16):
            pieces.append(piece)
        body = b"".join(pieces)
        following = re.search(r'<([^>]+)>;\s*rel="next"', response.headers.get("Link", ""))
    try:
        return json.loads(body), following[1] if following else None
    except (ValueError, RecursionError) as error:
        raise DownloadError(f"{url}: the answer is not JSON ({error})") from None


def _split_of(path: str) -> str:
    """ "train", "validation" or "test", by the names that the hub's library knows."""
    found = _SPLIT.findall(path)
    name = found[-1] if found else "train"
    return "validation" if name in ("validation", "valid", "val", "dev") else name


def _split(
    name: str,
    revision: str | None,
    files: list[Remote],
    validation: str | None,
    headers: dict[str, str],
) -> Source:
    held_out = next((file for file in files if file.name == validation), None)
    if validation is not None and held_out is None:
        raise ValueError(
            f"validation={validation!r}: there is no such file; the first are "
            f"{', '.join(file.name for file in files[:3])}"
        )
    train = [file for file in files if file.name != validation]
    return Source(name, revision, train, held_out, headers)
