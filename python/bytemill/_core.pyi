"""The Rust core. Private: use the classes of `bytemill` instead."""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import final

from bytemill._types import Ids

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
    @property
    def held_out(self) -> float:
        """The share of documents that were left out: those whose text's CRC-32, divided by 2**32,
        is less."""
    def __len__(self) -> int:
        """Distinct pretokens."""
    def items(self) -> list[tuple[bytes, int]]:
        """Pretokens with their counts, most frequent first, then by bytes."""
    @staticmethod
    def from_items(
        pattern: str,
        special_tokens: Sequence[str],
        items: Iterable[tuple[bytes, int]],
        held_out: float = 0.0,
    ) -> Counts: ...
    def with_held_out(self, share: float) -> Counts:
        """A copy that says so of itself. ValueError unless `share` is from 0 to below 1."""
    def save(self, path: str | PathLike[str]) -> None: ...
    @staticmethod
    def load(path: str | PathLike[str]) -> Counts: ...
    def to_bytes(self) -> bytes:
        """For another process, which may have another bytemill of this version; files are better
        saved, as equal counts can come to other bytes."""
    @staticmethod
    def from_bytes(data: bytes) -> Counts:
        """What `to_bytes` made. ValueError if it is damaged, or something else."""
    def __reduce__(self) -> tuple[Callable[[bytes], Counts], tuple[bytes]]: ...
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
    superwords: tuple[str, int] | None = None,
) -> Merges:
    """`vocab_size` includes the special tokens of `counts`.

    With `superwords`, `counts` are of spans: up to the size given there merges are learned within
    the pretokens that its pattern cuts spans into, from there on across them.

    `progress` is called with merges done and merges asked for, a few times a second.
    """

def named_patterns() -> list[tuple[str, str, list[str]]]:
    """All named patterns: their names, regexes, and other regexes that split alike."""

def pat_str(name_or_regex: str) -> str:
    """The regex of a named pattern; any other valid regex unchanged. ValueError otherwise."""

def span_pattern(name_or_regex: str) -> str | None:
    """The regex of a named pattern's spans; None for any other pattern."""

def has_scanner(pattern: str) -> bool:
    """Whether a pattern, given by its regex, has a scanner of its own."""

@final
class Ranks:
    """The tokens of a file with their ids, which are their ranks."""

    highest: int
    """The highest id."""

    @staticmethod
    def read(file: bytes) -> Ranks | None:
        """None if the file is not written as usual, or is not a vocabulary: read it slowly then."""
    def __len__(self) -> int: ...
    def __contains__(self, id_: object) -> bool:
        """Whether it is an id."""
    def get(self, token: bytes) -> int | None:
        """The id of a token."""
    def tokens(self) -> dict[bytes, int]:
        """All of them, by id."""
    def listing(self) -> bytes:
        """ "id length", a newline and the bytes of each token, by id."""

@final
class TokenizerJson:
    """A tokenizer.json whose tokens and merges have been read."""

    rest: bytes
    """The file with an empty object as `model.vocab` and an empty list as `model.merges`: JSON
    if and only if the file is."""

    @staticmethod
    def read(file: bytes) -> TokenizerJson | None:
        """None if the file is not written as usual: read it slowly then."""
    def __len__(self) -> int:
        """How many entries `model.vocab` has."""
    def ranks(self, added: dict[str, int], whole_tokens: bool) -> tuple[Ranks, list[str]] | None:
        """The entries of `model.vocab` but for the added tokens, and which of these are among them.

        None unless the merges are what the ids say, and no merge has to do with an added token.
        With `whole_tokens` no merge need make a token.
        """

@final
class SpecialSet:
    """Special tokens to look for, the longest of several at one place."""

    def __new__(cls, tokens: Sequence[str]) -> SpecialSet: ...
    def find(self, text: str) -> str | None:
        """The first of them in `text`."""

