"""Input files -> documents, for whoever wants strings, and -> passes of the Rust core."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from bytemill._arguments import check_callable, check_limit, check_special_tokens, check_str
from bytemill.data import sniff
from bytemill.data.inputs import InputFile, Paths, expand_inputs
from bytemill.data.readers import (
    OnPosition,
    check_packages,
    invalid_utf8,
    read_chunks,
    read_jsonl,
    read_parquet,
)

if TYPE_CHECKING:
    from bytemill._core import CountingPass

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is to do."""


def iter_documents(
    paths: Paths,
    text_column: str = "text",
    errors: str = "strict",
    *,
    special_tokens: Sequence[str] = (),
    doc_cap: int | None = None,
    progress: Progress | None = None,
) -> Iterator[str]:
    """The documents of files, in the order of `expand_inputs`. Empty ones are left out.

    A document is a plain text file, a line of a .jsonl file (.ndjson, .jsonlines, .json) or a row
    of a .parquet file; where `special_tokens` occur in it they separate it into several. One
    document at a time is in memory.
    A byte order mark at the start of a plain text file is text, as in tiktoken; line ends stay as
    they are. A .jsonl line or a .parquet row whose text is null is not a document.

    Args:
        paths: A path, a folder or a glob, or several; see `expand_inputs`.
        text_column: The key (.jsonl) or column (.parquet) that holds the text.
        errors: What to do with bytes that are not UTF-8: "strict" raises, "replace" reads U+FFFD.
        special_tokens: Strings that separate documents.
        doc_cap: Cut documents after this many characters.
        progress: Called for each document with the bytes read and all bytes of the files, on disk.

    Raises:
        FileNotFoundError, PermissionError: As `expand_inputs`, before the first document.
        ValueError: A file is truncated, corrupt, not UTF-8, or lacks the column, or one that would
            be read as plain text is JSON lines with that column; the message names it.
        ImportError: A .parquet or .zst file needs a package that is not installed.
    """
    check_errors(errors)
    split = Splitter(check_special_tokens(special_tokens), check_limit("doc_cap", doc_cap))
    files = expand_inputs(paths)
    check_readable(files, text_column, errors)
    meter = _Meter(files, progress)
    for file in files:
        if file.format == "text":
            chunks = _plain_chunks(file, text_column, meter.at)
            documents = split.stream(decoded(file, errors, chunks))
        else:
            texts = _read_records(file, text_column, errors, meter.at)
            documents = itertools.chain.from_iterable(map(split.whole, texts))
        for document in filter(None, documents):
            yield document
            meter.report()
        meter.done(file.size)


def check_errors(errors: str) -> None:
    """ValueError unless `errors` is a way to treat invalid UTF-8."""
    if errors not in ("strict", "replace"):
        raise ValueError(f'errors={errors!r}: it must be "strict" or "replace"')


def _read_records(
    file: InputFile, text_column: str, errors: str, on_position: OnPosition
) -> Iterator[str]:
    read = read_jsonl if file.format == "jsonl" else read_parquet
    return read(file, text_column, errors, on_position)


def check_readable(files: Sequence[InputFile], text_column: str, errors: str) -> None:
    """Raises for what can be seen of files before they are read; pipes are checked later.

    Raises:
        ImportError: Reading one needs a package that is not installed.
        TypeError: `text_column` is not a str.
        ValueError: One that is read as plain text is JSON lines; `errors` is not known.
    """
    check_errors(errors)
    check_str("text_column", text_column)
    check_packages(files)
    for file in files:
        if file.format == "text" and file.path.is_file():
            line = sniff.first_line(file.path, file.compression)
            sniff.refuse(file.shown_path, line, text_column)


def _plain_chunks(file: InputFile, text_column: str, on_position: OnPosition) -> Iterator[bytes]:
    chunks = read_chunks(file, on_position)
    if file.path.is_file():
        return chunks
    return sniff.refusing_json(file.shown_path, chunks, text_column)


