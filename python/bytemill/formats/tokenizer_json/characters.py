"""BPE of characters that falls back on bytes, as a tokenizer.json has SentencePiece's models.

Merging begins with characters that are tokens; one that is not becomes the tokens "<0x00>" to
"<0xFF>" of its bytes. Such a file usually has U+2581 written for each space before merging, and a
space for each U+2581 after decoding. Here spaces stay spaces, in the text and in tokens, and
U+2581 in a text becomes a space: the same ids, as a text that has been through either holds only
one of the two.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bytemill.formats.tokenizer_json import pipeline
from bytemill.shape import MARK, AddedToken
from bytemill.vocabulary import Pair

WHOLE: Final = r"(?s:.+)"
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")
_REPLACE: Final = {"type": "Replace", "text": MARK, "content": " "}
_MAX_TOKENS: Final = 2_000_000
_CLASSES: Final = (r"0-9", r"!-/:-@\[-`{-~", r"\n")
"""Kinds of characters, as in a class of a regex; all others but the space are one more."""


class Front(NamedTuple):
    """What is done to text before it is merged."""

    marked: bool
    """Whether U+2581 stands for a space in the file's tokens."""
    normalizers: tuple[dict[str, Any], ...]
    prefix_space: bool
    prefix_first: bool
    pattern: str | None
    """A pattern; None if text is not cut."""


def applies(model: Mapping[str, Any], pre_tokenizer: Any) -> bool:
    """Whether a file is of this kind: BPE that falls back on bytes, and is not byte-level."""
    parts = pipeline.flattened(pre_tokenizer, "pretokenizers", "pre_tokenizer")
    return model.get("byte_fallback") is True and all(p["type"] != "ByteLevel" for p in parts)


def front(normalizer: Any, pre_tokenizer: Any, added: Sequence[AddedToken]) -> Front:
    """What a normalizer and a pre-tokenizer do.

    Raises:
        ValueError: For what has no counterpart, naming it.
    """
    steps = pipeline.normalizers(normalizer)
    parts = pipeline.flattened(pre_tokenizer, "pretokenizers", "pre_tokenizer")
    metaspace = parts.pop(0) if parts and parts[0]["type"] == "Metaspace" else None
    replaces = [step == {"type": "Replace", "text": " ", "content": MARK} for step in steps]
    marked = metaspace is not None or any(replaces)
    others = [step for step, is_it in zip(steps, replaces, strict=True) if not is_it]
    splits: list[dict[str, Any]] = []
    prefix = "never"
    if any(replaces):
        steps = _with_spaces(steps, max(i for i, is_it in enumerate(replaces) if is_it))
    if metaspace is not None:
        prefix, cuts = _metaspace(metaspace)
        # They may take the beginning of a text away; then no piece begins where the text does.
        if prefix == "first" and any(step["type"] in ("Strip", "Replace") for step in others):
            raise ValueError(
                "pre_tokenizer: Metaspace with prepend_scheme first has no counterpart behind a "
                "normalizer that takes text away (Strip, Replace); with always it would have"
            )
        if cuts:
            splits.append({**_never_covers(" "), "behavior": "MergedWithNext"})
        steps = steps if any(replaces) else (*steps, _REPLACE)
    if marked:
        _check_added(added, others, in_text=not any(replaces))
    for item in parts:
        split = _split(item, marked)
        if split is not None:
            splits.append(split)
    return Front(
        marked, steps, prefix == "always", prefix == "first", _pattern(splits) if splits else None
    )


def _metaspace(item: dict[str, Any]) -> tuple[str, bool]:
    mark, scheme = item.get("replacement"), item.get("prepend_scheme", "always")
    cuts = item.get("split", True)
    if mark != MARK or scheme not in ("always", "first", "never") or not isinstance(cuts, bool):
        raise ValueError(f"pre_tokenizer: {item} is not a Metaspace that bytemill knows")
    return scheme, cuts


def _with_spaces(steps: tuple[dict[str, Any], ...], last: int) -> tuple[dict[str, Any], ...]:
    """Steps that leave spaces where `steps`, at `last`, puts U+2581 in their place."""

    def prepended(step: dict[str, Any]) -> dict[str, Any]:
        return {**step, "prepend": step["prepend"].replace(MARK, " ")}

    for step in steps[last + 1 :]:
        if step["type"] != "Prepend" or " " in step["prepend"]:
            raise ValueError(
                f"normalizer: {step['type']} behind the one that replaces spaces has no "
                "counterpart in bytemill; before it, it would have"
            )
    before, after = steps[:last], steps[last + 1 :]
    if all(step["type"] == "Prepend" for step in before):
        before = tuple(map(prepended, before))
    return (*before, dict(_REPLACE), *map(prepended, after))


