"""How each library encodes, counts and decodes: one small class per library.

A class imports its library when made, in the worker process. Its methods prepare a call and return
it; one that the library lacks raises NotRun, which a table shows as the reason. All must give the
ids of tiktoken's `encode_ordinary`, documents apart from each other.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from benchmarks.documents import SEPARATOR
from benchmarks.job import NotRun

OWN = "own"


class Vocabulary(NamedTuple):
    """A vocabulary as every library can find it."""

    name: str
    """A name that tiktoken knows, or `OWN`."""
    folder: str
    """Holds NAME.tiktoken and NAME.json, a tokenizer.json."""
    pattern: str
    """The split pattern's regex."""

    def file(self, suffix: str) -> str:
        """The path of the file with this suffix."""
        return str(Path(self.folder, self.name + suffix))

    def ranks(self) -> dict[bytes, int]:
        """Tokens with their ids."""
        from base64 import b64decode

        lines = Path(self.file(".tiktoken")).read_bytes().split(b"\n")
        pairs = (line.split() for line in lines if line)
        return {b64decode(token): int(rank) for token, rank in pairs}


class Library:
    """A library that encodes."""

    distribution: ClassVar[str]
    """The package on PyPI."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        raise NotImplementedError

    def text(self) -> Callable[[str], list[int]]:
        """One text to a list of ids."""
        raise NotRun("has no call for one text")

    def batch(self, threads: int | None) -> Callable[[list[str]], Any]:
        """Texts to ids in the library's own fastest form."""
        raise NotRun("has no batch call")

    def files(self) -> Callable[[list[str]], Any]:
        """Files of documents to ids in memory."""
        raise NotRun("reads no files")

    def disk(self) -> Callable[[list[str], str], Any]:
        """Files of documents to token files in a folder."""
        raise NotRun("writes no files")

    def count(self, threads: int | None) -> Callable[[list[str]], Any]:
        """The number of tokens of each text."""
        raise NotRun("has no call that counts")

    def decode(self) -> Callable[[list[int]], Any]:
        """Ids to text (or bytes)."""
        raise NotRun("does not decode")


def _method(of: Any, name: str) -> Any:
    """A method, which may not be there yet."""
    try:
        return getattr(of, name)
    except AttributeError:
        raise NotRun(f"not there: {name}") from None


class Bytemill(Library):
    """bytemill."""

    distribution = "bytemill"

    def __init__(self, vocabulary: Vocabulary) -> None:
        from bytemill import Tokenizer

        path = Path(vocabulary.file(".tiktoken"))
        # It is what separates documents in files.
        special = {SEPARATOR: len(vocabulary.ranks())} if vocabulary.name == OWN else None
        self._tokenizer: Any = Tokenizer.from_tiktoken(
            path, pattern=vocabulary.pattern, special_tokens=special
        )

    def text(self) -> Any:
        """`encode_ordinary`."""
        return self._tokenizer.encode_ordinary

    def batch(self, threads: int | None) -> Any:
        """`encode_batch_to_numpy`."""
        return _method(self._tokenizer, "encode_batch_to_numpy")

    def files(self) -> Any:
        """`encode_files_to_numpy`."""
        return _method(self._tokenizer, "encode_files_to_numpy")

    def disk(self) -> Any:
        """`encode_files`."""
        return _method(self._tokenizer, "encode_files")

    def count(self, threads: int | None) -> Any:
        """`count_batch`."""
        return _method(self._tokenizer, "count_batch")

    def decode(self) -> Any:
        """`decode`."""
        return self._tokenizer.decode