def decoded(
    file: InputFile, errors: str, chunks: Iterable[bytes], position: int = 0
) -> Iterator[str]:
    """The text of the bytes of a file from `position` on.

    Raises:
        ValueError: They are not UTF-8, and `errors` is "strict".
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    for chunk in itertools.chain(chunks, [b""]):
        held = len(decoder.getstate()[0])
        try:
            yield decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise invalid_utf8(str(file.path), position - held + error.start) from None
        position += len(chunk)


class Splitter:
    """Cuts text at special tokens: leftmost, and of several at one place the longest."""

    def __init__(self, special_tokens: Sequence[str], doc_cap: int | None) -> None:
        longest_first = sorted(special_tokens, key=len, reverse=True)
        self._find = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._longest = len(longest_first[0]) if longest_first else 0
        self._tokens = longest_first
        self._doc_cap = doc_cap

    def whole(self, text: str) -> Iterable[str]:
        """The parts of one text, which most often is its only one: that is told several times as
        fast as parts are found."""
        is_short = self._doc_cap is None or len(text) <= self._doc_cap
        if is_short and not any(token in text for token in self._tokens):
            return (text,)
        return self.stream([text])

    def stream(self, pieces: Iterable[str]) -> Iterator[str]:
        """The parts of one text that comes in pieces, cut anywhere; each as soon as it is known."""
        document: list[str] = []
        left = self._doc_cap
        for part, ends in self._parts(pieces):
            if left != 0:
                document.append(part[:left])
                if left is not None:
                    left = max(0, left - len(part))
                if left == 0 or ends:
                    yield "".join(document)
                    document = []
            if ends:
                left = self._doc_cap

    def _parts(self, pieces: Iterable[str]) -> Iterator[tuple[str, bool]]:
        """Text without special tokens, and whether a document ends with it."""
        text = ""
        for piece in itertools.chain(pieces, [None]):
            text += piece or ""
            start = 0
            # A token that begins later than this may go on, or be beaten by a longer one.
            sure = len(text) if piece is None else len(text) - self._longest
            for match in self._find.finditer(text) if self._find else ():
                if match.start() > sure:
                    break
                yield text[start : match.start()], True
                start = match.end()
            keep = max(start, sure + 1) if self._find else len(text)
            yield text[start:keep], piece is None
            text = text[keep:]


class _Meter:
    """Bytes on disk that have been read, of several files."""

    def __init__(self, files: Sequence[InputFile], report: Progress | None) -> None:
        check_callable("progress", report)
        self._report = report
        self._total = sum(file.size for file in files)
        self._before = 0
        self._here = 0

    def at(self, position: int) -> None:
        """The position reached in the file being read."""
        self._here = position

    def done(self, size: int) -> None:
        """A file of `size` bytes has been read to its end."""
        self._before += size
        self._here = 0

    def report(self) -> None:
        """Tells the caller."""
        if self._report is not None:
            self._report(min(self._before + self._here, self._total), self._total)


class Feeder:
    """Feeds input files to a pass of the Rust core, each in the way that suits it."""

    def __init__(
        self,
        files: Sequence[InputFile],
        text_column: str,
        errors: str,
        progress: Progress | None,
    ) -> None:
        check_readable(files, text_column, errors)
        self._files = files
        self._text_column = text_column
        self._errors = errors
        self._meter = _Meter(files, progress)
        # Bytes the pass had taken in when a run of plain files began; the pass counts them itself.
        self._plain_since: int | None = None
        # Whether the core reads the file itself, and so knows how far it is.
        self._is_plain = False

    def on_bytes(self, n_bytes: int) -> None:
        """What the pass calls with the bytes it has taken in."""
        if self._plain_since is not None:
            self._meter.at(n_bytes - self._plain_since)
        self._meter.report()

    def feed(self, counting: CountingPass) -> None:
        """Feeds all files, or as many as it takes until the pass is full."""
        for kind, run in itertools.groupby(self._files, _source_kind):
            files = list(run)
            if counting.full:
                break
            if kind == "file":
                self._plain_since = counting.n_bytes
                counting.feed_files([str(file.path) for file in files])
                self._plain_since = None
                self._meter.done(sum(file.size for file in files))
            elif kind == "chunks":
                for file in files:
                    if counting.full:
                        break
                    chunks = _plain_chunks(file, self._text_column, self._meter.at)
                    counting.feed_chunks(file.shown_path, chunks)
                    self._meter.done(file.size)
            else:
                counting.feed(self._records(files))
        self._meter.report()

    def sources(self, start: int = 0) -> Iterator[tuple[str, str, object]]:
        """The files from the `start`th on as the core's encoding takes them: kind, name, content.

        `on_source_bytes` is then to be called with the bytes taken in of a source.
        """
        self._meter.done(sum(file.size for file in self._files[:start]))
        for file in self._files[start:]:
            kind = _source_kind(file)
            self._is_plain = kind == "file"
            content: object = str(file.path)
            if kind == "chunks":
                content = _plain_chunks(file, self._text_column, self._meter.at)
            elif kind == "texts":
                content = _read_records(file, self._text_column, self._errors, self._meter.at)
            yield kind, file.shown_path, content
            self._meter.done(file.size)

    def on_source_bytes(self, n_bytes: int) -> None:
        """What the core calls with the bytes it has taken in of a source."""
        if self._is_plain:
            self._meter.at(n_bytes)
        self._meter.report()

    def report(self) -> None:
        """Tells the caller how much has been read."""
        self._meter.report()

    def _records(self, files: Iterable[InputFile]) -> Iterator[str]:
        for file in files:
            yield from _read_records(file, self._text_column, self._errors, self._meter.at)
            self._meter.done(file.size)


def _source_kind(file: InputFile) -> Literal["file", "chunks", "texts"]:
    """How the core takes a file: by its path, as pieces of its bytes, or as documents."""
    if file.format != "text":
        return "texts"
    # A pipe is read in Python, where Ctrl-C ends a read that waits.
    return "file" if file.compression is None and file.path.is_file() else "chunks"
