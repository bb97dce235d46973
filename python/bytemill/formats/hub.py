"""Where the tokenizer.json of a model on the Hugging Face hub is on this machine."""

import os
import re
from pathlib import Path
from typing import Final

from bytemill import files
from bytemill._arguments import check_str
from bytemill.formats.tokenizer_json import other_files

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
        FileNotFoundError: If it is not there, with what would help; a folder with a tokenizer of
            another kind is named as that.
        ImportError: For `download` without huggingface_hub.
        OSError: If the hub cannot be reached (ConnectionError), or does not give it.
        TypeError: If the name or the revision is not of the right type.
        ValueError: If the name is neither a path that exists nor a name that the hub could have.
    """
    path = files.named("name_or_folder", name_or_folder)
    if path.is_file():
        return path
    if path.is_dir():
        if not (path / _FILE).is_file():
            raise FileNotFoundError(other_files.of_folder(path))
        return path / _FILE
    name = os.fspath(path)
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{name!r} is neither a folder nor a model's name on the hub (org/name)")
    if revision is not None and (not check_str("revision", revision) or ".." in revision):
        raise ValueError(f"revision={revision!r}: expected a branch, a tag or a commit")
    if download:
        return _download(name, revision)
    cache = _cache() / f"models--{name.replace('/', '--')}"
    commit = revision or "main"
    reference = cache / "refs" / commit
    if reference.is_file():
        commit = reference.read_text(encoding="utf-8", errors="replace").strip()
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
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(
            f"downloading {name} needs the package huggingface_hub: pip install huggingface_hub"
        ) from error
    where = f"{name}, revision {revision or 'main'}"
    remedy = (
        f"with {_FILE} and its folder copied from elsewhere, pass the folder to from_pretrained"
    )
    try:
        return Path(hf_hub_download(name, _FILE, revision=revision))
    except LocalEntryNotFoundError as error:  # it was not asked
        raise ConnectionError(
            f"{where}: its {_FILE} is not in the hub's cache ({_cache()}), and the hub could not "
            f"be reached: {first_line(error)} Try again where there is a network, or {remedy}"
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(
            f"{where}: there is no {_FILE} on the hub. If there is a tokenizer.model, let "
            "transformers write it as tokenizer.json: "
            f"AutoTokenizer.from_pretrained({name!r}).save_pretrained(folder)"
        ) from error
    except ValueError as error:
        raise ValueError(f"{where}: {first_line(error)}") from error
    except Exception as error:  # those of the hub's answers and of the network have no common kind
        raise OSError(
            f"{where}: its {_FILE} could not be fetched: {first_line(error)} Look whether the name "
            f"and the revision are right and open to you (hf auth login), or {remedy}"
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says first, with its kind."""
    said = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    return f"{type(error).__name__}: {said}" if said else f"{type(error).__name__}."
