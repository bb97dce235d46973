"""`Tokenizer`: encodes and decodes with a vocabulary, and reads and writes it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from bytemill import patterns
from bytemill._arguments import check_vocab_size
from bytemill._types import TieBreak
from bytemill.files import raising_memory_error
from bytemill.formats import folder, gpt2, hub, huggingface
from bytemill.formats import tiktoken as tiktoken_format
from bytemill.formats.transformers.doors import as_transformers
from bytemill.tokenizer.changing import Changing, files_in
from bytemill.tokenizer.tiktoken_surface import TiktokenSurface
from bytemill.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tiktoken
    from transformers import PreTrainedTokenizerFast

    from bytemill.data.documents import Progress
    from bytemill.data.inputs import Paths
    from bytemill.data.shards import Dtype, Manifest

StrPath = str | os.PathLike[str]


class Tokenizer(Changing):
    """A byte-level BPE tokenizer, which gives the ids that tiktoken gives.

    A pretoken that is a token is that token. Otherwise it starts as single bytes, and of all
    adjacent pairs whose joined bytes are a token, the one of lowest rank is joined, the leftmost of
    equals, until none is left. A token's rank is its id. Immutable: do not change the dicts and
    lists it hands out. Tokenizers with the same `fingerprint` are equal. The methods are in
    `bytemill.tokenizer.encoding` (for text) and `bytemill.tokenizer.decoding` (for ids). Its length
    is the number of tokens, and `in` asks whether a str, bytes or id is one.

    Made from tokens and merges, as `train_bpe` returns them, it encodes as applying the merges in
    their order does. From tokens and ranks, as tiktoken has them, it is made by `from_ranks`. What
    differs from tiktoken is the default for special tokens in a text: see
    `bytemill.tokenizer.encoding.Encoding`.

        vocab, merges = train_bpe("corpus.txt", 10_000, ["<|endoftext|>"])
        tokenizer = Tokenizer(vocab, merges, ["<|endoftext|>"])

    Args:
        vocab: Tokens by id, all 256 single bytes among them. Ids may have holes, and must follow
            the order of the merges.
        merges: Pairs of tokens, in the order in which they are applied. Each joins to a token, and
            each token that is longer than a byte and not special is joined by one of them.
        special_tokens: Those whose UTF-8 is in `vocab` have their id there, others get the next ids
            after the highest. None takes every entry of `vocab` that is longer than a byte and that
            no merge makes as special.
        pattern: A named pattern ("gpt2", "cl100k", "o200k", "nanochat") or a regex in the syntax of
            the fancy-regex crate.
        name: A name for people; it decides nothing.

    Raises:
        TypeError: For a token that is not bytes, an id that is not an int, a merge that is not a
            pair of bytes, a special token that is not a str.
        ValueError: For a missing byte, a token that comes twice, a merge that makes no token, a
            token that no merge makes, ids that do not follow the order of the merges, an empty or
            repeated special token, a broken pattern. The message names the value.
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[tuple[bytes, bytes]],
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
        name: str = "bytemill",
    ) -> None:
        self._vocabulary = Vocabulary.from_merges(
            vocab, merges, special_tokens, pattern=pattern, name=name
        )

    @classmethod
    def from_ranks(
        cls,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int] | None = None,
        *,
        pattern: str = "gpt2",
        name: str = "bytemill",
    ) -> "Tokenizer":
        """From tokens with their ranks, which are their ids, as tiktoken has them.

        Args:
            mergeable_ranks: Tokens with their ids, all 256 single bytes among them. Ids may have
                holes. No merge has to make a token: it is then found only as a whole pretoken.
            special_tokens: Special tokens with their ids. Two may share an id, as in tiktoken's
                o200k_harmony; it decodes to the first of them.
            pattern: As in the class.
            name: As in the class.

        Raises:
            TypeError: For a token that is not bytes, a special token that is not a str, an id that
                is not an int.
            ValueError: For a missing byte, an id used twice, an empty special token, a broken
                pattern.
        """
        return cls.from_vocabulary(
            Vocabulary(mergeable_ranks, special_tokens, pattern=pattern, name=name)
        )

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
                use `BpeTrainer.feed_files`: a list of nothing but existing paths is refused.
            vocab_size: The largest size of the vocabulary, special tokens included.
            special_tokens: They separate documents in the text, and get the last ids.
            pattern: As in the class.
            tie_break: Which of several most frequent pairs is merged; see `BpeTrainer`.
            **options: Further arguments of `BpeTrainer`.

        Raises:
            TypeError: For arguments of another type.
            ValueError: For arguments out of range; for a list of str that are all paths; further
                as `BpeTrainer`.
        """
        from bytemill.tokenizer.vocabulary_trainer import VocabularyTrainer

        trainer = VocabularyTrainer(
            pattern=pattern, special_tokens=special_tokens, tie_break=tie_break, **options
        )
        # Before the text is read, not after.
        check_vocab_size(vocab_size, trainer.special_tokens)
        if (files := files_in(input)) is not None:
            trainer.feed_files(files)
        else:
            trainer.feed(cast("Iterable[str]", input))
        return cls.from_vocabulary(trainer.train_vocabulary(vocab_size, stacklevel=3))

    # Corpora

    @raising_memory_error()
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
            self._vocabulary,
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

    @raising_memory_error()
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
            self._vocabulary,
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
            f"Tokenizer(name={self.name!r}, n_vocab={self.n_vocab}, "
            f"pattern={patterns.name_of(self.pat_str) or self.pat_str!r}, "
            f"special_tokens={len(self.special_tokens)})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self is other or self._vocabulary == other._vocabulary

    def __hash__(self) -> int:
        return hash(self._vocabulary)

    def __copy__(self) -> "Tokenizer":
        return self

    def __deepcopy__(self, memo: object) -> "Tokenizer":
        return self

    # A pickle holds the data of `save`, and is checked as `load` checks it.
    def __reduce__(self) -> tuple[Any, ...]:
        return _from_state, (folder.to_state(self._vocabulary),)

    # Files and other libraries

    @raising_memory_error()
    def save(self, dir: StrPath) -> None:
        """Writes the folder `dir`; `bytemill.formats.folder` says what a crash can do."""
        folder.save(self._vocabulary, dir)

    @classmethod
    @raising_memory_error()
    def load(cls, dir: StrPath) -> "Tokenizer":
        """Reads a folder that `save` wrote; ValueError if it is damaged."""
        return cls.from_vocabulary(folder.load(dir))

    @classmethod
    @raising_memory_error()
    def from_files(
        cls,
        vocab_filepath: StrPath,
        merges_filepath: StrPath,
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> "Tokenizer":
        """Reads GPT-2's vocab.json and merges.txt; see `bytemill.formats.gpt2.read`."""
        return cls.from_vocabulary(
            gpt2.read(vocab_filepath, merges_filepath, special_tokens, pattern)
        )

    def to_files(self, vocab_filepath: StrPath, merges_filepath: StrPath) -> None:
        """Writes GPT-2's vocab.json and merges.txt, checked; see `bytemill.formats.gpt2.write`."""
        # Not as a decorator, whose frame a warning would name instead of the caller's.
        with raising_memory_error():
            gpt2.write(self._vocabulary, vocab_filepath, merges_filepath)

    @classmethod
    def from_tiktoken(
        cls,
        source: "StrPath | tiktoken.Encoding",
        *,
        pattern: str | None = None,
        special_tokens: Mapping[str, int] | None = None,
    ) -> "Tokenizer":
        """Takes over a tiktoken encoding or file; see `bytemill.formats.tiktoken.from_tiktoken`."""
        with raising_memory_error():
            vocabulary = tiktoken_format.from_tiktoken(source, pattern, special_tokens)
        return cls.from_vocabulary(vocabulary)

    def to_tiktoken(self, name: str) -> "tiktoken.Encoding":
        """This vocabulary as a tiktoken encoding, checked; see `formats.tiktoken`."""
        with raising_memory_error():
            return tiktoken_format.to_tiktoken(self._vocabulary, name)

    def as_tiktoken(self) -> "tiktoken.Encoding":
        """A `tiktoken.Encoding` that this tokenizer does the work of; where tiktoken is not
        installed, an object with the same methods (`bytemill.tokenizer.tiktoken_surface`)."""
        try:
            with raising_memory_error():
                from bytemill.tokenizer.tiktoken_encoding import TiktokenEncoding
        except ModuleNotFoundError as error:
            if error.name != "tiktoken":
                raise
            return cast("tiktoken.Encoding", TiktokenSurface(self))
        return TiktokenEncoding(self)

    @classmethod
    def from_huggingface(cls, path: StrPath) -> "Tokenizer":
        """Reads a byte-level BPE tokenizer.json; see `bytemill.formats.huggingface.read`."""
        with raising_memory_error():
            return cls.from_vocabulary(huggingface.read(path))

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: StrPath,
        *,
        revision: str | None = None,
        download: bool = False,
    ) -> "Tokenizer":
        """Reads the tokenizer.json of a folder, or of a model on the Hugging Face hub: from its
        cache on this machine, or from the hub if `download`; see `bytemill.formats.hub.find`."""
        return cls.from_huggingface(hub.find(name_or_folder, revision=revision, download=download))

    def to_huggingface(self, path: StrPath) -> None:
        """Writes a tokenizer.json, checked; see `bytemill.formats.huggingface.write`."""
        with raising_memory_error():
            huggingface.write(self._vocabulary, path)

    def as_transformers(self, **options: Any) -> "PreTrainedTokenizerFast":
        """A fast tokenizer of transformers that encodes with this one.

        Args:
            **options: transformers' own: bos_token, eos_token, pad_token, model_max_length,
                padding_side, chat_template and so on; see
                `bytemill.formats.transformers.fast.BytemillTokenizerFast`.

        Raises:
            ImportError: transformers 5 or later is not installed.
            ValueError: The vocabulary cannot be written as a tokenizer.json.
        """
        return as_transformers(self._vocabulary, options)


def _from_state(state: dict[str, Any]) -> Tokenizer:
    """For pickles."""
    return Tokenizer.from_vocabulary(folder.from_state(state))
