"""What a tokenizer.json says, as a vocabulary with a shape, and back."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from bytemill import _core
from bytemill._arguments import check_id
from bytemill.formats.byte_alphabet import (
    Texts,
    from_text,
    parse_merge,
    parse_ranks,
    to_text,
)
from bytemill.formats.tokenizer_json import added_tokens, characters, pipeline, templates
from bytemill.formats.tokenizer_json.order import Merging
from bytemill.shape import MARK, AddedToken, Shape
from bytemill.vocabulary import Pair, Vocabulary

_RARE: Final = (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, *range(0xF1, 0xF5))
"""Control characters but for tabs and line breaks, and what code points from U+40000 on begin with:
none of them is a character, but for private ones."""


class Known(NamedTuple):
    """Tokens that the Rust core has read, and found to be what the merges say."""

    ranks: _core.Ranks
    """The tokens but for the added ones, with which no merge has to do."""
    n_vocab: int
    """How many tokens there are in model.vocab."""


def vocabulary(data: dict[str, Any], name: str, known: Known | None = None) -> Vocabulary:
    """The vocabulary of a tokenizer.json's content; `huggingface.read` says what is refused.

    Args:
        data: The content; where its tokens are known, without the others and without merges.
        name: The vocabulary's name.
        known: Tokens that need not be read any more.

    Raises:
        TypeError, ValueError: As there.
    """
    version = data.get("version", "1.0")
    _refuse_unless(version == "1.0", "version", version)
    model = _object(data.get("model"), "model")
    _check_model(model)
    vocab = _object(model.get("vocab"), "model.vocab")
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise ValueError(f"model.merges is {merges!r}, not a list")
    if characters.applies(model, data.get("pre_tokenizer")):
        return _of_characters(data, model, vocab, merges, name)
    steps = pipeline.normalizers(data.get("normalizer"))
    cutting = pipeline.cutting(data.get("pre_tokenizer"))
    entries = data.get("added_tokens")
    n_vocab = len(vocab) if known is None else known.n_vocab
    ids = added_tokens.read([] if entries is None else entries, vocab, n_vocab, "added_tokens")
    added = list(ids)
    special = {token.content: id_ for token, id_ in ids.items()}
    whole_tokens = bool(model.get("ignore_merges"))
    missed = added_tokens.pretokens(added, whole_tokens=whole_tokens, normalizes=bool(steps))
    if known is not None and not missed.isdisjoint(vocab):
        raise ValueError("tokens that are more than added ones are not among those known")
    dead = {t: i for t, i in vocab.items() if t not in special and from_text(t) is None}
    within = {t: i for t, i in vocab.items() if t not in dead} if dead else vocab
    _check_dead(dead, within)
    ranks, pairs = _ordinary(within, merges, ids, missed) if known is None else ({}, [])
    before, after = templates.around(data.get("post_processor"), {**vocab, **special})
    decoders = pipeline.flattened(data.get("decoder"), "decoders", "decoder")
    kinds = [item["type"] for item in decoders]
    _refuse_unless(set(kinds) <= {"ByteLevel"}, "decoder", kinds)
    shape = Shape(
        document=_document(data, model, vocab, dead.keys() | (special.keys() & vocab.keys())),
        added=tuple(added),
        normalizers=(*steps, *_refused(ranks)) if known is None else steps,
        spellings=tuple(dead.items()),
        prefix_space=cutting.prefix_space,
        passes=added_tokens.need_passes(added, normalizes=bool(steps)),
        before=before,
        after=after,
    )
    if known is not None:
        return Vocabulary(known.ranks, special, pattern=cutting.pattern, name=name, shape=shape)
    return _ranked(Merging(ranks, special, cutting.pattern, name, shape, pairs, whole_tokens))


def _refused(ranks: Mapping[bytes, int]) -> Iterator[dict[str, Any]]:
    """The step that refuses text with bytes that the tokens lack, if these are rare in text.

    StarCoder lacks 0xf1, Falcon 14 control characters and 0xf2. `tokenizers` leaves such a byte out
    of a pretoken, and merges what is beside it.
    """
    lacking = [byte for byte in _RARE if bytes([byte]) not in ranks]
    if lacking:
        yield {"type": "Refuse", "bytes": lacking}


def _check_dead(dead: dict[str, int], others: dict[str, int]) -> None:
    """Checks the ids of tokens that no text has, as pretokens are in the byte alphabet and they are
    not: what they are is what they are decoded to."""
    taken = {*others.values()} if dead else set()
    for text, id_ in dead.items():
        check_id("model.vocab: ", text, id_)
        if id_ in taken:
            raise ValueError(f"model.vocab: the id {id_} of {text!r} is another token's, too")
        taken.add(id_)


def _ordinary(
    vocab: dict[str, int],
    merges: list[Any],
    added: dict[AddedToken, int],
    missed: Collection[str],
) -> tuple[dict[bytes, int], list[Pair]]:
    """The tokens but for those that are added tokens only, and the merges.

    An added token that merges make or need is an ordinary one too, and so is one of `missed`.
    """
    special = {token.content: id_ for token, id_ in added.items()}
    texts = Texts()
    pairs = [parse_merge(merge, "model.merges", texts) for merge in merges]
    of_merges = {left + right for left, right in pairs}.union(*zip(*pairs, strict=True))
    both = {
        token.content
        for token in added
        if token.content in vocab
        and (token_bytes := added_tokens.as_ordinary(token)) is not None
        and (len(token_bytes) == 1 or token_bytes in of_merges or token.content in missed)
    }
    for token in added:
        read_as = from_text(token.content) if token.content in vocab else None
        if read_as is not None and len(read_as) == 1 and token.content not in both:
            raise ValueError(
                f"the added token {token.content!r} is also the byte 0x{read_as[0]:02x} in the "
                "byte alphabet of model.vocab, for which bytemill has no counterpart"
            )
    alone = {t: i for t, i in special.items() if t not in both}
    return parse_ranks(vocab, alone, "model.vocab", texts), pairs


def _of_characters(
    data: dict[str, Any], model: dict[str, Any], vocab: dict[str, int], merges: Any, name: str
) -> Vocabulary:
    """As `vocabulary`, of a file whose merging begins with characters."""
    if model.get("ignore_merges"):
        raise ValueError(
            "model.ignore_merges has no counterpart in bytemill in a BPE of characters, where it "
            'makes a text of "<0x41>" alone the token of that byte; with false it has'
        )
    entries = data.get("added_tokens")
    ids = added_tokens.read([] if entries is None else entries, vocab, len(vocab), "added_tokens")
    added = list(ids)
    special = {token.content: id_ for token, id_ in ids.items()}
    front = characters.front(data.get("normalizer"), data.get("pre_tokenizer"), added)
    pairs = characters.merges(merges, vocab, front.marked)
    of_merges = {left + right for left, right in pairs}
    needed = of_merges.union(*zip(*pairs, strict=True))
    alone = frozenset(
        text
        for text in special
        if len(text) > 1 and characters.spelled(text, front.marked) not in needed
    )
    tokens = characters.tokens(vocab, alone, front.marked)
    before, after = templates.around(data.get("post_processor"), {**vocab, **special})
    drops_space = characters.decoder(data.get("decoder"), front.marked)
    pattern = front.pattern or characters.finest(of_merges)
    as_spaces = tuple((t.replace(MARK, " "), i) for t, i in special.items() if MARK in t)
    shape = Shape(
        document=_document(data, model, vocab, tokens.left | (special.keys() & vocab.keys())),
        added=tuple(added),
        normalizers=front.normalizers,
        prefix_space=front.prefix_space,
        prefix_first=front.prefix_first,
        passes=added_tokens.need_passes(added, normalizes=bool(front.normalizers)),
        of_characters=True,
        marked=front.marked,
        spellings=tokens.spellings + as_spaces * front.marked,
        drops_space=drops_space,
        before=before,
        after=after,
    )
    ranks = {**tokens.symbols, **tokens.others}
    longer = [token for token in tokens.symbols if len(token) > 1]
    merging = Merging(ranks, special, pattern, name, shape, pairs, False, longer)
    return merging.by_merges()


def _check_model(model: dict[str, Any]) -> None:
    kind = model.get("type", "BPE")
    _refuse_unless(kind == "BPE", "model.type", kind)
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        _refuse_unless(not model.get(key), f"model.{key}", model.get(key))
    # Of no effect where each byte is a token: parse_ranks and Vocabulary see to that.
    for key in ("byte_fallback", "fuse_unk", "ignore_merges"):
        value = model.get(key, False)
        _refuse_unless(value is None or isinstance(value, bool), f"model.{key}", value)
    unknown = model.get("unk_token")
    _refuse_unless(unknown is None or isinstance(unknown, str), "model.unk_token", unknown)


def _ranked(merging: Merging) -> Vocabulary:
    """The vocabulary, by ids where they follow the merges, otherwise by the merges' order."""
    try:
        return merging.by_ids()
    except ValueError:
        known = merging.ranks.keys()
        if any(not {left, right, left + right} <= known for left, right in merging.merges):
            raise
    return merging.by_merges()


