"""What all evaluations share: their processes, and the file that their results are saved in."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from bytemill import Tokenizer, __version__
from bytemill.cli import model
from bytemill.cli.command import Status, check_out, exit_status
from bytemill.files import naming_full_disk, write_bytes
from bytemill.lm.checkpoint.loading import LoadedModel
from bytemill.lm.device import runtime
from bytemill.lm.distributed.group import FailedElsewhereError, Group, device_of, joined
from bytemill.lm.distributed.place import Place

FOLDER: Final = "evaluation"
"""In a run's folder, or beside a checkpoint's."""
_GIT_SECONDS: Final = 10


def ended(run: Callable[[], None], interrupted: str) -> int:
    """Runs a program that may be one of several processes; returns its exit status."""
    rank = os.environ.get("RANK", "0")

    def work() -> int | None:
        try:
            run()
        except FailedElsewhereError:
            return Status.BAD_INPUT  # who failed tells
        return None

    return exit_status(work, interrupted, "" if rank == "0" else f"rank {rank}: ")


def add_out(parser: argparse.ArgumentParser, what: str) -> None:
    """--out."""
    parser.add_argument(
        "--out", metavar="DIR", help=f"where {what} are saved (default: RUN/{FOLDER})"
    )


@dataclass(frozen=True)
class Asked:
    """A model that is evaluated, by one process or several."""

    loaded: LoadedModel
    tokenizer: Tokenizer | None
    device: torch.device
    dtype: torch.dtype
    """To compute in."""
    out: Path
    """The folder of the results."""
    identity: str
    """The weights' hash, the tokenizer's fingerprint and the dtype: what decides every answer."""
    ranks: Group
    began: float

    def save(self, name: str, results: Mapping[str, Any]) -> dict[str, Any]:
        """Puts results into `name`.json, under what they are results of; returns all of it."""
        whole = {
            "format": f"bytemill-{name}-eval",
            "version": 1,
            "bytemill": __version__,
            "git": git_state(),
            "machine": f"{platform.machine()}, {runtime.device_name(self.device)}",
            "processes": self.ranks.size,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.perf_counter() - self.began, 1),
            "checkpoint": str(self.loaded.path),
            "step": self.loaded.step,
            "identity": self.identity,
            "dtype": str(self.dtype).removeprefix("torch."),
            **results,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(whole, indent=1, allow_nan=False)
        write_bytes(self.out / f"{name}.json", f"{text}\n".encode())
        return whole


@contextmanager
def asked(args: argparse.Namespace, *, needs_tokenizer: bool = True) -> Iterator[Asked]:
    """The model that the flags name, on each of the processes that torchrun has started.

    Raises:
        ValueError: As `model.load` and `model.tokenizer_of`; the processes differ in what they were
            given, or the results' folder cannot be.
        DiskFullError: Within the block, there is no room for answers; those before are kept.
    """
    began = time.perf_counter()
    place = Place.here()
    if place.size > 1:
        args.device = device_of(args.device, place)
    with joined(runtime.choose_device(args.device)) as group:
        with group.all_or_none():
            loaded, dtype = model.load(args)
            tokenizer = None
            if needs_tokenizer or loaded.tokenizer is not None or args.tokenizer is not None:
                tokenizer = model.tokenizer_of(args, loaded)
            out = Path(args.out) if args.out else loaded.path.absolute().parent.parent / FOLDER
            check_out(out)
            fingerprint = None if tokenizer is None else tokenizer.fingerprint
            identity = f"{_content(loaded)}, {fingerprint}, {dtype}"
        options = {k: v for k, v in vars(args).items() if k not in ("device", "out", "threads")}
        group.agree({"model": identity, **options})
        loaded.model.eval()
        with naming_full_disk(out, "run the same command again"):
            yield Asked(loaded, tokenizer, group.device, dtype, out, identity, group, began)


def git_state() -> dict[str, Any] | None:
    """The commit of the repository that the program is run in, and whether tracked files differ
    from it; None outside of one, or without git."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", *words], capture_output=True, check=True, text=True, timeout=_GIT_SECONDS
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return {"commit": commit, "is_changed": bool(changes)}


def _content(loaded: LoadedModel) -> str:
    """A hash of the weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(loaded.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