@final
class Encoder:
    """A vocabulary that encodes.

    `allowed` are the special tokens that become their ids (all of the vocabulary's by default).
    `width` is the size of an id in an array, 2 or 4 bytes, in native order. ValueError if a custom
    pattern backtracks too far.
    """

    def __new__(
        cls,
        mergeable_ranks: dict[bytes, int] | Ranks,
        special_tokens: dict[str, int],
        pattern: str,
        shape: str | None = None,
    ) -> Encoder: ...
    def special_set(self, tokens: Sequence[str]) -> SpecialSet:
        """Special tokens to allow, with the added tokens that are looked for always."""
    def splits(self) -> list[tuple[bytes, bytes] | None] | None:
        """For each token longer than a byte, by rank, the pair that merging makes it from; None if
        there is no table of it."""
    @property
    def decoder(self) -> Decoder: ...
    def encode(self, text: str, allowed: SpecialSet | None = None) -> list[int]: ...
    def encode_ordinary(self, text: str) -> list[int]: ...
    def encode_to_array(
        self, text: str, width: int, allowed: SpecialSet | None = None
    ) -> bytearray: ...
    def count(self, text: str, allowed: SpecialSet | None = None) -> int: ...
    def encode_batch(
        self,
        texts: list[str],
        num_threads: int | None = None,
        allowed: SpecialSet | None = None,
    ) -> list[list[int]]: ...
    def encode_batch_to_arrays(
        self,
        texts: list[str],
        width: int,
        num_threads: int | None = None,
        allowed: SpecialSet | None = None,
    ) -> tuple[bytearray, bytearray]:
        """Ids, and where each text's begin (and the last's end), as 64-bit integers."""
    def count_batch(
        self,
        texts: list[str],
        num_threads: int | None = None,
        allowed: SpecialSet | None = None,
    ) -> list[int]: ...
    def encode_with_offsets(
        self, text: str, allowed: SpecialSet | None = None
    ) -> tuple[list[int], list[tuple[int, int]]]: ...
    def truncate(self, text: str, max_tokens: int, allowed: SpecialSet | None = None) -> int:
        """How many characters of `text` to keep."""
    def stream(self, allowed: SpecialSet | None = None) -> StreamEncoder: ...
    def stream_decoder(self, errors: str) -> StreamDecoder: ...
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pair each token was merged from, by rank.

        ValueError if a token is not a merge of two tokens of lower rank.
        """

@final
class Decoder:
    """The bytes of all tokens, by id.

    Ids are a list or tuple, anything with the buffer protocol or a method `tolist`, or another
    iterable. KeyError with the first that is not a token, TypeError for what is not an int.
    """

    def decode(self, ids: Ids, errors: str = "replace") -> str: ...
    def decode_bytes(self, ids: Ids) -> bytes: ...
    def decode_batch(self, batch: Iterable[Ids], errors: str = "replace") -> list[str]: ...
    def decode_tokens_bytes(self, ids: Ids) -> list[bytes]: ...
    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[int]]: ...
    def decode_single_token_bytes(self, id: int) -> bytes: ...

@final
class StreamEncoder:
    """Text in pieces -> ids that can no longer change.

    The ids are those of the joined text, surrogates that two pieces share included.
    """

    def push(self, text: str) -> list[int]: ...
    def finish(self) -> list[int]:
        """The ids that are left. The next piece begins a new text."""

@final
class StreamDecoder:
    """Ids in pieces -> text that can no longer change; made by `Tokenizer.stream_decoder`.

    What is held back is at most the beginning of one character.
    """

    def push(self, ids: int | Ids) -> str:
        """Takes the next id, or several; the text that is certain now.

        Raises:
            KeyError: With the first id that is not a token; nothing has been taken then.
            TypeError: For what is not an int.
            UnicodeDecodeError: For bytes that are not UTF-8, with errors="strict"; nothing has been
                taken then.
        """
    def finish(self) -> str:
        """The text that is left: U+FFFD if the ids end inside a character, else nothing.

        The decoder can then be used for the next text.

        Raises:
            UnicodeDecodeError: If they end inside a character, with errors="strict".
        """

def encode_corpus(
    encoder: Encoder,
    sources: Iterable[tuple[str, str, object]],
    dtype: str,
    separator: int | None = None,
    separator_first: bool = False,
    num_threads: int | None = None,
    errors: str = "strict",
    progress: Callable[[int], None] | None = None,
    expected_bytes: int = 0,
) -> tuple[bytearray, bytearray, int]:
    """Encodes documents, which the encoder's special tokens separate; empty ones are left out.

    `sources` yields (kind, name for messages, content): a "file" with its path, a "range" with a
    path, its first byte and the one behind its last, "chunks" with an iterable of the bytes of one
    text, "texts" with an iterable of str. `progress` is called with the bytes taken in of the
    source that is being read, a few times a second. Space for the ids of `expected_bytes` of text
    is reserved beforehand.

    Returns ids (`dtype` is "uint16" or "uint32"; little endian), where each document's end
    (uint64, native), and the bytes of text.
    """

def encode_shards(
    encoder: Encoder,
    sources: Iterable[tuple[str, str, object]],
    dir: str,
    dtype: str,
    shard_tokens: int,
    store: Callable[[str], None],
    validation_fraction: float = 0.0,
    checkpoint: str | None = None,
    separator: int | None = None,
    separator_first: bool = False,
    num_threads: int | None = None,
    errors: str = "strict",
    progress: Callable[[int], None] | None = None,
    sizes: bool = False,
) -> str:
    """As `encode_corpus`, to shards in the folder `dir`; returns the last checkpoint.

    With `sizes` there is a third file of each, `train-0000n.sizes.npy`: `uint64`, each document's
    bytes of text.

    `store` must write a checkpoint (JSON) to disk. `checkpoint` is one that was stored: `sources`
    must then begin with the source that it names, by "source", which counts from 1.
    """