def _document(
    data: dict[str, Any], model: dict[str, Any], vocab: dict[str, int], special: Collection[str]
) -> dict[str, Any]:
    """The file without the ordinary tokens and the merges."""
    left = {text: vocab[text] for text in special}
    return {**data, "model": {**model, "vocab": left, "merges": []}}


def writer(shape: Shape) -> Callable[[bytes], str]:
    """What writes an ordinary token as the file has it."""
    if not shape.of_characters:
        return to_text

    def in_characters(token: bytes) -> str:
        text = token.decode()
        return text.replace(" ", MARK) if shape.marked else text

    return in_characters


def document(vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of a tokenizer.json that says all that the one said from which `vocabulary` came.

    Raises:
        ValueError: If it did not come from one.
    """
    shape = vocabulary.shape
    if shape is None:
        raise ValueError("the vocabulary has no shape: it did not come from a tokenizer.json")
    to_text = writer(shape)
    left = shape.document["model"]["vocab"]
    known = set(left.values())
    ranks = vocabulary.mergeable_ranks
    vocab = {to_text(token): id_ for token, id_ in ranks.items() if id_ not in known}
    vocab.update(left)
    merges = [pair for pair in vocabulary.splits().values() if pair is not None]
    model = {
        **shape.document["model"],
        "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
        "merges": [[to_text(a), to_text(b)] for a, b in merges],
    }
    return {**shape.document, "model": model}


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {value!r}, not an object")
    return value


def _refuse_unless(condition: bool, what: str, value: Any) -> None:
    if not condition:
        raise ValueError(
            f"{what} is {value!r}, for which bytemill has no counterpart; its documentation "
            "(tokenizer-json.md) lists what has one"
        )
