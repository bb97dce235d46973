"""A tokenizer.json's post-processor: the ids that it puts before and after a text."""

from collections.abc import Mapping
from typing import Any

from bytemill.formats.tokenizer_json.pipeline import flattened

Around = tuple[tuple[int, ...], tuple[int, ...]]


def around(part: Any, known: Mapping[str, int]) -> Around:
    """The ids before a single text and after it.

    Args:
        part: "post_processor".
        known: All tokens with their ids, as they are written in the file.

    Raises:
        ValueError: For a component or a template that has no counterpart, naming it.
    """
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    for item in flattened(part, "processors", "post_processor"):
        kind = item["type"]
        if kind == "ByteLevel":
            continue
        if kind == "TemplateProcessing":
            first, last = _template(item)
        elif kind in ("RobertaProcessing", "BertProcessing"):
            first, last = (_named(item, "cls", known),), (_named(item, "sep", known),)
        else:
            raise ValueError(f"post_processor {kind} has no counterpart in bytemill")
        before, after = first + before, after + last
    return before, after


def _named(item: dict[str, Any], key: str, known: Mapping[str, int]) -> int:
    """The id of `[text, id]`, which `tokenizers` takes as it is."""
    value = item.get(key)
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not isinstance(value[0], str)
        or not _is_id(value[1])
    ):
        raise ValueError(
            f"post_processor: {item['type']}'s {key} is {value!r}, not a text and an id"
        )
    if known.get(value[0]) != value[1]:
        raise ValueError(
            f"post_processor: {item['type']}'s {key} is {value!r}, but the vocabulary has the id "
            f"{known.get(value[0])} for it"
        )
    id_: int = value[1]
    return id_


def _template(item: dict[str, Any]) -> Around:
    pieces, special = item.get("single"), item.get("special_tokens")
    if not isinstance(pieces, list) or not isinstance(special, dict):
        raise ValueError(
            "post_processor: TemplateProcessing needs a list single and special_tokens"
        )
    sides: list[list[int]] = [[]]
    for piece in pieces:
        if isinstance(piece, dict) and isinstance(piece.get("Sequence"), dict):
            if piece["Sequence"].get("id") != "A":
                raise ValueError(
                    f"post_processor: in TemplateProcessing's single {piece!r} is not sequence A"
                )
            sides.append([])
            continue
        token = piece.get("SpecialToken") if isinstance(piece, dict) else None
        name = token.get("id") if isinstance(token, dict) else None
        if not isinstance(name, str):
            raise ValueError(f"post_processor: {piece!r} is not a piece of a template")
        entry = special.get(name)
        ids = entry.get("ids") if isinstance(entry, dict) else None
        if not isinstance(ids, list) or not all(map(_is_id, ids)):
            raise ValueError(
                f"post_processor: TemplateProcessing names {name!r}, which is not among its "
                "special_tokens with their ids"
            )
        sides[-1] += ids
    if len(sides) != 2:
        raise ValueError(
            f"post_processor: TemplateProcessing's single has the text {len(sides) - 1} times, for "
            "which bytemill has no counterpart: it must have it once"
        )
    return tuple(sides[0]), tuple(sides[1])


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
