"""GPT-2's two files, vocab.json and merges.txt, in and out."""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bytemill import files, patterns
from bytemill._arguments import check_special_tokens
from bytemill.formats import huggingface, selfcheck
from bytemill.formats.byte_alphabet import from_text, parse_merge, parse_ranks, shown, to_text
from bytemill.vocabulary import Pair, Vocabulary, check_merges, number_special_tokens

StrPath = str | os.PathLike[str]

# Some readers skip the first line, whatever it holds, others all lines that begin so.
_HEADER = "#version: 0.2"
# What readers cut text by if nothing else is said.
_PATTERN = "gpt2"


def read(
    vocab_path: StrPath, merges_path: StrPath, special_tokens: Sequence[str] | None, pattern: str
) -> Vocabulary:
    """Reads a vocabulary in the two files of GPT-2's release.

    Args:
        vocab_path: vocab.json: tokens in GPT-2's byte alphabet with their ids.
        merges_path: merges.txt: a merge "left right" a line, in order, perhaps after a "#version"
            line.
        special_tokens: Those in vocab.json have their id there, others get the next free ones. None
            takes every entry of vocab.json that is not a byte and that no merge makes as special.
        pattern: As in `Tokenizer`; the files do not say it.

    Raises:
        OSError: If a file cannot be read.
        TypeError: If `special_tokens` is a str, or holds anything else; for what is not a path.
        ValueError: For an empty path; if a file is damaged; if a merge's tokens are not in the
            vocabulary; if ids do not follow the order of the merges, since ids decide which merge
            goes first here.
    """
    if special_tokens is not None:
        special_tokens = check_special_tokens(special_tokens)
    vocab_path = files.named("vocab_filepath", vocab_path)
    merges_path = files.named("merges_filepath", merges_path)
    pattern = patterns.canonical(pattern)
    source = os.fspath(vocab_path)
    vocab = files.read_json_object(vocab_path)
    merges = _read_merges(merges_path)
    if special_tokens is None:
        made = {left + right for left, right in merges}
        tokens = ((text, from_text(text)) for text in vocab)
        special_tokens = [t for t, b in tokens if not b or (len(b) > 1 and b not in made)]
    known = {text: vocab[text] for text in special_tokens if text in vocab}
    ranks = parse_ranks(vocab, known, source)
    special = number_special_tokens(special_tokens, known, ranks)
    try:
        vocabulary = Vocabulary(ranks, special, pattern=pattern)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    check_merges(vocabulary, merges, os.fspath(merges_path), show=shown)
    return vocabulary


def _read_merges(path: StrPath) -> list[Pair]:
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid UTF-8: {error}") from error
    return [
        parse_merge(line.rstrip("\r"), f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not (number == 1 and line.startswith("#version"))
    ]


def write(vocabulary: Vocabulary, vocab_path: StrPath, merges_path: StrPath) -> None:
    """Writes the two files of GPT-2's release, special tokens in vocab.json among the others.

    The files hold neither the split pattern nor which tokens are special: a reader has to be told,
    unless it is GPT-2's pattern and no entry that merges do not make is ordinary. Where
    `tokenizers` is installed it reads the files first, with the pattern and the special tokens, and
    encodes a sample; elsewhere they are written unchecked, with a warning. A pattern other than
    GPT-2's gets a warning that says what to pass to `read`. Each file replaces what was there in
    one step, the vocabulary first.

    Args:
        vocabulary: What to write.
        vocab_path: Where vocab.json goes.
        merges_path: Where merges.txt goes.

    Raises:
        OSError: If a file cannot be written.
        ValueError: If the vocabulary cannot be expressed: a token that no merge makes, or a special
            token that reads like an ordinary one; if `tokenizers` would give other ids; if both
            paths are the same. Nothing is written then.
    """
    if files.named("vocab_filepath", vocab_path) == files.named("merges_filepath", merges_path):
        raise ValueError(f"{merges_path}: the merges need another file than the vocabulary")
    selfcheck.refuse_shape(vocabulary, "vocab.json and merges.txt")
    vocab, merges = _entries(vocabulary)
    lines = [_HEADER, *(f"{to_text(left)} {to_text(right)}" for left, right in merges)]
    contents = {
        "vocab.json": json.dumps(vocab, ensure_ascii=False).encode(),
        "merges.txt": ("\n".join(lines) + "\n").encode(),
    }
    library = selfcheck.tokenizers_or_warning(f"{vocab_path} and {merges_path}", "write")
    if library is not None:
        # The pattern and the special tokens as in a tokenizer.json; the model from the two files.
        whole = huggingface.document(vocabulary, vocab, merges)
        other = huggingface.parse(json.dumps(whole), library)
        other.model = _read_by(library, contents)
        huggingface.check(vocabulary, other)
    files.write_bytes(vocab_path, contents["vocab.json"])
    files.write_bytes(merges_path, contents["merges.txt"])
    if patterns.name_of(vocabulary.pat_str) != _PATTERN:
        pattern = patterns.name_of(vocabulary.pat_str) or vocabulary.pat_str
        warnings.warn(
            f"{vocab_path} and {merges_path} do not say the split pattern, and readers take "
            f"GPT-2's: pass pattern={pattern!r} to from_files, or write a tokenizer.json "
            "(to_huggingface), which says it",
            UserWarning,
            stacklevel=3,
        )


def _entries(vocabulary: Vocabulary) -> tuple[dict[str, int], list[Pair]]:
    vocab = {to_text(token): id_ for token, id_ in vocabulary.mergeable_ranks.items()}
    for text, id_ in vocabulary.special_tokens.items():
        if text in vocab:
            raise ValueError(
                f"the special token {text!r} cannot be told from the ordinary token "
                f"{from_text(text)!r} in vocab.json, which writes bytes as printable characters; "
                "rename it"
            )
        vocab[text] = id_
    merges = []
    for token, pair in vocabulary.splits().items():
        if pair is None:
            raise ValueError(
                f"no merge makes the token {token!r} (id {vocabulary.mergeable_ranks[token]}), so "
                "merges.txt cannot express it; tokenizer.json (to_huggingface) can"
            )
        merges.append(pair)
    return dict(sorted(vocab.items(), key=lambda item: item[1])), merges


def _read_by(library: Any, contents: dict[str, bytes]) -> Any:
    """The model that `tokenizers` reads from files of these contents."""
    import tempfile  # here, because it costs more to import than all of this module

    with tempfile.TemporaryDirectory() as folder:
        for name, data in contents.items():
            Path(folder, name).write_bytes(data)
        try:
            return library.models.BPE.from_file(*(str(Path(folder, name)) for name in contents))
        except MemoryError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"Hugging Face's tokenizers does not read it: {error}") from error
