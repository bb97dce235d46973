"""A tokenizer.json's post-processor, for single texts and pairs: what is put around and between
them, which types they have, and whether white space is taken out of spans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bytemill.formats.byte_alphabet import to_text
from bytemill.formats.tokenizer_json.pipeline import flattened
from bytemill.formats.transformers.encoding import Encoding, Part, Source, Span, all_merged

# What counts as white space in a token's name: as in Unicode, and the stand-in for a space.
_SPACE: Final = to_text(b" ") + (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
    + "".join(map(chr, range(0x2000, 0x200B)))
)


@dataclass(frozen=True)
class Special:
    """Ids that are put in."""

    ids: tuple[int, ...]
    type_id: int


@dataclass(frozen=True)
class Text:
    """A place for the first text (0) or the second (1)."""

    sequence: int
    type_id: int


Template = tuple[Special | Text, ...]
_PLAIN: Final[tuple[Template, Template]] = ((Text(0, 0),), (Text(0, 0), Text(1, 1)))


@dataclass(frozen=True)
class PostProcessor:
    """What is done with encodings once they are cut.

    Args:
        single: What a text becomes.
        pair: What two become.
        trims: For each component that takes white space out of spans, whether it takes a first
            space for one that was put in.
        is_template: Whether `single` and `pair` hold without their special tokens, too.
    """

    single: Template = _PLAIN[0]
    pair: Template = _PLAIN[1]
    trims: tuple[bool, ...] = ()
    is_template: bool = True

    def n_added(self, *, is_pair: bool) -> int:
        """How many ids are put in."""
        template = self.pair if is_pair else self.single
        return sum(len(piece.ids) for piece in template if isinstance(piece, Special))

    def apply(
        self,
        texts: Sequence[Encoding],
        name: Callable[[list[int]], list[str]],
        *,
        add_special_tokens: bool,
    ) -> Encoding:
        """One encoding of one text, or of two."""
        if not add_special_tokens and not self.is_template:
            # As in tokenizers, where pieces that were cut off keep the types they had.
            plain = [_typed(text, Text(i, 0), pieces=False) for i, text in enumerate(texts)]
            return all_merged(plain, len(texts))
        template = self.pair if len(texts) == 2 else self.single
        pieces: list[Encoding] = []
        for piece in template:
            if isinstance(piece, Text):
                pieces.append(_typed(texts[piece.sequence], piece))
            elif add_special_tokens:
                source = Source(list(piece.ids), name)
                part = Part(source, 0, len(piece.ids), None, piece.type_id)
                pieces.append(Encoding((part,)))
        return all_merged(pieces, len(texts))

    def trimmed(self, tokens: Sequence[str], offsets: Sequence[Span]) -> list[Span]:
        """The spans of a text's tokens, without white space where the file says so."""
        spans = list(offsets)
        for has_prefix in self.trims:
            spans = [
                _without_space(token, span, keeps_first=has_prefix and (i == 0 or span[0] == 0))
                for i, (token, span) in enumerate(zip(tokens, spans, strict=True))
            ]
        return spans


def read(part: Any) -> PostProcessor:
    """The post-processor of a tokenizer.json.

    Raises:
        ValueError: For one that has no counterpart, naming it.
    """
    single: Template
    pair: Template
    single, pair = _PLAIN
    trims: list[bool] = []
    n_templates, is_template = 0, True
    for item in flattened(part, "processors", "post_processor"):
        kind = item["type"]
        if kind in ("ByteLevel", "RobertaProcessing") and item.get("trim_offsets", True):
            trims.append(bool(item.get("add_prefix_space", True)))
        if kind == "ByteLevel":
            continue
        n_templates += 1
        if kind == "TemplateProcessing":
            ids = {name: tuple(each["ids"]) for name, each in item["special_tokens"].items()}
            single, pair = _template(item["single"], ids), _template(item["pair"], ids)
        elif kind in ("RobertaProcessing", "BertProcessing"):
            first, last = (item["cls"][1],), (item["sep"][1],)
            two, between = (1, last) if kind == "BertProcessing" else (0, last + last)
            single = (Special(first, 0), Text(0, 0), Special(last, 0))
            middle = Special(between, 0)
            pair = (Special(first, 0), Text(0, 0), middle, Text(1, two), Special(last, two))
            is_template = False
        else:
            raise ValueError(f"post_processor {kind} has no counterpart in bytemill")
    if n_templates > 1:
        raise ValueError(
            f"post_processor puts tokens around a text {n_templates} times, for which "
            "as_transformers has no counterpart"
        )
    return PostProcessor(single, pair, tuple(trims), is_template)


def _template(pieces: Sequence[dict[str, Any]], ids: dict[str, tuple[int, ...]]) -> Template:
    template: list[Special | Text] = []
    for piece in pieces:
        if "Sequence" in piece:
            which = piece["Sequence"]
            template.append(Text("AB".index(which["id"]), which["type_id"]))
        else:
            which = piece["SpecialToken"]
            template.append(Special(ids[which["id"]], which["type_id"]))
    return tuple(template)


def _typed(encoding: Encoding, piece: Text, *, pieces: bool = True) -> Encoding:
    parts = (
        replace(part, sequence=piece.sequence, type_id=piece.type_id) for part in encoding.parts
    )
    overflowing = encoding.overflowing
    if pieces:
        overflowing = [_typed(each, piece) for each in overflowing]
    return replace(encoding, parts=tuple(parts), overflowing=overflowing)


def _without_space(token: str, span: Span, *, keeps_first: bool) -> Span:
    start, stop = span
    leading = len(token) - len(token.lstrip(_SPACE))
    trailing = len(token) - len(token.rstrip(_SPACE))
    # More than one cannot have been put in.
    if leading > 1 or (leading and not keeps_first):
        start = min(start + leading, stop)
    if trailing and stop >= trailing:
        stop = max(stop - trailing, start)
    return start, stop
