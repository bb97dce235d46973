"""tiktoken: encodings and .tiktoken files, in and out."""

import base64
import binascii
import hashlib
import importlib.util
import operator
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bytemill import _core, patterns
from bytemill._arguments import check_special_ids, check_str, shown
from bytemill.files import named, raising_memory_error
from bytemill.formats import regex_parser, regex_tree, selfcheck
from bytemill.formats.tokenizer_json.other_files import is_sentencepiece
from bytemill.vocabulary import Vocabulary

if TYPE_CHECKING:
    import tiktoken

# Files that OpenAI publishes, by stem: pattern and special tokens (the files hold neither).
PUBLISHED: Final[dict[str, tuple[str, dict[str, int]]]] = {
    "r50k_base": ("gpt2", {"<|endoftext|>": 50256}),
    "p50k_base": ("gpt2", {"<|endoftext|>": 50256}),
    "cl100k_base": (
        "cl100k",
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": ("o200k", {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}),
}

# SHA-256 of these files, as tiktoken (`tiktoken_ext.openai_public`) has them.
_SHA256: Final = {
    "r50k_base": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}


def ranks_to_bytes(ranks: dict[bytes, int]) -> bytes:
    """Tokens in tiktoken's format: a line "base64 id" for each, by id."""
    return _lines(sorted(ranks.items(), key=operator.itemgetter(1)))


def ranks_in_order(ranks: dict[bytes, int]) -> bytes:
    """As `ranks_to_bytes`, in the order given."""
    return _lines(ranks.items())


def _lines(tokens: Iterable[tuple[bytes, int]]) -> bytes:
    encoded = binascii.b2a_base64
    return b"".join([b"%b %d\n" % (encoded(token, newline=False), id_) for token, id_ in tokens])


def ranks_from_bytes(data: bytes, source: str) -> dict[bytes, int]:
    """Reads tiktoken's format.

    Raises:
        ValueError: For a line that is not "base64 id", or a token given twice, with its number.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            encoded, id_ = line.split()
            token = base64.b64decode(encoded, validate=True)
            rank = int(id_)
        except (ValueError, binascii.Error):
            beginning = line[:60]
            if not ranks and is_sentencepiece(data):
                raise ValueError(
                    f"{source}: it is a model of SentencePiece's, not a .tiktoken file. Let "
                    "transformers write it as tokenizer.json (AutoTokenizer.from_pretrained(folder)"
                    ".save_pretrained(folder)), which from_huggingface reads"
                ) from None
            raise ValueError(
                f"{source}, line {number}: {beginning!r} is not a base64 token and its id; "
                "the file is damaged or not a .tiktoken file"
            ) from None
        if token in ranks:
            raise ValueError(f"{source}, line {number}: the token {token!r} comes twice")
        ranks[token] = rank
    return ranks


def read_ranks(data: bytes, source: str) -> "dict[bytes, int] | _core.Ranks":
    """As `ranks_from_bytes`, for a `Vocabulary` without a shape, which takes either. The fast way
    takes a file only if nothing in it has to be refused."""
    return _core.Ranks.read(data) or ranks_from_bytes(data, source)


def from_tiktoken(
    source: "str | os.PathLike[str] | tiktoken.Encoding",
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> Vocabulary:
    """Takes over a tiktoken encoding.

    Args:
        source: An encoding's name as `tiktoken.get_encoding` knows it (tiktoken fetches it, or
            finds it in its cache), a `tiktoken.Encoding`, or the path of a .tiktoken file.
        pattern: Instead of the encoding's; needed for a file, unless it is named as one that OpenAI
            publishes (cl100k_base.tiktoken).
        special_tokens: Instead of the encoding's.

    Raises:
        ImportError: For a name, if tiktoken is not installed.
        OSError: For a file that cannot be read; for an encoding that is not in tiktoken's cache and
            cannot be fetched (ConnectionError), or that cannot be written there.
        TypeError: For what is neither, or special tokens that are not a dict.
        ValueError: For an unknown name, a damaged file, a file without a pattern.
    """
    if isinstance(source, os.PathLike) or (isinstance(source, str) and _is_path(source)):
        path = named("source", source)
        known, known_special = PUBLISHED.get(path.stem, (None, {}))
        chosen = known if pattern is None else pattern
        if chosen is None:
            raise ValueError(
                f"{path}: a .tiktoken file does not say its split pattern; pass pattern=, a name "
                f"({', '.join(patterns.NAMES)}) or a regex"
            )
        special = known_special if special_tokens is None else dict(special_tokens)
        ranks = read_ranks(path.read_bytes(), os.fspath(path))
        try:
            return Vocabulary(ranks, special, pattern=chosen, name=path.stem)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    check_special_ids(special_tokens)
    if isinstance(source, str) and (data := _cached(source)) is not None:
        known, known_special = PUBLISHED[source]
        return Vocabulary(
            read_ranks(data, source),
            known_special if special_tokens is None else special_tokens,
            pattern=known if pattern is None else pattern,
            name=source,
        )
    encoding: Any = _fetched(source) if isinstance(source, str) else source
    try:
        # Private in tiktoken, but what its own documentation says to extend an encoding with.
        ranks, special = encoding._mergeable_ranks, encoding._special_tokens
        text, name = encoding._pat_str, encoding.name
    except AttributeError:
        raise TypeError(
            f"source={shown(source)}: expected an encoding's name, a tiktoken.Encoding or a path"
        ) from None
    chosen_special = special if special_tokens is None else special_tokens
    return Vocabulary(
        ranks, chosen_special, pattern=text if pattern is None else pattern, name=name
    )


def _cached(name: str) -> bytes | None:
    """The file of a published encoding, if tiktoken is installed and would find it in its cache.

    tiktoken itself takes longer to read it than all the rest takes.
    """
    sha256 = _SHA256.get(name)
    if sha256 is None or importlib.util.find_spec("tiktoken") is None:
        return None
    file = _cache_file(name)
    try:
        data = None if file is None else file.read_bytes()
    except OSError:
        return None
    return data if data and hashlib.sha256(data).hexdigest() == sha256 else None


def _cache_file(name: str) -> Path | None:
    """Where the file of a published encoding is, if tiktoken has it in its cache."""
    folder = _cache_folder()
    if not folder or name not in _SHA256:
        return None
    address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    return Path(folder, hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest())


def _cache_folder() -> str:
    """Where tiktoken keeps what it has fetched; "" if nowhere."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    return str(Path(tempfile.gettempdir()) / "data-gym-cache") if folder is None else folder