class Tiktoken(Library):
    """tiktoken."""

    distribution = "tiktoken"

    def __init__(self, vocabulary: Vocabulary) -> None:
        import tiktoken

        self._encoding: Any = tiktoken.Encoding(
            vocabulary.name,
            pat_str=vocabulary.pattern,
            mergeable_ranks=vocabulary.ranks(),
            special_tokens={},
        )

    def text(self) -> Any:
        """`encode_ordinary`."""
        return self._encoding.encode_ordinary

    def batch(self, threads: int | None) -> Any:
        """`encode_ordinary_batch` with as many threads as cores."""
        n = threads or n_cores()
        return lambda texts: self._encoding.encode_ordinary_batch(texts, num_threads=n)

    def decode(self) -> Any:
        """`decode`."""
        return self._encoding.decode


class Tokenizers(Library):
    """Hugging Face's tokenizers."""

    distribution = "tokenizers"

    def __init__(self, vocabulary: Vocabulary) -> None:
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_file(vocabulary.file(".json"))

    def text(self) -> Any:
        """`encode`."""
        return lambda text: self._tokenizer.encode(text, add_special_tokens=False).ids

    def batch(self, threads: int | None) -> Any:
        """`encode_batch_fast`; threads from rayon."""
        call = self._tokenizer.encode_batch_fast
        return lambda texts: call(texts, add_special_tokens=False)

    def decode(self) -> Any:
        """`decode`."""
        return lambda ids: self._tokenizer.decode(ids, skip_special_tokens=False)


class Gigatoken(Library):
    """gigatoken; one text and decoding through its tiktoken interface."""

    distribution = "gigatoken"

    def __init__(self, vocabulary: Vocabulary) -> None:
        import gigatoken

        self._module: Any = gigatoken
        if vocabulary.name == OWN:
            # It names patterns by the text that it finds in a tokenizer.json.
            try:
                self._tokenizer: Any = gigatoken.Tokenizer(vocabulary.file(".json"))
            except RuntimeError as error:
                raise NotRun("knows listed patterns only") from error
        else:
            self._tokenizer = gigatoken.Tokenizer.from_tiktoken(vocabulary.file(".tiktoken"))

    def text(self) -> Any:
        """`as_tiktoken().encode_ordinary`."""
        return self._tokenizer.as_tiktoken().encode_ordinary

    def batch(self, threads: int | None) -> Any:
        """`encode_batch`; threads from rayon."""
        return self._tokenizer.encode_batch

    def files(self) -> Any:
        """`encode_files`; threads from rayon."""
        source = self._module.TextFileSource
        separator = SEPARATOR.encode()
        return lambda paths: self._tokenizer.encode_files(source(paths, separator=separator))

    def decode(self) -> Any:
        """`as_tiktoken().decode`."""
        return self._tokenizer.as_tiktoken().decode


def _listed(vocabulary: Vocabulary, names: Sequence[str]) -> None:
    if vocabulary.name not in names:
        raise NotRun(f"knows {', '.join(names)} only")


class Quicktok(Library):
    """quicktok."""

    distribution = "quicktok-v1"

    def __init__(self, vocabulary: Vocabulary) -> None:
        import quicktok

        _listed(vocabulary, ("cl100k_base", "o200k_base"))
        self._encoding: Any = quicktok.get_encoding(vocabulary.name)

    def text(self) -> Any:
        """`encode_ordinary`."""
        return self._encoding.encode_ordinary

    def batch(self, threads: int | None) -> Any:
        """`encode_batch`, which gives ids and offsets."""
        return lambda texts: self._encoding.encode_batch(texts, threads or 0)

    def count(self, threads: int | None) -> Any:
        """`count_batch`."""
        import quicktok

        return lambda texts: quicktok.count_batch(self._encoding, texts, threads or 0)

    def decode(self) -> Any:
        """`decode`."""
        return self._encoding.decode


class Toktok(Library):
    """toktok: it counts."""

    distribution = "toktok-rs"

    def __init__(self, vocabulary: Vocabulary) -> None:
        import toktok

        _listed(vocabulary, ("cl100k_base", "o200k_base"))
        self._name = vocabulary.name
        self._module: Any = toktok
        toktok.batch_count(["a"], self._name)  # loads the vocabulary

    def count(self, threads: int | None) -> Any:
        """`batch_count`."""
        call = self._module.batch_count
        return lambda texts: call(texts, self._name, threads=threads or 0)


