"""The Rust core. Private: use the classes of `bytemill` instead."""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import final

@final
class Counts:
    """Pretoken counts, with the pattern and the special tokens they were made with."""

    @property
    def pat_str(self) -> str: ...
    @property
    def special_tokens(self) -> list[str]: ...
    @property
    def total(self) -> int:
        """All pretokens counted, repetitions included."""
    @property
    def n_bytes(self) -> int:
        """Bytes of all pretokens counted, repetitions included."""
    def __len__(self) -> int:
        """Distinct pretokens."""
    def items(self) -> list[tuple[bytes, int]]:
        """Pretokens with their counts, most frequent first, then by bytes."""
    @staticmethod
    def from_items(
        pattern: str, special_tokens: Sequence[str], items: Iterable[tuple[bytes, int]]
    ) -> Counts: ...
    def save(self, path: str | PathLike[str]) -> None: ...
    @staticmethod
    def load(path: str | PathLike[str]) -> Counts: ...
    def merge(self, other: Counts) -> None:
        """Adds `other`'s counts. ValueError if its pattern or special tokens differ."""

@final
class CountingPass:
    """Counts the pretokens of documents, in worker threads; `finish` hands them over, once."""

    def __new__(
        cls,
        pattern: str,
        special_tokens: Sequence[str],
        doc_cap: int | None = None,
        max_chars: int | None = None,
        num_threads: int | None = None,
        errors: str = "strict",
        progress: Callable[[int], None] | None = None,
    ) -> CountingPass:
        """`progress` is called with the bytes taken in so far, a few times a second.

        What it raises ends the pass. `errors`, for bytes, is "strict" or "replace".
        """
    @property
    def full(self) -> bool:
        """Whether `max_chars` has been reached, so that further text would not count."""
    @property
    def n_chars(self) -> int:
        """Characters taken in so far (with `doc_cap` or `max_chars` only; 0 without)."""
    @property
    def n_bytes(self) -> int:
        """Bytes taken in so far, special tokens included."""
    def feed(self, texts: Iterable[str]) -> None:
        """Each string is a document (or several, between special tokens)."""
    def feed_files(self, paths: Sequence[str | PathLike[str]]) -> None:
        """Plain text files, UTF-8."""
    def feed_chunks(self, name: str, chunks: Iterable[bytes]) -> None:
        """One text file in pieces, cut anywhere; `name` is for error messages."""
    def finish(self) -> Counts: ...

@final
class Merges:
    """What training made: tokens by id (the 256 bytes, then one for each merge)."""

    def __len__(self) -> int:
        """Tokens, the 256 bytes included."""
    def tokens(self) -> list[bytes]: ...
    def merges(self) -> list[tuple[bytes, bytes]]: ...

def train(
    counts: Counts,
    vocab_size: int,
    tie_break: str = "lexicographic",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    num_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Merges:
    """`vocab_size` includes the special tokens of `counts`.

    `progress` is called with merges done and merges asked for, a few times a second.
    """

def pat_str(name_or_regex: str) -> str:
    """The regex of a named pattern; any other valid regex unchanged. ValueError otherwise."""

@final
class Encoder:
    """A vocabulary that encodes and decodes."""

    def __new__(
        cls,
        mergeable_ranks: dict[bytes, int],
        special_tokens: dict[str, int],
        pattern: str,
    ) -> Encoder: ...
    def encode(self, text: str, allowed_special: Sequence[str]) -> list[int]:
        """Occurrences of the allowed special tokens become their ids, longest first."""
    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """KeyError for an id that is no token."""
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pair each token was merged from, by rank.

        ValueError if a token is no merge of two tokens of lower rank.
        """
