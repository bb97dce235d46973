"""Whether tokens, tokenizer and model go together, and what stands between documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bytemill.lm.batches.tokens import Tokens

if TYPE_CHECKING:
    from bytemill.tokenizer.tokenizer import Tokenizer

# What a document most often begins or ends with.
_SEPARATORS: Final = ("<|bos|>", "<|endoftext|>")


def separator(tokenizer: Tokenizer) -> int | None:
    """The id that stands between documents: <|bos|>'s, <|endoftext|>'s, or of the only special
    token; None if there is none of these."""
    special = tokenizer.special_tokens
    for name in _SEPARATORS:
        if name in special:
            return special[name]
    return next(iter(special.values())) if len(special) == 1 else None


def check_vocabulary(tokens: Tokens, vocab_size: int) -> None:
    """Raises ValueError if ids could lie outside a model's vocabulary, or lie below 0.

    Shards know their tokenizer's size; a bare array is read once, and the place of the first id
    that is outside is named.
    """
    if tokens.least_id() < 0 and (at := tokens.first_outside(0, None)) is not None:
        raise ValueError(
            f"{tokens.source}: the id at token {at} is {int(tokens[at : at + 1][0])}, and ids are "
            "at least 0; encode the text again, or take out what is not a token (targets that do "
            "not count have no place in the data)"
        )
    largest = tokens.largest_id()
    if largest >= vocab_size:
        at = tokens.first_outside(None, vocab_size)
        where = "" if at is None else f" (the first beyond it is at token {at})"
        raise ValueError(
            f"{tokens.source}: ids go up to {largest}, but the model's vocab_size is {vocab_size}"
            f"{where}; make the model with vocab_size={largest + 1} or more, or "
            "use its own tokenizer's ids"
        )


def check_tokenizer(tokenizer: Tokenizer, vocab_size: int) -> None:
    """ValueError if a tokenizer has ids that a model of `vocab_size` does not know."""
    if tokenizer.n_vocab > vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.n_vocab} ids, the model {vocab_size}: they do not "
            "belong together; give the tokenizer that the model was trained with"
        )
