"""A tokenizer.json of the frequent kind: the core reads its tokens and merges, Python the rest.

It is used only where it is shown to give what reading all of it here would give.
"""

from typing import Any

from bytemill import _core, files
from bytemill.formats import selfcheck
from bytemill.formats.tokenizer_json import characters, content
from bytemill.vocabulary import Vocabulary


def vocabulary(file: bytes, name: str) -> Vocabulary | None:
    """The vocabulary that `content.vocabulary` makes of the file; None if the file has to be read
    by it, because it says something else, or something wrong, which is told there.

    Args:
        file: The bytes of a tokenizer.json.
        name: The vocabulary's name.
    """
    found = _core.TokenizerJson.read(file)
    if found is None:
        return None
    try:
        data = files.strict_json(found.rest.decode("utf-8"))
        if characters.applies(data["model"], data.get("pre_tokenizer")):
            return None
        added = _added(data.get("added_tokens"))
        known = found.ranks(added, bool(data["model"].get("ignore_merges")))
        if known is None:
            return None
        ranks, of_model = known
        data["model"]["vocab"] = {text: added[text] for text in of_model}
        read = content.vocabulary(data, name, content.Known(ranks, len(found)))
        if not selfcheck.is_settled(read):
            read.encoder  # noqa: B018  (says what is wrong with regexes, as reading slowly does)
    except (RecursionError, TypeError, ValueError):
        return None
    return read


def _added(entries: Any) -> dict[str, int]:
    """The added tokens with the ids in the file.

    Raises:
        TypeError, ValueError: If they are not written as usual.
    """
    added: dict[str, int] = {}
    for entry in entries or ():
        if not isinstance(entry, dict):
            raise TypeError(f"{entry!r} is not an object")
        text, id_ = entry.get("content"), entry.get("id")
        if not isinstance(text, str) or type(id_) is not int or not 0 <= id_ < 2**32:
            raise ValueError(f"{entry!r} is not an added token")
        added[text] = id_
    return added
