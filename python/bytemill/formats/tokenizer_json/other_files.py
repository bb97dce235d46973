"""What a place holds that was taken for a tokenizer.json, and how that is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_TIKTOKEN_LINE: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")
_BEGINNING: Final = 4096


def of_folder(folder: Path) -> str:
    """What is wrong with a folder in which there is no tokenizer.json, with the remedy."""
    reason = f"{folder}: there is no tokenizer.json in this folder"
    for name in ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"):
        if (folder / name).is_file() and (said := of_file(folder / name)) is not None:
            return f"{reason}. {said}"
    if (folder / "bytemill.json").is_file():
        return f"{reason}. It holds one of bytemill's own, which Tokenizer.load reads"
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return f"{reason}. Its vocab.json and merges.txt are read by Tokenizer.from_files"
    for path in sorted(folder.glob("*.tiktoken")):
        if (said := of_file(path)) is not None:
            return f"{reason}. {said}"
    return f"{reason}, which from_huggingface and from_pretrained read"


def of_file(path: Path) -> str | None:
    """What a file is if it is a tokenizer of another kind, with the remedy; otherwise None."""
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if _TIKTOKEN_LINE.match(beginning):
        return (
            f"Its {path.name} has the lines of a .tiktoken file, as Llama 3's original and Qwen's "
            f"first have: Tokenizer.from_tiktoken({str(path)!r}, pattern=, special_tokens=) "
            "reads it, given the pattern and the special tokens, which are not in the file"
        )
    if is_sentencepiece(beginning):
        return (
            f"Its {path.name} is a model of SentencePiece's, which is not read. Let transformers "
            f"write it as tokenizer.json: AutoTokenizer.from_pretrained({str(path.parent)!r})"
            ".save_pretrained(folder); the packages sentencepiece and protobuf are needed for that"
        )
    return None


def is_sentencepiece(beginning: bytes) -> bool:
    """Whether bytes begin as a model of SentencePiece's does: with a piece and its score.

    A protobuf message's field 1, with a message of a string in field 1 and, if there is more, a
    float in field 2.
    """
    if len(beginning) < 4 or beginning[0] != 0x0A or beginning[2] != 0x0A:
        return False
    whole, piece = beginning[1], beginning[3]
    after = beginning[4 + piece : 5 + piece]
    return whole >= piece + 2 and (whole == piece + 2 or after in (b"\x15", b"\x18"))
