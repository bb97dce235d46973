"""A vocabulary by whatever names it: bytemill's folder, tokenizer.json, .tiktoken, an encoding."""

import os
from pathlib import Path
from typing import Final

from bytemill.formats import folder, huggingface, tiktoken
from bytemill.vocabulary import Vocabulary

JSON_NAME: Final = "tokenizer.json"
KINDS: Final = (
    f"a folder that Tokenizer.save wrote, a {JSON_NAME} or a folder with one, a .tiktoken file, or "
    "the name of an encoding of tiktoken"
)


def read(source: str | os.PathLike[str]) -> Vocabulary:
    """Reads a vocabulary; where a folder holds bytemill's own files, these count.

    Args:
        source: A folder that `save` wrote or its bytemill.json, a tokenizer.json or a folder with
            one, a .tiktoken file that is named as OpenAI's are, or a name that tiktoken knows.

    Raises:
        FileNotFoundError: There is nothing of the kind; the message names all kinds.
        ImportError: For a well-known encoding's name, if tiktoken is not installed.
        ValueError: A file is damaged, is of another kind or says what bytemill cannot do.
    """
    path = Path(source)
    if path.is_dir():
        if (path / folder.CONFIG_NAME).exists():
            return folder.load(path)
        if (path / JSON_NAME).is_file():
            return huggingface.read(path / JSON_NAME)
        raise FileNotFoundError(
            f"{path}: there is neither {folder.CONFIG_NAME} nor {JSON_NAME} in it; name {KINDS}"
        )
    if path.is_file():
        if path.name == folder.CONFIG_NAME:
            return folder.load(path.parent)
        if path.suffix == ".tiktoken":
            return _ranks(path)
        return huggingface.read(path)
    if len(path.parts) == 1 and not path.suffix:
        try:
            return tiktoken.from_tiktoken(os.fspath(source))
        except (ImportError, ValueError) as error:
            if isinstance(error, ImportError) and path.name in tiktoken.PUBLISHED:
                raise
            raise FileNotFoundError(f"{_missing(source)}: {str(error).splitlines()[0]}") from error
    raise FileNotFoundError(_missing(source))


def _missing(source: str | os.PathLike[str]) -> str:
    return f"{source}: there is nothing of this name; name {KINDS}"


def _ranks(path: Path) -> Vocabulary:
    """Of a .tiktoken file, whose name says its pattern."""
    if path.stem not in tiktoken.PUBLISHED:
        raise ValueError(
            f"{path}: a .tiktoken file does not say its split pattern; make a folder that does, "
            f"once: Tokenizer.from_tiktoken({str(path)!r}, pattern=...).save(...)"
        )
    return tiktoken.from_tiktoken(path)