class RsBpe(Library):
    """rs_bpe."""

    distribution = "rs_bpe"

    def __init__(self, vocabulary: Vocabulary) -> None:
        from rs_bpe.bpe import openai

        _listed(vocabulary, ("cl100k_base", "o200k_base"))
        self._tokenizer: Any = getattr(openai, vocabulary.name)()
        self._options: Any = openai.ParallelOptions

    def text(self) -> Any:
        """`encode`."""
        return self._tokenizer.encode

    def batch(self, threads: int | None) -> Any:
        """`encode_batch_parallel`, whose result also tells times."""
        options = self._options(1, 16, threads or n_cores())  # smallest batch, chunk, threads
        return lambda texts: self._tokenizer.encode_batch_parallel(texts, options)[0]

    def decode(self) -> Any:
        """`decode`."""
        return self._tokenizer.decode


class Splintr(Library):
    """splintr; other vocabularies and patterns by its general constructor."""

    distribution = "splintr-rs"

    def __init__(self, vocabulary: Vocabulary) -> None:
        import splintr

        if vocabulary.name in ("cl100k_base", "o200k_base"):
            self._tokenizer: Any = splintr.Tokenizer.from_pretrained(vocabulary.name)
        else:
            data = Path(vocabulary.file(".tiktoken")).read_bytes()
            self._tokenizer = splintr.Tokenizer.from_bytes(data, vocabulary.pattern, {})

    def text(self) -> Any:
        """`encode_ordinary`."""
        return self._tokenizer.encode_ordinary

    def batch(self, threads: int | None) -> Any:
        """`encode_batch`; threads from rayon."""
        return self._tokenizer.encode_batch

    def decode(self) -> Any:
        """`decode`."""
        return self._tokenizer.decode


LIBRARIES: dict[str, type[Library]] = {
    "bytemill": Bytemill,
    "tiktoken": Tiktoken,
    "tokenizers": Tokenizers,
    "gigatoken": Gigatoken,
    "quicktok-v1": Quicktok,
    "toktok-rs": Toktok,
    "rs_bpe": RsBpe,
    "splintr-rs": Splintr,
}


def n_cores() -> int:
    """The cores that this process may use."""
    import os

    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def flat(result: Any) -> tuple[bytes, list[int]]:
    """A batch's ids as little-endian 32-bit numbers, and how many each document has.

    Takes what the libraries return: lists of ids, Encoding objects, (ids, offsets) as NumPy arrays,
    an awkward array.
    """
    if type(result).__module__.split(".")[0] == "awkward":
        import awkward

        ids = awkward.to_numpy(awkward.flatten(result, axis=1)).astype("<u4", copy=False)
        return ids.tobytes(), [int(n) for n in awkward.num(result, axis=1)]
    if isinstance(result, tuple):
        ids, offsets = result
        if ids.dtype.itemsize > 4 and len(ids) and not 0 <= ids.min() <= ids.max() < 2**32:
            raise ValueError("an id is out of 32 bits")
        return ids.astype("<u4").tobytes(), [int(n) for n in offsets[1:] - offsets[:-1]]
    lists = [item if isinstance(item, list) else item.ids for item in result]
    joined = array("I")
    for ids in lists:
        joined.extend(ids)
    return joined.tobytes(), [len(ids) for ids in lists]


def digest_of_counts(counts: Iterable[int]) -> str:
    """Tells two lists of counts apart; empty documents, which some libraries drop, left out."""
    return sha256(array("Q", (int(n) for n in counts if n)).tobytes()).hexdigest()


def digests(result: Any) -> dict[str, str]:
    """Of a batch's ids with their division, and of their numbers alone."""
    ids, counts = flat(result)
    by_count = digest_of_counts(counts)
    return {"ids": sha256(ids + by_count.encode()).hexdigest(), "counts": by_count}
