"""What transformers calls of a `tokenizers.Tokenizer`, over the Rust core of this package."""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final

import tokenizers

from bytemill import _core, files
from bytemill.formats import folder, huggingface
from bytemill.formats.transformers import postprocess, sections
from bytemill.formats.transformers.added import with_tokens
from bytemill.formats.transformers.encoding import Encoding, Source, Span, whole
from bytemill.formats.transformers.tokens import Tokens, skeleton
from bytemill.formats.transformers.truncation import Padding, Truncation, padded, truncated
from bytemill.shape import AddedToken
from bytemill.vocabulary import Vocabulary

_HINT: Final = (
    "; where it is needed, save_pretrained(folder) and load the folder with "
    "transformers.AutoTokenizer, which runs on tokenizers"
)

Words = str | Sequence[str]
"""A text, or one that has been cut into words."""


class Engine:
    """A vocabulary with the settings and methods that transformers uses of a tokenizer.

    Attributes that `tokenizers.Tokenizer` has and this has not raise AttributeError with what to do
    instead.

    Args:
        vocabulary: What encodes and decodes.

    Raises:
        ValueError: Its tokenizer.json says what has no counterpart here (it is named), or it cannot
            be written as one.
    """

    encode_special_tokens: bool = False
    """Whether special tokens in a text are text like any other."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        document = {} if vocabulary.shape is None else vocabulary.shape.document
        self._tokens = Tokens(vocabulary)
        self._truncation = sections.read_truncation(document.get("truncation"))
        self._padding = sections.read_padding(document.get("padding"))
        self._set_post(document.get("post_processor"))

    # Settings

    @property
    def vocabulary(self) -> Vocabulary:
        """What encodes and decodes."""
        return self._tokens.vocabulary

    @property
    def truncation(self) -> dict[str, Any] | None:
        """How texts are cut."""
        return None if self._truncation is None else dict(vars(self._truncation))

    @property
    def padding(self) -> dict[str, Any] | None:
        """How encodings are filled up."""
        return None if self._padding is None else dict(vars(self._padding))

    def enable_truncation(self, max_length: int, **options: Any) -> None:
        """Texts are cut from now on; `Truncation` says how.

        Raises:
            ValueError: The stride is not less than what the length leaves.
        """
        how = Truncation(max_length, **options)
        room = max_length - self.num_special_tokens_to_add(False)
        if 0 <= room < how.stride:
            raise ValueError(
                f"stride={how.stride} must be less than the {room} tokens that max_length="
                f"{max_length} leaves beside those put around a text"
            )
        self._truncation = how

    def no_truncation(self) -> None:
        """Texts are not cut from now on."""
        self._truncation = None

    def enable_padding(self, **options: Any) -> None:
        """Encodings are filled up from now on; `Padding` says how."""
        self._padding = Padding(**options)

    def no_padding(self) -> None:
        """Encodings are not filled up from now on."""
        self._padding = None

    @property
    def post_processor(self) -> Any:
        """What is put around texts, as one of `tokenizers.processors`, or None."""
        if self._post is None:
            return None
        empty = {"type": "BPE", "vocab": {}, "merges": []}
        return skeleton(post_processor=self._post, model=empty).post_processor

    @post_processor.setter
    def post_processor(self, processor: Any) -> None:
        self._set_post(None if processor is None else json.loads(processor.__getstate__()))

    # Tokens

    def get_vocab(self, with_added_tokens: bool = True) -> dict[str, int]:
        """Tokens, as a tokenizer.json writes them, with their ids."""
        return dict(self._tokens.ids if with_added_tokens else self._tokens.model_ids)

    def get_vocab_size(self, with_added_tokens: bool = True) -> int:
        """How many there are."""
        return len(self._tokens.ids if with_added_tokens else self._tokens.model_ids)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token; None if there is none."""
        return self._tokens.ids.get(token)

    def id_to_token(self, id: int) -> str | None:
        """The token of an id; None if there is none."""
        if id < 0:
            raise OverflowError(f"id={id}: it must be at least 0")
        return self._tokens.names.get(id)

    def get_added_tokens_decoder(self) -> dict[int, Any]:
        """The added tokens by id, as `tokenizers.AddedToken`."""
        return {
            id_: tokenizers.AddedToken(**flags) for id_, flags in sorted(self._tokens.added.items())
        }

    def add_tokens(self, tokens: Iterable[Any]) -> int:
        """Adds tokens, str or `tokenizers.AddedToken`; how many are new."""
        return self._add(tokens, special=False)

    def add_special_tokens(self, tokens: Iterable[Any]) -> int:
        """As `add_tokens`, of special ones."""
        return self._add(tokens, special=True)

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """How many ids are put around a text, or around two."""
        return self._processor.n_added(is_pair=is_pair)

    # Texts

    def encode_batch(
        self,
        input: Sequence[Words | tuple[Words, Words]],
        is_pretokenized: bool = False,
        add_special_tokens: bool = True,
    ) -> list[Encoding]:
        """Encodings of texts and pairs of texts, on all cores.

        Args:
            input: Texts and pairs, tuples or lists of two; with `is_pretokenized` each text is a
                list of words.
            is_pretokenized: Whether texts have been cut into words, each of which is encoded by
                itself.
            add_special_tokens: Whether to put in what the post-processor puts in.

        Raises:
            TypeError: An item is neither.
            ValueError: As of `truncation.truncated`.
        """
        groups = [self._texts_of(item, is_pretokenized) for item in input]
        texts = [text for group in groups for text in group]
        if is_pretokenized:
            sources = self._sources([word for words in texts for word in words])
            each = iter(sources)
            joined = [_of_words(list(itertools.islice(each, len(words)))) for words in texts]
            encoded = iter(joined)
        else:
            encoded = iter(self._sources([str(text) for text in texts]))
        encodings = []
        for group in groups:
            some = [whole(next(encoded), i) for i in range(len(group))]
            encodings.append(self._finished(some, add_special_tokens))
        return encodings if self._padding is None else padded(encodings, self._padding)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids; those that are of no token are passed over."""
        if skip_special_tokens:
            ids = [id_ for id_ in ids if id_ not in self._tokens.special_ids]
        if self.is_renamed(ids):
            return self.text_of(
                [name for id_ in ids if (name := self.id_to_token(id_)) is not None]
            )
        try:
            return self.vocabulary.decoder.decode(ids)
        except KeyError:
            known = [id_ for id_ in ids if self.id_to_token(id_) is not None]
            return self.vocabulary.decoder.decode(known)

    def is_renamed(self, ids: Iterable[int]) -> bool:
        """Whether one of the ids is a token that is not called by its text (`Tokens.renamed`)."""
        renamed = self._tokens.renamed
        return bool(renamed) and not renamed.keys().isdisjoint(ids)

    def text_of(self, tokens: Sequence[str]) -> str:
        """The text of tokens of any vocabulary that writes them as this one does."""
        return str(self._tokens.decoder.decode(list(tokens)))

    def ids_without_added(self, text: str) -> list[int]:
        """The ids of a text in which no added token is looked for."""
        return self._tokens.bare.encode(text)

    # Files

    def to_dict(self) -> dict[str, Any]:
        """The content of a tokenizer.json, with the settings as they are now."""
        return {
            **huggingface.to_dict(self.vocabulary),
            "truncation": sections.write_truncation(self._truncation),
            "padding": sections.write_padding(self._padding),
            "post_processor": self._post,
        }

    def to_str(self, pretty: bool = False) -> str:
        """The text of a tokenizer.json."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2 if pretty else None)

    def save(self, path: str | os.PathLike[str], pretty: bool = True) -> None:
        """Writes a tokenizer.json."""
        files.write_bytes(files.named("path", path), self.to_str(pretty).encode())

    def __deepcopy__(self, memo: object) -> Engine:
        other = Engine.__new__(Engine)
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_truncation", "_padding", "_post", "encode_special_tokens")
        state = {name: getattr(self, name) for name in kept}
        return {**state, "vocabulary": folder.to_state(self.vocabulary)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._tokens = Tokens(folder.from_state(state["vocabulary"]))
        self._truncation, self._padding = state["_truncation"], state["_padding"]
        self._set_post(state["_post"])
        self.encode_special_tokens = state["encode_special_tokens"]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"the engine of bytemill's tokenizer has no {name!r}{_HINT if _is_theirs(name) else ''}"
        )

    def __setattr__(self, name: str, value: object) -> None:
        if _is_theirs(name) and not hasattr(Engine, name):
            raise AttributeError(f"the engine of bytemill's tokenizer has no {name!r}{_HINT}")
        super().__setattr__(name, value)

    # Inside

    def _set_post(self, part: Any) -> None:
        self._processor = postprocess.read(part)
        self._post = part

    def _add(self, tokens: Iterable[Any], *, special: bool) -> int:
        made = [_as_added(token, special=special) for token in tokens]
        vocabulary, changed = with_tokens(self.vocabulary, made)
        if changed:
            self._tokens = Tokens(vocabulary)
        return changed

    def _texts_of(self, item: Any, is_pretokenized: bool) -> list[Any]:
        one = isinstance(item, str)
        if is_pretokenized:
            one = isinstance(item, (list, tuple)) and all(isinstance(word, str) for word in item)
        if one:
            return [item]
        if isinstance(item, (list, tuple)) and len(item) == 2:
            first, second = item
            return [
                *self._texts_of(first, is_pretokenized),
                *self._texts_of(second, is_pretokenized),
            ]
        kind = "a list of words" if is_pretokenized else "a str"
        raise TypeError(f"{item!r} is neither {kind} nor a pair of them")

    def _sources(self, texts: list[str]) -> list[Source]:
        encoder = self.vocabulary.encoder
        allowed = encoder.special_set([]) if self.encode_special_tokens else None
        batch = encoder.encode_batch(texts, None, allowed)
        return [self._source(text, ids, allowed) for text, ids in zip(texts, batch, strict=True)]

    def _source(self, text: str, ids: list[int], allowed: _core.SpecialSet | None) -> Source:
        tokens, processor, split = self._tokens, self._processor, self.encode_special_tokens
        encoder = tokens.vocabulary.encoder

        @functools.cache
        def whole_spans() -> list[Span]:
            return encoder.encode_with_offsets(text, allowed)[1]

        def named(ids: list[int]) -> list[str]:
            names = tokens.name_all(ids)
            if tokens.stripping.isdisjoint(ids):
                return names
            # Such a token's name has the white space that it took.
            return [
                text[start:stop] if id_ in tokens.stripping else name
                for id_, name, (start, stop) in zip(ids, names, whole_spans(), strict=True)
            ]

        def words() -> list[int | None]:
            return tokens.words(text, ids, split_special=split)

        return Source(
            ids, named, whole_spans, words, processor.trimmed if processor.trims else None
        )

    def _finished(self, texts: list[Encoding], add_special_tokens: bool) -> Encoding:
        processor = self._processor
        if self._truncation is not None:
            second = texts[1] if len(texts) == 2 else None
            n_added = processor.n_added(is_pair=second is not None) if add_special_tokens else 0
            first, second = truncated(texts[0], second, self._truncation, n_added)
            texts = [first] if second is None else [first, second]
        return processor.apply(texts, self._tokens.name_all, add_special_tokens=add_special_tokens)


def _of_words(words: list[Source]) -> Source:
    """One source of words that were encoded each by itself."""

    def named(_: list[int]) -> list[str]:
        return [token for word in words for token in word.tokens]

    def spans() -> list[Span]:
        return [span for word in words for span in word.offsets]

    def of() -> list[int | None]:
        return [i for i, word in enumerate(words) for _ in word.ids]

    ids = [id_ for word in words for id_ in word.ids]
    return Source(ids, named, spans, of, words[0].trim if words else None)


def _is_theirs(name: str) -> bool:
    return not name.startswith("_") and hasattr(tokenizers.Tokenizer, name)


def _as_added(token: Any, *, special: bool) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, normalized=not special, special=special)
    if not isinstance(token, tokenizers.AddedToken):
        raise TypeError(f"{token!r}: an added token is a str or a tokenizers.AddedToken")
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    given = {flag: getattr(token, flag) for flag in flags}
    return AddedToken(token.content, **given, special=special or token.special)