def _check_added(
    added: Sequence[AddedToken], steps: Sequence[Mapping[str, Any]], *, in_text: bool
) -> None:
    """Refuses tokens that are looked for where U+2581 is not a space and spaces are.

    They are looked for as `steps` make them, too.
    """
    put = "".join(step.get("prepend", "") + step.get("content", "") for step in steps)
    for token in added:
        strips = token.lstrip or token.rstrip
        if token.normalized and (strips or (in_text and {" ", MARK} & set(token.content + put))):
            raise ValueError(
                f"the added token {token.content!r} is looked for in normalized text and has to "
                "do with spaces, for which bytemill has no counterpart beside U+2581; with "
                "normalized false it has"
            )


def _split(item: dict[str, Any], marked: bool) -> dict[str, Any] | None:
    """A split in this module's terms; None for one that never finds anything."""
    kind = item["type"]
    if kind in ("Digits", "Punctuation"):
        return pipeline.split(item)
    if kind == "Split" and (not marked or set(item.get("pattern") or ()) == {"String"}):
        text = (item.get("pattern") or {}).get("String")
        if marked and isinstance(text, str):
            found = pipeline.split({**item, "pattern": {"String": text.replace(MARK, " ")}})
            if " " not in text:
                return found
            if not found["invert"]:
                return None
            raise ValueError(
                f"pre_tokenizer: Split by {text!r} finds nothing where U+2581 stands for spaces, "
                "and inverted has no counterpart; leave it out"
            )
        return pipeline.split(item)
    if kind == "Split":
        raise ValueError(
            "pre_tokenizer: Split by a Regex has no counterpart where U+2581 stands for spaces, "
            "only by a String"
        )
    raise ValueError(
        f"pre_tokenizer {kind} has no counterpart in bytemill in a BPE of characters (one without "
        "ByteLevel)"
    )


def _never_covers(text: str) -> dict[str, Any]:
    return {"pattern": f"(?:{text})", "behavior": "", "invert": False, "covers": False}


def _pattern(splits: list[dict[str, Any]]) -> str:
    if splits == [{**_never_covers(" "), "behavior": "MergedWithNext"}]:
        return " [^ ]*|[^ ]+"
    return pipeline.in_a_row([{**split, "bytes": False} for split in splits])


def decoder(part: Any, marked: bool) -> bool:
    """Whether a decoder takes a space from the beginning of the text.

    Raises:
        ValueError: If it does not give the text of this kind of tokens back.
    """
    parts = pipeline.flattened(part, "decoders", "decoder")
    expected: list[dict[str, Any]] = [{"type": "ByteFallback"}, {"type": "Fuse"}]
    if marked:
        replace = {"type": "Replace", "pattern": {"String": MARK}, "content": " "}
        expected.insert(0, replace)
    n = len(expected)
    rest = parts[n:]
    strips = [{"type": "Strip", "content": " ", "start": n, "stop": 0} for n in (0, 1)]
    if parts[:n] == expected and (not rest or (len(rest) == 1 and rest[0] in strips)):
        return bool(rest) and rest[0] == strips[1]
    raise ValueError(
        f"decoder is {[item['type'] for item in parts]}, for which bytemill has no counterpart: "
        f"with these tokens it is {', '.join(item['type'] for item in expected)} and, perhaps, a "
        "Strip of one space"
    )


def spelled(token: str, marked: bool) -> bytes:
    """The text that a token stands for.

    Raises:
        ValueError: If it is not one.
    """
    try:
        return (token.replace(MARK, " ") if marked else token).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"model.vocab: the token {token!r} has half of a surrogate pair in it, which no text "
            "has; take it out"
        ) from None


class Tokens(NamedTuple):
    """A model's vocabulary, taken apart."""

    symbols: dict[bytes, int]
    """What merging begins with: the 256 bytes, of which those of ASCII are characters where these
    are tokens, and then longer characters."""
    others: dict[bytes, int]
    """Tokens of several characters."""
    spellings: tuple[tuple[str, int], ...]
    """Tokens that no text has, with what they are decoded to."""
    left: frozenset[str]
    """Those of the file that are not among `others` by their names."""


