"""Hugging Face's tokenizer.json, in and out.

Their BPE applies a list of merges in order; ours joins by the rank of the result. The two agree
when the list holds, for each token, the one pair that our rule joins to make it, by rank
(`Vocabulary.merges` says why there is only one); `ignore_merges` then makes a pretoken that is a
token that token, as ours does.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from bytemill import files, patterns
from bytemill.formats import oniguruma, selfcheck
from bytemill.formats.byte_alphabet import from_text, to_text
from bytemill.formats.tokenizer_json import content, other_files, quick
from bytemill.vocabulary import Pair, Vocabulary

StrPath = str | os.PathLike[str]

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def to_dict(vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of a tokenizer.json (for `tokenizers` 0.20 and later, which read merges as
    pairs).

    Raises:
        ValueError: If the vocabulary cannot be expressed: a special token that, as text in GPT-2's
            byte alphabet, is another token's, or that would have another id than it has here; a
            pattern with a construct that their regex engine lacks, or reads otherwise and that
            cannot be written in another way (it is named).
    """
    if vocabulary.shape is not None:
        return content.document(vocabulary)
    vocab = {to_text(token): id_ for token, id_ in vocabulary.mergeable_ranks.items()}
    special = sorted(vocabulary.special_tokens.items(), key=lambda item: item[1])
    # Added tokens that are not in the model's vocabulary are numbered from its size on, so those
    # with other ids must be in it. Text never reaches the model with such a token whole in it.
    in_order = [id_ for _, id_ in special] == list(range(len(vocab), len(vocab) + len(special)))
    for text, _ in special:
        read_as = from_text(text)
        if text in vocab or (not in_order and read_as is not None and read_as != text.encode()):
            raise ValueError(
                f"the special token {text!r} cannot be told from the ordinary token {read_as!r} "
                "in a tokenizer.json, which writes bytes as printable characters; rename it"
            )
    if not in_order:
        vocab.update(special)
    merges = [pair for pair in vocabulary.splits().values() if pair is not None]
    return document(vocabulary, vocab, merges)


def document(
    vocabulary: Vocabulary, vocab: dict[str, int], merges: Sequence[Pair]
) -> dict[str, Any]:
    """A tokenizer.json around a model's `vocab`, in the byte alphabet, and `merges`."""
    special = sorted(vocabulary.special_tokens.items(), key=lambda item: item[1])
    named = patterns.name_of(vocabulary.pat_str) is not None
    split = {
        "type": "Split",
        "pattern": {"Regex": oniguruma.to_oniguruma(vocabulary.pat_str)},
        # Text that a pattern does not match belongs to no pretoken here, as in tiktoken. Named
        # patterns match everything, and most readers know "Isolated" best.
        "behavior": "Isolated" if named else "Removed",
        "invert": not named,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": id_,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for text, id_ in special
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split, {**_BYTE_LEVEL, "use_regex": False}],
        },
        "post_processor": None,
        "decoder": {**_BYTE_LEVEL, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # for tokens that no merge makes
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": [[to_text(a), to_text(b)] for a, b in merges],
        },
    }


def write(vocabulary: Vocabulary, path: StrPath) -> None:
    """Writes a tokenizer.json that gives equal ids for every text, special tokens included.

    Where `tokenizers` is installed it encodes a sample first; elsewhere the file is written
    unchecked, with a warning. A pattern that their regex engine reads differently is written in
    other words (`bytemill.formats.oniguruma`). Decoding gives equal bytes too, except for special
    tokens with Latin-1 characters beyond ASCII, which their decoder takes for bytes.

    Args:
        vocabulary: What to write.
        path: The file, or a folder to write tokenizer.json in.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If `tokenizers` would give other ids, with the first text that shows it; then,
            as for `to_dict`, nothing is written.
    """
    target = files.named("path", path)
    if target.is_dir():
        target = target / "tokenizer.json"
    text = json.dumps(to_dict(vocabulary), ensure_ascii=False, indent=1)
    library = selfcheck.tokenizers_or_warning(target, "write")
    if library is not None:
        check(vocabulary, parse(text, library))
    files.write_bytes(target, text.encode())


def parse(text: str, library: Any) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer.json's text; `library` is that package.

    Raises:
        ValueError: If it does not read it.
    """
    with selfcheck.panics_caught("Hugging Face's tokenizers"):
        try:
            return library.Tokenizer.from_str(text)
        except MemoryError:
            raise
        except Exception as error:  # the library raises bare Exception, for a broken regex too
            raise ValueError(f"Hugging Face's tokenizers does not read it: {error}") from error


def check(vocabulary: Vocabulary, other: Any) -> None:
    """Checks that `other`, a `tokenizers.Tokenizer`, encodes a sample as `vocabulary` does.

    Raises:
        ValueError: With the first text that it encodes differently.
    """

    # The file's own settings, which cut and fill, are not for this.
    other.no_truncation()
    other.no_padding()

    def encode(text: str) -> list[int]:
        ids: list[int] = other.encode(text, add_special_tokens=False).ids
        return ids

    selfcheck.check(vocabulary, encode, "Hugging Face's tokenizers")


def read(path: StrPath) -> Vocabulary:
    """Reads a tokenizer.json of byte-level BPE; docs/tokenizer-json.md says what it may hold.

    Added tokens are among the special tokens of what is returned, which keeps what else the file
    says as its shape, to be written again. Patterns are read as their regex engine reads them, and
    text that a Split leaves unmatched is pretokens of its own where it is there ("Isolated"):
    see `bytemill.formats.oniguruma` and `regex_gaps`.

    A file of a published shape is settled by its parts (`selfcheck.is_settled`). For any other,
    where `tokenizers` is installed, it encodes a sample to compare with; elsewhere a file with a
    pattern that is not known is read with a warning.

    Tokens and merges are read by the Rust core, and where that finds anything unusual, by Python,
    with the same result.

    Args:
        path: The file, or a folder with a tokenizer.json in it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If anything in it would give other ids here: another kind of model, a part
            of the pipeline without a counterpart (named in the message; of a pattern, the
            construct), or a sample of texts.
    """
    file = files.named("path", path)
    if file.is_dir():
        if not (file / "tokenizer.json").is_file():
            raise FileNotFoundError(other_files.of_folder(file))
        file = file / "tokenizer.json"
    source = os.fspath(file)
    name = file.parent.name or "bytemill"
    vocabulary = quick.vocabulary(file.read_bytes(), name)
    if vocabulary is None:
        try:
            data = files.read_json_object(file, loads=files.strict_json)
        except ValueError as error:
            if (said := other_files.of_file(file)) is None:
                raise
            raise ValueError(f"{source}: it is not a tokenizer.json. {said}") from error
        selfcheck.refuse_depth(data, source)
        try:
            vocabulary = content.vocabulary(data, name)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source}: {error}") from error
    elif vocabulary.shape is not None:
        selfcheck.refuse_depth(vocabulary.shape.document, source)
    if selfcheck.is_settled(vocabulary):
        return vocabulary
    library = (
        selfcheck.tokenizers_or_none()
        if selfcheck.knows_pattern(vocabulary)
        else selfcheck.tokenizers_or_warning(source, "read")
    )
    if library is not None:
        check(vocabulary, parse(file.read_text(encoding="utf-8"), library))
    return vocabulary
