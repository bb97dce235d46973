"""Further added tokens for a vocabulary, numbered as `tokenizers` numbers them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bytemill.formats import huggingface
from bytemill.formats.tokenizer_json import content
from bytemill.shape import AddedToken
from bytemill.vocabulary import Vocabulary


def with_tokens(vocabulary: Vocabulary, tokens: Iterable[AddedToken]) -> tuple[Vocabulary, int]:
    """A vocabulary with further added tokens, and how many are new or have changed.

    A token that the vocabulary has, ordinary or added, keeps its id; it is looked for in the manner
    given last. Others get the next ids. Empty ones are passed over.

    Raises:
        ValueError: A token has no counterpart in bytemill, as of a tokenizer.json
            (`bytemill.formats.huggingface.read`).
    """
    document = huggingface.to_dict(vocabulary)
    vocab = document["model"]["vocab"]
    entries: dict[str, dict[str, Any]] = {e["content"]: e for e in document["added_tokens"]}
    following = len(vocab) + sum(text not in vocab for text in entries)
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
    return content.vocabulary(document, vocabulary.name), changed