def tokens(vocab: Mapping[str, int], alone: frozenset[str], marked: bool) -> Tokens:
    """The tokens of a model.

    Args:
        vocab: Them with their ids, as they are in the file.
        alone: Those that are only added tokens.
        marked: Whether U+2581 stands for a space.

    Raises:
        ValueError: If a byte or the space is missing, or an id is not one.
    """
    if len(vocab) > _MAX_TOKENS:
        raise ValueError(f"model.vocab has {len(vocab)} tokens: at most {_MAX_TOKENS} are read")
    for text, id_ in vocab.items():
        if not isinstance(id_, int) or isinstance(id_, bool) or id_ < 0 or not text:
            raise ValueError(f"model.vocab: the id of {text!r} is {id_!r}, not an id of a token")
    of_bytes = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}
    for name in of_bytes:
        if name not in vocab:
            raise ValueError(
                f"model.vocab has no token {name!r}, for which bytemill has no counterpart: a BPE "
                "of characters must have all 256 bytes to fall back on"
            )
    if marked and MARK not in vocab:
        raise ValueError(
            "model.vocab has no token for U+2581, which stands for a space: bytemill has no "
            "counterpart for one of three bytes"
        )
    symbols = {byte: vocab[name] for name, byte in of_bytes.items()}
    longer: dict[bytes, int] = {}
    others: dict[bytes, int] = {}
    spellings: list[tuple[str, int]] = []
    left = set(of_bytes)
    for text, id_ in vocab.items():
        if text in of_bytes or text in alone:
            continue
        token = spelled(text, marked)
        if marked and " " in text:
            spellings.append((token.decode(), id_))
            left.add(text)
        elif len(text) > 1:
            others[token] = id_
        elif len(token) > 1:
            longer[token] = id_
        else:
            spellings.append((token.decode(), symbols[token]))
            symbols[token] = id_
    return Tokens({**symbols, **longer}, others, tuple(spellings), frozenset(left))


def merges(found: Sequence[Any], vocab: Mapping[str, int], marked: bool) -> list[Pair]:
    """The merges, in their order.

    Raises:
        ValueError: For one that is not of two tokens to one, or has to do with a byte's token,
            naming it.
    """
    pairs = []
    usual = {
        text: spelled(text, marked)
        for text in vocab
        if not (_BYTE.fullmatch(text) or (marked and " " in text))
    }
    for merge in found:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2:
            raise ValueError(f"model.merges: {merge!r} is not a merge of two tokens")
        left, right = parts
        if (
            type(left) is type(right) is str
            and left in usual
            and right in usual
            and left + right in usual
        ):
            pairs.append((usual[left], usual[right]))
            continue
        for part in (*parts, "".join(map(str, parts))):
            if not isinstance(part, str) or part not in vocab:
                raise ValueError(
                    f"model.merges: the merge {merge!r} needs the token {part!r}, which is not in "
                    "model.vocab"
                )
            if _BYTE.fullmatch(part):
                raise ValueError(
                    f"model.merges: the merge {merge!r} has to do with the token {part!r} of a "
                    "byte, for which bytemill has no counterpart"
                )
        if not marked or " " not in left + right:
            pairs.append((spelled(left, marked), spelled(right, marked)))
    return pairs


def finest(tokens: Iterable[bytes]) -> str:
    """A pattern that cuts text where none of `tokens` lies across, as far as it looks at kinds of
    characters: before runs of spaces, and between digits, punctuation, line feeds and others.

    Whatever merging makes is one of `tokens`, so that nothing is merged across such a place, and
    what lies on either side is merged as if it were alone.
    """
    kinds = [re.compile(f"[{kind}]") for kind in _CLASSES]
    group = list(range(len(kinds) + 1))
    seen: set[tuple[str, str]] = set()
    for token in tokens:
        text = token.decode()
        seen.update(itertools.pairwise(text))

    def kind(character: str) -> int:
        of = (i for i, pattern in enumerate(kinds) if pattern.match(character))
        return next(of, len(kinds))

    for before, after in seen:
        if before != " " and after == " ":
            return WHOLE
        if " " not in (before, after):
            a, b = group[kind(before)], group[kind(after)]
            group = [a if g == b else g for g in group]
    ways = []
    for g in dict.fromkeys(group):
        if group[-1] != g:
            inside = "".join(c for c, own in zip(_CLASSES, group, strict=False) if own == g)
            ways.append(f" *[{inside}]+")
        else:
            outside = "".join(c for c, own in zip(_CLASSES, group, strict=False) if own != g)
            ways.append(f" *[^ {outside}]+")
    return "|".join([*ways, " +"])
