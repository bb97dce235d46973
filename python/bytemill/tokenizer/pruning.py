"""Cutting a vocabulary down to the tokens that texts use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bytemill.formats.byte_alphabet import to_text
from bytemill.formats.tokenizer_json import content
from bytemill.vocabulary import Vocabulary


def pruned(vocabulary: Vocabulary, counts: Sequence[int], min_count: int) -> Vocabulary:
    """The tokens that stay, numbered anew in the order of their ids; `Tokenizer.pruned` says which.

    Args:
        vocabulary: The tokens to choose from.
        counts: How often each id occurs, of length `n_vocab`.
        min_count: Tokens that occur less often go, if nothing needs them.

    Raises:
        ValueError: As `bytemill.formats.tokenizer_json.content.vocabulary`, of the smaller file.
    """
    ranks, splits = vocabulary.mergeable_ranks, vocabulary.splits()
    kept: set[bytes] = set()
    waiting = [token for token, id_ in ranks.items() if len(token) == 1 or counts[id_] >= min_count]
    waiting += [token for token, id_ in ranks.items() if id_ in _ids_in_templates(vocabulary)]
    while waiting:
        token = waiting.pop()
        if token not in kept:
            kept.add(token)
            # What it is merged from has to be there, too.
            waiting += splits.get(token) or ()
    special = vocabulary.special_tokens
    ids = sorted({*special.values(), *(ranks[token] for token in kept)})
    new = {id_: i for i, id_ in enumerate(ids)}
    if vocabulary.shape is not None:
        document = _smaller(content.document(vocabulary), new, kept, splits)
        return content.vocabulary(document, vocabulary.name)
    return Vocabulary(
        {token: new[id_] for token, id_ in ranks.items() if token in kept},
        {text: new[id_] for text, id_ in special.items()},
        pattern=vocabulary.pat_str,
        name=vocabulary.name,
    )


def separators(vocabulary: Vocabulary) -> list[str]:
    """Where a text can be cut so that its parts have its tokens: at special tokens, unless a
    tokenizer.json has them depend on what is beside them."""
    return list(vocabulary.special_tokens) if vocabulary.shape is None else []


def _ids_in_templates(vocabulary: Vocabulary) -> set[int]:
    shape = vocabulary.shape
    return set() if shape is None else {*shape.before, *shape.after}


def _smaller(
    document: dict[str, Any],
    new: Mapping[int, int],
    kept: set[bytes],
    splits: Mapping[bytes, tuple[bytes, bytes] | None],
) -> dict[str, Any]:
    """A tokenizer.json with the ids in `new` alone, as what they are there."""
    vocab = document["model"]["vocab"]
    pairs = [pair for token, pair in splits.items() if token in kept and pair is not None]
    model = {
        **document["model"],
        "vocab": {text: new[id_] for text, id_ in vocab.items() if id_ in new},
        "merges": [[to_text(left), to_text(right)] for left, right in pairs],
    }
    added = [{**entry, "id": new[entry["id"]]} for entry in document.get("added_tokens") or []]
    padding = document.get("padding")
    if padding is not None:
        padding = {**padding, "pad_id": new.get(padding.get("pad_id"), 0)}
    return {
        **document,
        "model": model,
        "added_tokens": added,
        "padding": padding,
        "post_processor": _renumbered(document.get("post_processor"), new),
    }


def _renumbered(part: Any, new: Mapping[int, int]) -> Any:
    """A post-processor with new ids."""
    if part is None:
        return None
    if part["type"] == "Sequence":
        return {**part, "processors": [_renumbered(item, new) for item in part["processors"]]}
    if part["type"] == "TemplateProcessing":
        special = {
            name: {**entry, "ids": [new[id_] for id_ in entry["ids"]]}
            for name, entry in part["special_tokens"].items()
        }
        return {**part, "special_tokens": special}
    if part["type"] in ("RobertaProcessing", "BertProcessing"):
        return {**part, **{key: [part[key][0], new[part[key][1]]] for key in ("sep", "cls")}}
    return part
