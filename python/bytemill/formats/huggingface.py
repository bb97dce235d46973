"""Hugging Face's tokenizer.json, in and out.

Their BPE applies a list of merges in order; ours joins by the rank of the result. The two agree
when the list holds, for each token, the one pair that our rule joins to make it, by rank
(`Vocabulary.merges` says why there is only one); `ignore_merges` then makes a pretoken that is a
token that token, as ours does.
"""

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from bytemill import files, patterns
from bytemill.formats import oniguruma, selfcheck
from bytemill.formats.byte_alphabet import from_text, parse_merge, parse_ranks, shown, to_text
from bytemill.vocabulary import Pair, Vocabulary, check_merges

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
        except Exception as error:  # the library raises bare Exception, for a broken regex too
            raise ValueError(f"Hugging Face's tokenizers does not read it: {error}") from error


def check(vocabulary: Vocabulary, other: Any) -> None:
    """Checks that `other`, a `tokenizers.Tokenizer`, encodes a sample as `vocabulary` does.

    Raises:
        ValueError: With the first text that it encodes differently.
    """

    def encode(text: str) -> list[int]:
        ids: list[int] = other.encode(text, add_special_tokens=False).ids
        return ids

    selfcheck.check(vocabulary, encode, "Hugging Face's tokenizers")


def read(path: StrPath) -> Vocabulary:
    """Reads a tokenizer.json of byte-level BPE; added tokens become special tokens.

    Its pattern is read as their regex engine reads it, and text that a Split leaves unmatched is
    pretokens of its own where it is there ("Isolated"): see `bytemill.formats.oniguruma` and
    `regex_gaps`. Where `tokenizers` is installed it encodes a sample to compare with; elsewhere a
    file with a pattern that has no name here is read with a warning.

    Args:
        path: The file, or a folder with a tokenizer.json in it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If anything in it would give other ids here: a part of the pipeline without a
            counterpart (named in the message; of a pattern, the construct), merges in another
            order than ids, or, where `tokenizers` is installed, a sample of texts.
    """
    file = files.named("path", path)
    if file.is_dir():
        file = file / "tokenizer.json"
    source = os.fspath(file)
    data = files.read_json_object(file)
    model = _dict(data.get("model"), "model", source)
    for key in ("normalizer", "truncation", "padding"):
        _refuse_unless(data.get(key) is None, key, data.get(key), source)
    _refuse_unless(model.get("type", "BPE") == "BPE", "model.type", model.get("type"), source)
    settings = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
    for key in (*settings, "byte_fallback"):
        _refuse_unless(not model.get(key), f"model.{key}", model.get(key), source)
    for key in ("post_processor", "decoder"):
        part = data.get(key)
        _refuse_unless(part is None or _type(part) == "ByteLevel", key, part, source)
    pattern = _read_pattern(data.get("pre_tokenizer"), source)
    special = _read_added(data.get("added_tokens") or [], source)
    vocab = _dict(model.get("vocab"), "model.vocab", source)
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise ValueError(f"{source}: model.merges is {merges!r}, not a list")
    for text, id_ in special.items():
        _refuse_unless(
            vocab.get(text, id_) == id_, f"the id of the added token {text!r}", id_, source
        )
    try:
        ranks = parse_ranks(vocab, special, source)
        vocabulary = Vocabulary(
            ranks, special, pattern=pattern, name=file.parent.name or "bytemill"
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from error
    pairs = [parse_merge(merge, source) for merge in merges]
    whole = bool(model.get("ignore_merges"))
    check_merges(vocabulary, pairs, source, show=shown, whole_tokens=whole)
    named = patterns.name_of(vocabulary.pat_str) is not None
    library = (
        selfcheck.tokenizers_or_none() if named else selfcheck.tokenizers_or_warning(source, "read")
    )
    if library is not None:
        check(vocabulary, parse(file.read_text(encoding="utf-8"), library))
    return vocabulary


def _read_pattern(part: Any, source: str) -> str:
    """The split pattern of a pre-tokenizer: ByteLevel alone (GPT-2's), or Split and ByteLevel."""
    steps = part.get("pretokenizers") if _type(part) == "Sequence" else [part]
    where = "pre_tokenizer"
    _refuse_unless(isinstance(steps, list) and 1 <= len(steps) <= 2, where, part, source)
    last = steps[-1]
    _refuse_unless(_type(last) == "ByteLevel", where, part, source)
    # Absent settings have their defaults in the library: true.
    _refuse_unless(not last.get("add_prefix_space", True), "add_prefix_space", True, source)
    use_regex = bool(last.get("use_regex", True))
    if len(steps) == 1:
        _refuse_unless(use_regex, f"{where}: ByteLevel without a pattern, use_regex", False, source)
        return patterns.canonical("gpt2")
    split = steps[0]
    _refuse_unless(_type(split) == "Split", where, split, source)
    _refuse_unless(not use_regex, f"{where}: ByteLevel after Split, use_regex", True, source)
    regex = split.get("pattern")
    text = regex.get("Regex") if isinstance(regex, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"{source}: {where}: Split by {regex!r} is not supported, only by a Regex")
    behavior = (split.get("behavior"), bool(split.get("invert")))
    known = behavior in (("Isolated", False), ("Removed", True))
    _refuse_unless(known, f"{where}: Split's behavior and invert", behavior, source)
    try:
        return oniguruma.from_oniguruma(text, keeps_gaps=behavior[0] == "Isolated")
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _read_added(added: Any, source: str) -> dict[str, int]:
    special: dict[str, int] = {}
    first_pass: dict[bool, list[str]] = {True: [], False: []}
    if not isinstance(added, list):
        raise ValueError(f"{source}: added_tokens is {added!r}, not a list")
    for entry in added:
        token = _dict(entry, "added_tokens", source)
        text, id_ = token.get("content"), token.get("id")
        if not isinstance(text, str) or not isinstance(id_, int):
            raise ValueError(f"{source}: {entry!r} is not an added token with a content and an id")
        for key in ("single_word", "lstrip", "rstrip"):
            _refuse_unless(not token.get(key), f"added token {text!r}: {key}", True, source)
        special[text] = id_
        first_pass[bool(token.get("normalized", False))].append(text)
    # They search for normalized and other tokens in two passes, which shows only if two overlap.
    for a in first_pass[True]:
        for b in first_pass[False]:
            if _overlap(a, b):
                raise ValueError(
                    f"{source}: the added tokens {a!r} (normalized) and {b!r} (not normalized) can "
                    "overlap in a text, where the latter would always win; set both alike"
                )
    return special


def _overlap(a: str, b: str) -> bool:
    """Whether occurrences of `a` and `b` can share characters."""
    ends = (a.endswith(b[:n]) or b.endswith(a[:n]) for n in range(1, min(len(a), len(b)) + 1))
    return a in b or b in a or any(ends)


def _type(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None


def _dict(value: Any, what: str, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{source}: {what} is {value!r}, not an object")
    return value


def _refuse_unless(condition: bool, what: str, value: Any, source: str) -> None:
    if not condition:
        shown = value if not isinstance(value, dict) else {k: value[k] for k in _short(value)}
        raise ValueError(
            f"{source}: {what} is {shown!r}, for which bytemill has no counterpart: "
            "only plain byte-level BPE can be taken over"
        )


def _short(value: dict[str, Any]) -> Iterable[str]:
    return [key for key in value if not isinstance(value[key], (list, dict)) or len(value) < 4]
