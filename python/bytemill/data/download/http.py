"""Requests over HTTP; the faults of servers sorted into those that pass and those that stay."""

from __future__ import annotations

import email.utils
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import IO, Final, cast
from urllib.parse import urlsplit

# Too early, too many requests, and what a server or a gateway says of itself for a while.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class DownloadError(OSError):
    """A file could not be fetched, or is not the one that was expected; it is not there then."""


class Passing(Exception):
    """What went wrong may go right at the next try.

    Args:
        message: What it was.
        wait: Seconds that the server asks to wait, if it does.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class WrongFile(Passing):
    """What came is not what was expected; one more try may show that it was an accident."""


class RangeRefused(Passing):
    """The server has nothing behind the bytes that are here: they are not the beginning of it."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; secrets stay with the host they are for, and TLS is not left."""

    sha256: str | None = None
    """Of the whole file: the hub's redirect to its store says what the store will send."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request for the new address."""
        here, there = urlsplit(req.full_url), urlsplit(newurl)
        if here.scheme == "https" and there.scheme != "https":
            raise DownloadError(f"{req.full_url}: it redirects to {newurl}, which is not encrypted")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and here.netloc != there.netloc:
            following.remove_header("Authorization")
        linked = headers.get("X-Linked-ETag", "").strip('"')
        self.sha256 = linked if _SHA256.fullmatch(linked) else self.sha256
        return following


class Response:
    """A response whose body is to be read."""

    def __init__(self, raw: http.client.HTTPResponse, sha256: str | None) -> None:
        self._raw = raw
        self.status = raw.status
        self.headers: http.client.HTTPMessage = raw.headers
        self.sha256 = sha256
        """Of the whole file, if a redirect told it."""

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *error: object) -> None:
        self._raw.close()

    @property
    def length(self) -> int | None:
        """Bytes that the body is to have, if the server says so."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else None

    @property
    def ends_itself(self) -> bool:
        """Whether a body that is cut off can be told from a whole one."""
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        return chunked or self.length is not None

    @property
    def validator(self) -> str | None:
        """What stands for exactly these bytes: a strong ETag (RFC 9110, section 8.8.3)."""
        etag = self.headers.get("ETag", "")
        return etag if etag.startswith('"') else None

    def range(self) -> tuple[int, int | None]:
        """First byte and length of the whole file, of a part of it (status 206).

        Raises:
            Passing: The server does not say, or not in bytes.
        """
        text = self.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
        if found is None:
            raise Passing(f"it answered with a part of the file but calls it {text!r}")
        return int(found[1]), None if found[2] == "*" else int(found[2])

    def read(self, n: int) -> bytes:
        """Bytes as they come, `n` at most; b"" at the end.

        Raises:
            Passing: The connection broke.
        """
        try:
            return self._raw.read1(n)
        except (http.client.HTTPException, OSError) as error:
            raise Passing(f"the connection broke ({_in_words(error)})") from error


def get(url: str, headers: Mapping[str, str], timeout: float) -> Response:
    """Asks for a file.

    Args:
        url: Where it is; http or https.
        headers: Of the request, besides the usual ones.
        timeout: Seconds of silence after which the server has failed.

    Raises:
        DownloadError: The server says that it does not have it, or does not give it.
        Passing: Something that may be better at the next try.
    """
    usual = {"User-Agent": "bytemill", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers={**usual, **headers})
    redirects = _Redirects()
    try:
        raw = urllib.request.build_opener(redirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _of_status(error, url) from None
    except DownloadError:
        raise
    except (http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Passing(f"no answer ({_in_words(reason)})") from error
    response = Response(cast("http.client.HTTPResponse", raw), redirects.sha256)
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity":
        raw.close()
        raise DownloadError(f"{url}: the server packs it ({packed}), though it was asked not to")
    return response


def _of_status(error: urllib.error.HTTPError, url: str) -> Exception:
    what = f"the server answered {error.code} {error.reason}".rstrip()
    if error.code == 416:
        return RangeRefused(what)
    if error.code in _PASSING:
        return Passing(what, _wait(error.headers.get("Retry-After")))
    remedy = {
        401: "; to the Hugging Face hub, the environment variable HF_TOKEN says who asks",
        403: "; some datasets have to be asked for on their page, before HF_TOKEN opens them",
        404: "; there is no such file: is the name right?",
    }.get(error.code, "")
    return DownloadError(f"{url}: {what}{remedy}")


def _wait(text: str | None) -> float | None:
    """Seconds, of a Retry-After header: a number or a date (RFC 9110, section 10.2.3)."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


def _in_words(error: object) -> str:
    return str(error) or type(error).__name__
