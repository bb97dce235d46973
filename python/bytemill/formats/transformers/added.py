"""Further added tokens for a vocabulary, numbered as `tokenizers` numbers them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from bytemill.formats import huggingface
from bytemill.formats.byte_alphabet import from_text
from bytemill.formats.tokenizer_json import content
from bytemill.shape import AddedToken
from bytemill.vocabulary import Vocabulary


def with_tokens(vocabulary: Vocabulary, tokens: Iterable[AddedToken]) -> tuple[Vocabulary, int]:
    """A vocabulary with further added tokens, and how many are new or have changed.

    A token that the vocabulary has, ordinary or added, keeps its id; it is looked for in the manner
    given last. Others get the next ids. Empty ones are passed over.

    Raises:
        ValueError: A token has no counterpart in bytemill, as of a tokenizer.json
            (`bytemill.formats.huggingface.read`); an ordinary one that is a byte or needed by
            merges, and is not written as its text, is named as that.
    """
    document = huggingface.to_dict(vocabulary)
    vocab = document["model"]["vocab"]
    entries: dict[str, dict[str, Any]] = {e["content"]: e for e in document["added_tokens"]}
    following = len(vocab) + sum(text not in vocab for text in entries)
    tokens, known = list(tokens), frozenset(entries)
    changed = 0
    for token in tokens:
        text = token.content
        old = entries.get(text)
        if not text or (old is not None and old == {"id": old["id"], **vars(token)}):
            continue
        if old is not None:
            id_ = old["id"]
        elif text in vocab:
            id_ = vocab[text]
        else:
            id_, following = following, following + 1
        entries[text] = {"id": id_, **vars(token)}
        changed += 1
    if not changed:
        return vocabulary, 0
    document["added_tokens"] = list(entries.values())
    try:
        return content.vocabulary(document, vocabulary.name), changed
    except ValueError as error:
        new = [t.content for t in tokens if t.content in vocab and t.content not in known]
        others = [text for text in new if not _is_its_text(text, vocabulary)]
        if not others:
            raise
        text = others[0]
        raise ValueError(
            f"the token {text!r} (id {vocab[text]}) is an ordinary one, and cannot be an added "
            f"one as well here ({error}): in transformers it is then looked for in texts as "
            f"{text!r}, whatever it stands for, and left out where special tokens are skipped. "
            "Take a token that is not text; or, for its id alone, pass None for the token "
            f"(pad_token=None) and then set the id (tokenizer.pad_token_id = {vocab[text]})"
        ) from error


def _is_its_text(token: str, vocabulary: Vocabulary) -> bool:
    """Whether an ordinary token stands for the text that a tokenizer.json writes it as."""
    of_characters = vocabulary.shape is not None and vocabulary.shape.of_characters
    if of_characters:
        return re.fullmatch("<0x[0-9A-F]{2}>", token) is None
    return from_text(token) == token.encode()
