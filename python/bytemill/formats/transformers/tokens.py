"""`Tokens`: what a vocabulary's tokens are called in a tokenizer.json, and which are added ones."""

from __future__ import annotations

import functools
import json
from typing import Any

import tokenizers

from bytemill import _core
from bytemill.formats import huggingface
from bytemill.formats.byte_alphabet import to_text
from bytemill.formats.tokenizer_json import content
from bytemill.shape import AddedToken, Shape
from bytemill.vocabulary import Vocabulary


class Tokens:
    """The tokens of a vocabulary, in the terms of `tokenizers`.

    Args:
        vocabulary: Whose tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @functools.cached_property
    def model_ids(self) -> dict[str, int]:
        """The ids of those that a tokenizer.json has in its model."""
        shape = self.vocabulary.shape
        if shape is None:
            return dict(huggingface.to_dict(self.vocabulary)["model"]["vocab"])
        ranks = self.vocabulary.mergeable_ranks
        left = shape.document["model"]["vocab"]
        known = set(left.values())
        write = content.writer(shape)
        ordinary = {write(token): id_ for token, id_ in ranks.items() if id_ not in known}
        return {**ordinary, **left}

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """The ids of all."""
        return {**self.model_ids, **self.vocabulary.special_tokens}

    @functools.cached_property
    def names(self) -> dict[int, str]:
        """All by id."""
        names = {id_: text for text, id_ in self.model_ids.items()}
        names.update((id_, flags["content"]) for id_, flags in self.added.items())
        return names | self.renamed

    @functools.cached_property
    def renamed(self) -> dict[int, str]:
        """The added tokens, by id, that are called by what a normalizer makes of their text.

        It is what they are looked for as. In a file of Llama 2's kind it has a space in front.
        """
        shape = self.vocabulary.shape
        steps = None if shape is None else shape.document.get("normalizer")
        late = {id_: flags["content"] for id_, flags in self.added.items() if flags["normalized"]}
        if steps is None or not late:
            return {}
        model = {"type": "BPE", "vocab": {}, "merges": []}
        normalize = skeleton(normalizer=steps, model=model).normalizer.normalize_str
        made = {id_: normalize(text) for id_, text in late.items()}
        return {id_: text for id_, text in made.items() if text != late[id_]}

    def name_all(self, ids: list[int]) -> list[str]:
        """The name of each id."""
        names = self.names
        return [names[id_] for id_ in ids]

    @functools.cached_property
    def added(self) -> dict[int, dict[str, Any]]:
        """The added tokens, each with its flags, by id."""
        shape, special = self.vocabulary.shape, self.vocabulary.special_tokens
        added = [AddedToken(text) for text in special] if shape is None else shape.added
        return {special[token.content]: dict(vars(token)) for token in added}

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        """The tokens that are left out where special ones are: those called as one of these."""
        texts = {flags["content"] for flags in self.added.values() if flags["special"]}
        return frozenset(id_ for id_ in self.added if self.names[id_] in texts)

    @functools.cached_property
    def stripping(self) -> frozenset[int]:
        """The added tokens that take white space beside them."""
        return frozenset(
            id_ for id_, flags in self.added.items() if flags["lstrip"] or flags["rstrip"]
        )

    @functools.cached_property
    def bare(self) -> _core.Encoder:
        """An encoder that looks for no added tokens."""
        shape = self.vocabulary.shape
        if shape is not None:
            shape = Shape.from_state({**shape.to_state(), "added": [], "passes": False})
        core = None if shape is None else shape.core
        return _core.Encoder(self.vocabulary.core_ranks(), {}, self.vocabulary.pat_str, core)

    @functools.cached_property
    def decoder(self) -> Any:
        """What makes text of tokens' names: one of `tokenizers.decoders`."""
        shape = self.vocabulary.shape
        decoder = None if shape is None else shape.document.get("decoder")
        model = {"type": "BPE", "vocab": {}, "merges": []}
        return skeleton(decoder=decoder or {"type": "ByteLevel"}, model=model).decoder

    def words(self, text: str, ids: list[int], *, split_special: bool) -> list[int | None]:
        """The index of the pretoken that each token of a text is of.

        By a tokenizer of theirs that cuts text alike and has the bytes as its only tokens.

        Args:
            text: The text.
            ids: Its ids.
            split_special: Whether special tokens in it are text like any other.
        """
        cutting = self._cutting
        cutting.encode_special_tokens = split_special
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        in_bytes = cutting.encode(whole, add_special_tokens=False)
        ids_there, words_there = in_bytes.ids, in_bytes.word_ids
        words: list[int | None] = []
        at = 0
        for id_ in ids:
            words.append(words_there[at])
            at += 1 if ids_there[at] >= 256 else self._lengths.get(id_, 1)
        return words

    @functools.cached_property
    def _cutting(self) -> Any:
        document = huggingface.to_dict(self.vocabulary)
        added = [{**entry, "id": 256 + i} for i, entry in enumerate(document["added_tokens"])]
        of_characters = self._of_characters
        name = "<0x{:02X}>".format if of_characters else lambda byte: to_text(bytes([byte]))
        vocab = {name(byte): byte for byte in range(256)}
        model = {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": of_characters}
        kept = {key: document.get(key) for key in ("normalizer", "pre_tokenizer", "decoder")}
        return skeleton(**kept, added_tokens=added, model=model)

    @property
    def _of_characters(self) -> bool:
        return self.vocabulary.shape is not None and self.vocabulary.shape.of_characters

    @functools.cached_property
    def _lengths(self) -> dict[int, int]:
        """How many bytes the ordinary tokens have, by id."""
        shape, ranks = self.vocabulary.shape, self.vocabulary.mergeable_ranks
        if shape is None or not shape.marked:
            return {id_: len(token) for token, id_ in ranks.items()}
        # There a space is the three bytes of U+2581.
        return {id_: len(token) + 2 * token.count(b" ") for token, id_ in ranks.items()}


def skeleton(**sections: Any) -> Any:
    """A `tokenizers.Tokenizer` of these sections of a tokenizer.json, the others empty."""
    keys = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    document = {"version": "1.0", "added_tokens": [], **dict.fromkeys(keys), **sections}
    return tokenizers.Tokenizer.from_str(json.dumps(document))
