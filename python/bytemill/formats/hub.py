"""Where the tokenizer.json of a model on the Hugging Face hub is on this machine."""

import os
import re
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
_FILE: Final = "tokenizer.json"


def find(
    name_or_folder: str | os.PathLike[str], *, revision: str | None = None, download: bool = False
) -> Path:
    """The path of a tokenizer.json.

    Args:
        name_or_folder: A folder with the file in it, the file, or a model's name on the hub, which
            is looked for in the hub's cache (HF_HUB_CACHE, or hub in HF_HOME).
        revision: A branch, tag or commit of the model; "main" by default.
        download: Whether the hub is asked, by the package huggingface_hub. Otherwise nothing is.

    Raises:
        FileNotFoundError: If it is not there, with what would help.
        ImportError: For `download` without huggingface_hub.
        OSError: If the hub cannot be reached, or does not have it.
        ValueError: If the name is neither a path that exists nor a name that the hub could have.
    """
    path = Path(name_or_folder)
    if path.is_file():
        return path
    if path.is_dir():
        if not (path / _FILE).is_file():
            raise FileNotFoundError(f"{path}: there is no {_FILE} in this folder")
        return path / _FILE
    name = os.fspath(name_or_folder)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{name!r} is neither a folder nor a model's name on the hub (org/name)")
    if download:
        return _download(name, revision)
    cache = _cache() / f"models--{name.replace('/', '--')}"
    commit = revision or "main"
    reference = cache / "refs" / commit
    if reference.is_file():
        commit = reference.read_text(encoding="utf-8").strip()
    found = cache / "snapshots" / commit / _FILE
    if not found.is_file():
        raise FileNotFoundError(
            f"{name}: there is neither a folder of this name nor a {_FILE} of revision "
            f"{revision or 'main'} in the hub's cache ({cache}); download=True fetches it"
        )
    return found


def _cache() -> Path:
    home = os.environ.get("HF_HOME")
    if (given := os.environ.get("HF_HUB_CACHE")) is not None:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return (Path(home) if home else Path(base) / "huggingface").expanduser() / "hub"


def _download(name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError(
            f"downloading {name} needs the package huggingface_hub: pip install huggingface_hub"
        ) from error
    return Path(hf_hub_download(name, _FILE, revision=revision))
