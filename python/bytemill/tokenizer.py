"""`Tokenizer`: a vocabulary with its split pattern and special tokens."""

import functools
import hashlib
import itertools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from bytemill import _core, exports, huggingface, patterns, storage
from bytemill._types import TieBreak

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tiktoken

    from bytemill.data.documents import Progress
    from bytemill.data.inputs import Paths
    from bytemill.data.shards import Dtype, Manifest

StrPath = str | os.PathLike[str]


class Tokenizer:
    """A byte-level BPE vocabulary that encodes text as tiktoken does.

    A pretoken that is a token is that token. Otherwise it starts as single bytes, and of all
    adjacent pairs whose joined bytes are a token, the one of lowest rank is joined, the leftmost of
    equals, until none is left. A token's rank is its id. Immutable: do not change the dicts and
    lists it hands out.

    Args:
        mergeable_ranks: Tokens with their ids, all 256 single bytes among them. Ids may have holes.
        special_tokens: Special tokens with their ids. Two may share an id, as in tiktoken's
            o200k_harmony; it decodes to the first of them.
        pattern: A named pattern ("gpt2", "cl100k", "o200k", "nanochat") or a regex in the syntax of
            the fancy-regex crate.
        name: A name for people; it decides nothing.

    Raises:
        TypeError: For a token that is not bytes, a special token that is no str, an id that is no
            int.
        ValueError: For a missing byte, an id used twice, an empty special token, a broken pattern.
    """

    def __init__(
        self,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int] | None = None,
        *,
        pattern: str = "gpt2",
        name: str = "bytemill",
    ) -> None:
        ranks, special = dict(mergeable_ranks), dict(special_tokens or {})
        _check_ranks(ranks)
        _check_special(special, set(ranks.values()))
        self._setup(special, patterns.canonical(pattern), name)
        self.__dict__["mergeable_ranks"] = ranks

    def _setup(self, special: dict[str, int], pat_str: str, name: str) -> None:
        self._special, self._pat_str, self._name = special, pat_str, name

    @classmethod
    def _from_merges(
        cls, merges: _core.Merges, special_tokens: Sequence[str], pat_str: str
    ) -> "Tokenizer":
        """What training made; its tables are built when first asked for."""
        special = {text: len(merges) + i for i, text in enumerate(special_tokens)}
        if len(special) != len(special_tokens):
            raise ValueError(f"special_tokens={list(special_tokens)!r}: one is given twice")
        _check_special(special, set())
        tokenizer = cls.__new__(cls)
        tokenizer._setup(special, patterns.canonical(pat_str), "bytemill")
        tokenizer._trained = merges
        return tokenizer

    _trained: _core.Merges | None = None

    @classmethod
    def train(
        cls,
        input: StrPath | Sequence[StrPath] | Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        *,
        pattern: str = "gpt2",
        tie_break: TieBreak = "lexicographic",
        **options: Any,
    ) -> "Tokenizer":
        """Trains on files or texts: a shortcut for `BpeTrainer`.

        Args:
            input: A path, or a list or tuple whose first item is an `os.PathLike`, is read as
                files; any other iterable of str is taken as texts. For paths given as several str
                use `BpeTrainer.feed_files`.
            vocab_size: The largest size of the vocabulary, special tokens included.
            special_tokens: They separate documents in the text, and get the last ids.
            pattern: As in the class.
            tie_break: Which of several most frequent pairs is merged; see `BpeTrainer`.
            **options: Further arguments of `BpeTrainer`.

        Raises:
            ValueError: For arguments out of range; further as `BpeTrainer`.
        """
        from bytemill.bpe_trainer import BpeTrainer

        trainer = BpeTrainer(
            pattern=pattern, special_tokens=special_tokens, tie_break=tie_break, **options
        )
        if isinstance(input, (str, os.PathLike)):
            trainer.feed_files([input])
        elif isinstance(input, (list, tuple)) and input and isinstance(input[0], os.PathLike):
            trainer.feed_files(input)
        else:
            trainer.feed(cast("Iterable[str]", input))
        return trainer._train(vocab_size, None, stacklevel=3)  # so that a warning names the caller

    # What it is made of

    @property
    def name(self) -> str:
        """A name for people; it decides nothing."""
        return self._name

    @property
    def pat_str(self) -> str:
        """The split pattern's regex."""
        return self._pat_str

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens with their ids, in the order given."""
        return self._special

    @functools.cached_property
    def mergeable_ranks(self) -> dict[bytes, int]:
        """The ordinary tokens with their ids."""
        tokens = () if self._trained is None else self._trained.tokens()
        return {token: id_ for id_, token in enumerate(tokens)}

    @functools.cached_property
    def vocab(self) -> dict[int, bytes]:
        """All tokens by id, in the order of ids; special tokens as their UTF-8."""
        by_id = {id_: text.encode() for text, id_ in reversed(self._special.items())}
        by_id.update((id_, token) for token, id_ in self.mergeable_ranks.items())
        return dict(sorted(by_id.items()))

    @functools.cached_property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pair each token longer than a byte is joined from, in the order of ids.

        There is one pair for each token, and no other pair of tokens with the same joined bytes is
        ever adjacent in an encoding: as nothing has been joined across the ends of those bytes
        before, what has happened between them is what happens to them alone.

        Raises:
            ValueError: If a token is no join of two tokens with lower ids, naming it.
        """
        if self._trained is not None:
            return self._trained.merges()
        return self._encoder.merges()

    @functools.cached_property
    def n_vocab(self) -> int:
        """The highest id plus one, as in tiktoken; ids with holes have fewer tokens than that."""
        if self._trained is not None:
            return len(self._trained) + len(self._special)
        return max(max(self.mergeable_ranks.values()), max(self._special.values(), default=0)) + 1

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides ids: pattern, tokens, special tokens, their ids.

        Named patterns count by what they match: known texts of one pattern give one fingerprint.
        """
        digest = hashlib.sha256(b"bytemill tokenizer 1\n")
        ranks = sorted((id_, token) for token, id_ in self.mergeable_ranks.items())
        special = sorted((id_, text.encode()) for text, id_ in self._special.items())
        pattern = self._pat_str.encode()
        digest.update(b"%d %d %d\n%b" % (len(pattern), len(ranks), len(special), pattern))
        digest.update(b"".join(b"%d %d\n%b" % (i, len(t), t) for i, t in [*ranks, *special]))
        return digest.hexdigest()

    def token_bytes(self) -> list[int]:
        """Bytes for each id, length `n_vocab`: 0 for special tokens and for holes."""
        lengths = [0] * self.n_vocab
        for token, id_ in self.mergeable_ranks.items():
            lengths[id_] = len(token)
        return lengths

    def truncated(self, vocab_size: int) -> "Tokenizer":
        """The vocabulary that training at the smaller size `vocab_size` would have given.

        The tokens of lowest rank are kept, and the special tokens follow them directly.

        Args:
            vocab_size: Tokens to keep, special tokens included.

        Raises:
            ValueError: If that is more tokens than there are, or less than the 256 bytes and the
                special tokens.
        """
        n_special, n_ranks = len(self._special), len(self.mergeable_ranks)
        if not 256 + n_special <= vocab_size <= n_ranks + n_special:
            raise ValueError(
                f"vocab_size={vocab_size}: this vocabulary can be cut to {256 + n_special} (bytes "
                f"and special tokens) up to {n_ranks + n_special} (all it has)"
            )
        by_rank = sorted(self.mergeable_ranks.items(), key=lambda item: item[1])
        kept = dict(by_rank[: vocab_size - n_special])
        after = max(kept.values()) + 1
        special = {text: after + i for i, text in enumerate(self._special)}
        return Tokenizer(kept, special, pattern=self._pat_str, name=self._name)

    def _splits(self) -> dict[bytes, tuple[bytes, bytes] | None]:
        """For each token longer than a byte, by id, the pair it is joined from, or None if it never
        is.

        Unlike `merges` it also finds pairs with a part of higher id, which training cannot give.
        """
        ranks = self.mergeable_ranks
        tokens = [token for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]
        try:
            return dict(zip(tokens, self.merges, strict=True))
        except ValueError:
            return {token: _split(token, ranks) for token in tokens}

    # Text and ids

    @functools.cached_property
    def _encoder(self) -> _core.Encoder:
        return _core.Encoder(self.mergeable_ranks, self._special, self._pat_str)

    def encode(
        self, text: str, allowed_special: Literal["all"] | Collection[str] = "all"
    ) -> list[int]:
        """The ids of `text`.

        Args:
            text: Surrogates that pair up are one character; others become U+FFFD, as in tiktoken.
            allowed_special: Special tokens that become their ids where `text` holds them, the
                longest of several at one place; others are text like any other.

        Raises:
            TypeError: If `text` is no str, or `allowed_special` a str other than "all".
            ValueError: If a custom pattern backtracks too far.
        """
        if allowed_special == "all":
            return self._encoder.encode(text, list(self._special))
        if isinstance(allowed_special, str):
            raise TypeError(
                f'allowed_special={allowed_special!r}: expected "all" or a set of special tokens'
            )
        return self._encoder.encode(text, [t for t in self._special if t in allowed_special])

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text` with special tokens in it as text like any other."""
        return self._encoder.encode_ordinary(text)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`, joined.

        Raises:
            KeyError: For an id that is no token.
        """
        return self._encoder.decode_bytes(ids)

    def decode(self, ids: Sequence[int], errors: str = "replace") -> str:
        """The text of `ids`; bytes that are not UTF-8 are treated as `bytes.decode` does by
        `errors`.

        Raises:
            KeyError: For an id that is no token.
            UnicodeDecodeError: For bytes that are not UTF-8, with errors="strict".
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    # Corpora

    def encode_files(
        self,
        paths: "Paths",
        out_dir: StrPath,
        *,
        separator: str | None = None,
        separator_at: Literal["start", "end"] = "end",
        shard_tokens: int = 100_000_000,
        validation_fraction: float = 0.0,
        dtype: "Dtype | None" = None,
        text_column: str = "text",
        errors: str = "strict",
        num_threads: int | None = None,
        progress: "Progress | None" = None,
    ) -> "Manifest":
        """Encodes files to token shards in `out_dir`, in a run that can be taken up again after a
        crash; see `bytemill.data.encode_files.encode_files`, and `bytemill.data.open_shards`."""
        from bytemill.data.encode_files import encode_files

        return encode_files(
            self,
            paths,
            out_dir,
            separator=separator,
            separator_at=separator_at,
            shard_tokens=shard_tokens,
            validation_fraction=validation_fraction,
            dtype=dtype,
            text_column=text_column,
            errors=errors,
            num_threads=num_threads,
            progress=progress,
        )

    def encode_files_to_numpy(
        self,
        paths: "Paths",
        *,
        separator: str | None = None,
        separator_at: Literal["start", "end"] = "end",
        dtype: "Dtype | None" = None,
        text_column: str = "text",
        errors: str = "strict",
        num_threads: int | None = None,
        progress: "Progress | None" = None,
    ) -> "tuple[npt.NDArray[np.unsignedinteger[Any]], npt.NDArray[np.uint64]]":
        """The ids of files' documents and where each begins (and the last ends); see
        `bytemill.data.encode_files.encode_files_to_numpy`."""
        from bytemill.data.encode_files import encode_files_to_numpy

        return encode_files_to_numpy(
            self,
            paths,
            separator=separator,
            separator_at=separator_at,
            dtype=dtype,
            text_column=text_column,
            errors=errors,
            num_threads=num_threads,
            progress=progress,
        )

    def __repr__(self) -> str:
        return (
            f"Tokenizer(name={self._name!r}, n_vocab={self.n_vocab}, "
            f"pattern={patterns.name_of(self._pat_str) or self._pat_str!r}, "
            f"special_tokens={len(self._special)})"
        )

    # Files and other libraries

    def save(self, dir: StrPath) -> None:
        """Writes the folder `dir`: see `bytemill.storage` for the files and what a crash can do."""
        storage.save(self, dir)

    @classmethod
    def load(cls, dir: StrPath) -> "Tokenizer":
        """Reads a folder that `save` wrote; ValueError if it is damaged."""
        return storage.load(dir)

    @classmethod
    def from_files(
        cls,
        vocab_filepath: StrPath,
        merges_filepath: StrPath,
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> "Tokenizer":
        """Reads GPT-2's vocab.json and merges.txt; see `bytemill.storage.from_files`."""
        return storage.from_files(vocab_filepath, merges_filepath, special_tokens, pattern)

    @classmethod
    def from_tiktoken(
        cls,
        source: "StrPath | tiktoken.Encoding",
        *,
        pattern: str | None = None,
        special_tokens: Mapping[str, int] | None = None,
    ) -> "Tokenizer":
        """Takes over a tiktoken encoding or file; see `bytemill.exports.from_tiktoken`."""
        return exports.from_tiktoken(source, pattern, special_tokens)

    def to_tiktoken(self, name: str) -> "tiktoken.Encoding":
        """This vocabulary as a tiktoken encoding, checked; see `bytemill.exports.to_tiktoken`."""
        return exports.to_tiktoken(self, name)

    @classmethod
    def from_huggingface(cls, path: StrPath) -> "Tokenizer":
        """Reads a byte-level BPE tokenizer.json; see `bytemill.huggingface.read`."""
        return huggingface.read(path)

    def to_huggingface(self, path: StrPath) -> None:
        """Writes a tokenizer.json, checked; see `bytemill.huggingface.write`."""
        huggingface.write(self, path)


def _check_ranks(ranks: dict[bytes, int]) -> None:
    for token, id_ in ranks.items():
        if not isinstance(token, bytes) or not token:
            kind = ValueError if token == b"" else TypeError
            raise kind(f"mergeable_ranks: {token!r} is no token; expected non-empty bytes")
        _check_id("mergeable_ranks", token, id_)
    missing = [b for b in range(256) if bytes([b]) not in ranks]
    if missing:
        raise ValueError(
            f"mergeable_ranks: {len(missing)} single bytes are missing, the first "
            f"0x{missing[0]:02x}; a byte-level vocabulary holds all 256"
        )
    if len(set(ranks.values())) < len(ranks):
        seen: dict[int, bytes] = {}
        for token, id_ in ranks.items():
            if id_ in seen:
                raise ValueError(f"mergeable_ranks: {seen[id_]!r} and {token!r} both have id {id_}")
            seen[id_] = token


def _check_special(special: dict[str, int], taken: set[int]) -> None:
    for text, id_ in special.items():
        if not isinstance(text, str):
            raise TypeError(f"special_tokens: {text!r} is no str")
        if not text:
            raise ValueError("special_tokens: '' is empty; a special token needs a character")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError(f"special_tokens: {text!r} holds a surrogate, which has no UTF-8")
        _check_id("special_tokens", text, id_)
        if id_ in taken:
            raise ValueError(f"special_tokens: the id {id_} of {text!r} is taken by another token")


def _check_id(argument: str, token: object, id_: object) -> None:
    if not isinstance(id_, int) or isinstance(id_, bool):
        raise TypeError(f"{argument}: the id of {token!r} is {id_!r}; expected an int")
    if not 0 <= id_ < 2**32 - 1:
        raise ValueError(f"{argument}: the id of {token!r} is {id_}; expected 0 to 2**32 - 2")


def _split(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts that the rule of the class leaves before it makes `token`, if it does."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(a + b, -1) for a, b in itertools.pairwise(parts)]
        possible = [rank for rank in joined if rank >= 0]
        if not possible:
            return None
        i = joined.index(min(possible))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]