def _fetched(name: str) -> Any:
    """The `tiktoken.Encoding` of a name."""
    module = _import(f"encoding {name!r}")
    known = module.list_encoding_names()
    if name not in known:
        raise ValueError(
            f"source={name!r}: tiktoken knows no encoding of this name; it knows {', '.join(known)}"
            f"{_of_model(module, name)}; a file is given by its path, which ends in .tiktoken or "
            "has a folder before its name"
        )
    file = _cache_file(name)
    damaged = file is not None and file.is_file()
    try:
        return module.get_encoding(name)
    except (OSError, ValueError) as error:
        folder = _cache_folder()
        place = f"tiktoken's cache ({folder})" if folder else "any cache"
        state = f"is damaged in {place}" if damaged else f"is not in {place}"
        said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]:.200}"
        # Of the network's errors, which are OSErrors, none names a file.
        if getattr(error, "filename", None) is not None:
            raise OSError(
                f"the encoding {name!r} {state}, and what was fetched could not be written there "
                f"({said}): set TIKTOKEN_CACHE_DIR to a folder that can be written to, or to "
                "nothing for no cache"
            ) from error
        raise ConnectionError(
            f"the encoding {name!r} {state}, and tiktoken could not fetch it ({said}). Where there "
            "is no network, set TIKTOKEN_CACHE_DIR to a copy of the cache of a machine that has "
            f"it, or pass from_tiktoken the path of {name}.tiktoken"
        ) from error


def _of_model(module: Any, name: str) -> str:
    try:
        return f"; {name!r} is a model of the encoding {module.encoding_name_for_model(name)!r}"
    except KeyError:
        return ""


def _is_path(source: str) -> bool:
    return source.endswith((".tiktoken", ".model")) or "/" in source or os.sep in source


def to_tiktoken(vocabulary: Vocabulary, name: str) -> "tiktoken.Encoding":
    """`vocabulary` as a tiktoken encoding that has been found to give equal ids for a sample of
    texts.

    tiktoken does not define which of two special tokens matches where one begins with the other;
    such a vocabulary is refused if tiktoken chooses the shorter.

    Args:
        vocabulary: What to hand over.
        name: The encoding's name.

    Raises:
        ImportError: If tiktoken is not installed.
        ValueError: If tiktoken would give other ids or fail, with the first text that shows it; if
            the pattern may match nothing, on which tiktoken panics.
    """
    check_str("name", name)
    selfcheck.refuse_shape(vocabulary, "a tiktoken encoding")
    module = _import("to_tiktoken")
    if _may_match_nothing(vocabulary.pat_str):
        raise ValueError(
            f"the pattern {vocabulary.pat_str!r} may match nothing, on which tiktoken panics; give "
            "the vocabulary one that always takes a character (+ for *)"
        )
    with selfcheck.panics_caught("tiktoken"):
        encoding: tiktoken.Encoding = module.Encoding(
            name,
            pat_str=vocabulary.pat_str,
            mergeable_ranks=vocabulary.mergeable_ranks,
            special_tokens=vocabulary.special_tokens,
        )
    selfcheck.check(
        vocabulary, lambda text: encoding.encode(text, allowed_special="all"), "tiktoken"
    )
    return encoding


def _may_match_nothing(pat_str: str) -> bool:
    """Whether it is known to; what the parser does not know, the sample has to show."""
    try:
        return regex_tree.may_be_empty(regex_parser.parse(pat_str, "fancy-regex"))
    except ValueError:
        return False


def _import(what: str) -> Any:
    try:
        with raising_memory_error():
            import tiktoken
    except ImportError as error:
        raise ImportError(f"{what} needs tiktoken: pip install tiktoken") from error
    return tiktoken
