"""Special tokens for a vocabulary that lacks them."""

from __future__ import annotations

from collections.abc import Sequence

from bytemill.formats.tokenizer_json.added_tokens import need_passes
from bytemill.shape import AddedToken, Shape
from bytemill.tokenizer.changing import Own


def with_special(tokenizer: Own, tokens: Sequence[str]) -> Own:
    """The tokenizer with those of some special tokens that it lacks, after its highest id.

    All other text gets the ids that it got before, also by what a tokenizer.json says.
    """
    vocabulary = tokenizer._vocabulary
    lacked = [token for token in tokens if token not in vocabulary.special_tokens]
    first = vocabulary.n_vocab
    new = {token: first + i for i, token in enumerate(lacked)}
    special = {**vocabulary.special_tokens, **new}
    shape = vocabulary.shape
    made = type(vocabulary)(
        vocabulary.mergeable_ranks,
        special,
        pattern=vocabulary.pat_str,
        name=vocabulary.name,
        shape=_larger(shape, new, special) if shape is not None and shape.decides else None,
    )
    return tokenizer.from_vocabulary(made)


def _larger(shape: Shape, new: dict[str, int], special: dict[str, int]) -> Shape:
    """A shape with further added tokens, and the tokenizer.json that says so."""
    added = [*shape.added, *(AddedToken(token) for token in new)]
    entries = [{"id": id_, **vars(AddedToken(token))} for token, id_ in new.items()]
    model = shape.document["model"]
    document = {
        **shape.document,
        # In the model's vocabulary they keep their ids; behind its last one they are numbered anew.
        "model": {**model, "vocab": {**model.get("vocab", {}), **special}},
        "added_tokens": [*(shape.document.get("added_tokens") or []), *entries],
    }
    state = {
        **shape.to_state(),
        "document": document,
        "added": [vars(token) for token in added],
        "passes": need_passes(added, normalizes=bool(shape.normalizers)),
    }
    return Shape.from_state(state)
