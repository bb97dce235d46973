"""tokenizer.json as several libraries write it; what it means, the format's own library says."""

from __future__ import annotations

import json
from pathlib import Path

from bytemill import Tokenizer

NAME = "tokenizer.json"
REGEXES = (
    r"\p{L}+|\s",
    r" ?[^(\s|[.,!?…])]+",
    r"\w+|[^\w\s]+",
    r"\s+",
    r"\d{1,3}",
    r"'s|\p{Lu}?\p{Ll}+|.",
)
TEXTS = (
    "low été 你好 <|end|>\r\n  x",
    "Hello, world! In 2024: 12 km² straße\n\n  x",
    "k\u200dm¹ ½ <|e",
)


def seeds(saved: dict[str, bytes]) -> list[dict[str, bytes]]:
    """Our own file, and others made from it."""
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    found = [saved]
    for regex in REGEXES:
        file = json.loads(saved[NAME])
        split = {
            "type": "Split",
            "pattern": {"Regex": regex},
            "behavior": "Isolated",
            "invert": False,
        }
        file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, level]}
        found.append({NAME: json.dumps(file).encode()})
    file = json.loads(saved[NAME])
    file["pre_tokenizer"] = {**level, "use_regex": True}
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
    return [*found, {NAME: json.dumps(file).encode()}]


def read(folder: Path) -> Tokenizer:
    """Imports the file.

    Raises:
        AssertionError: If the format's own library, where it is there and reads the file,
            gives other ids.
    """
    ours = Tokenizer.from_huggingface(folder)
    try:
        import tokenizers

        theirs = tokenizers.Tokenizer.from_file(str(folder / NAME))
    except BaseException:  # it is not there, it refuses the file, or it panics
        return ours
    for text in TEXTS:
        expected = theirs.encode(text, add_special_tokens=False).ids
        found = ours.encode(text)
        if found != expected:
            raise AssertionError(f"{text!r} gives {found}, with tokenizers {expected}")
    return ours
