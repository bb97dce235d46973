"""Checkpoints: one file for a model and its optimizer (as in CS336, 5.2), a folder for a run.

`CheckpointStore` keeps these folders in RUN/checkpoints:

    step-00000123/model.safetensors        the weights, under the names of the model's state dict
    step-00000123/optimizer.safetensors    the optimizers' tensors and the random generators' states
    step-00000123/state.json               format, version, step, configuration, loader, metrics,
                                           and the SHA-256 of the two files

A folder is built under a hidden name, flushed to disk and renamed, so that whatever bears a step's
name is whole: a crash or kill leaves what was there before.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import torch

from bytemill import atomic
from bytemill.lm import runtime, state

if TYPE_CHECKING:
    from bytemill import Tokenizer
    from bytemill.lm.config import ModelConfig
    from bytemill.lm.model import Transformer

StrPath = str | os.PathLike[str]

FILE_FORMAT: Final = "bytemill-checkpoint-file"
FORMAT: Final = "bytemill-checkpoint"
VERSION: Final = 1
FOLDER: Final = "checkpoints"
TOKENIZER_FOLDER: Final = "tokenizer"
_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_NAME: Final = re.compile(r"step-(\d{8,})")


def save_checkpoint(
    model: torch.nn.Module,
    optimizer: state.Optimizers,
    iteration: int,
    out: StrPath | BinaryIO,
) -> None:
    """Writes one file with all that is needed to go on training: a safetensors file.

    Args:
        model: Any module.
        optimizer: One optimizer, or several.
        iteration: How many steps have been made.
        out: A path, which is replaced in one step, or a file opened for writing bytes.

    Raises:
        OSError: If it cannot be written.
        TypeError: If the optimizer's state holds what safetensors and JSON cannot.
    """
    tensors = {f"model.{k}": v for k, v in state.unwrapped(model).state_dict().items()}
    data = state.pack_optimizers(optimizer, tensors)
    metadata = {
        "format": FILE_FORMAT,
        "version": str(VERSION),
        "iteration": str(int(iteration)),
        "optimizer": json.dumps(data),
    }
    content = state.to_bytes(tensors, metadata)
    if isinstance(out, (str, os.PathLike)):
        atomic.write_bytes(out, content)
    else:
        out.write(content)


def load_checkpoint(
    src: StrPath | BinaryIO, model: torch.nn.Module, optimizer: state.Optimizers
) -> int:
    """Reads what `save_checkpoint` wrote into a model and its optimizer.

    Args:
        src: A path, or a file opened for reading bytes.
        model: A module with the same parameters.
        optimizer: Made as the one that was saved.

    Returns:
        The iteration.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, of another format, or of another model.
    """
    if isinstance(src, (str, os.PathLike)):
        source, content = os.fspath(src), Path(src).read_bytes()
    else:
        source, content = str(getattr(src, "name", "the file")), src.read()
    tensors, metadata = state.from_bytes(content, source)
    _check_format(source, metadata.get("format"), metadata.get("version"), FILE_FORMAT)
    weights = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
    try:
        state.load_weights(model, weights)
        state.unpack_optimizers(optimizer, json.loads(metadata["optimizer"]), tensors)
        return int(metadata["iteration"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from None


def _check_format(source: str, format: object, version: object, expected: str) -> None:
    if format != expected:
        raise ValueError(
            f'{source}: "format" is {format!r}, not {expected!r}: it is no checkpoint of bytemill, '
            "or was damaged; files of torch.save are not read, as they can run code"
        )
    if str(version) != str(VERSION):
        raise ValueError(
            f"{source}: version {version} of the format; this bytemill reads version {VERSION}: "
            "update bytemill"
        )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in a folder, its state.json read and checked."""

    path: Path
    step: int
    """Optimizer steps made."""
    model_config: dict[str, Any]
    """`ModelConfig.to_dict()`."""
    metrics: dict[str, float]
    """The last validation's, "val_loss" among them."""
    state: dict[str, Any]
    """What the caller of `CheckpointStore.save` gave: configuration, loader."""
    optimizer: Any
    files: dict[str, str]
    """File names with their SHA-256."""

    @classmethod
    def read(cls, path: StrPath) -> Checkpoint:
        """Reads the state.json in the folder `path`.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is damaged, or of another format or version.
        """
        folder = Path(path)
        file = folder / _STATE
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: no such file; a checkpoint is a folder that a training run has written, "
                f"like RUN/{FOLDER}/step-00001000"
            )
        try:
            fields = json.loads(file.read_bytes())
        except ValueError:
            raise _damaged(file, "it is no JSON") from None
        if not isinstance(fields, dict):
            raise _damaged(file, "it is no JSON object")
        _check_format(str(file), fields.pop("format", None), fields.pop("version", None), FORMAT)
        try:
            result = cls(path=folder, **fields)
        except TypeError:
            raise _damaged(file, f"its fields are {', '.join(sorted(fields))}") from None
        good = isinstance(result.step, int) and set(result.files) == {_MODEL, _OPTIMIZER}
        if not good or not all(isinstance(x, dict) for x in (result.model_config, result.state)):
            raise _damaged(file, "its fields are not what they should be")
        return result

    def load_weights(self, model: torch.nn.Module) -> None:
        """Copies the weights into `model`; ValueError if they are damaged or of another model."""
        tensors = self._read(_MODEL)
        try:
            state.load_weights(model, tensors)
        except ValueError as error:
            raise ValueError(f"{self.path / _MODEL}: {error}") from None

    def load_training(self, optimizers: state.Optimizers) -> None:
        """Gives back the optimizers' state and the random generators'; ValueError if damaged."""
        tensors = self._read(_OPTIMIZER)
        try:
            state.unpack_optimizers(optimizers, self.optimizer, tensors)
        except ValueError as error:
            raise ValueError(f"{self.path / _OPTIMIZER}: {error}") from None
        rng = {name[4:]: t for name, t in tensors.items() if name.startswith("rng.")}
        runtime.set_rng_state(rng)

    def _read(self, name: str) -> state.Tensors:
        path = self.path / name
        try:
            found = state.sha256(path)
        except FileNotFoundError:
            raise _damaged(path, f"the file is missing, though {_STATE} names it") from None
        if found != self.files[name]:
            raise _damaged(path, f"its SHA-256 is not the one in {_STATE}")
        return state.read_file(path)


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path}: {reason}; the checkpoint was changed, truncated or damaged: restore it from a "
        f"copy, or delete the folder {path.parent} and go on from the checkpoint before it"
    )


class CheckpointStore:
    """The checkpoints of a run.

    Args:
        run: The run's folder.
        keep_last: How many of the latest to keep; the best, by "val_loss", is kept besides.
    """

    def __init__(self, run: StrPath, keep_last: int = 2) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last={keep_last}: at least 1 checkpoint must be kept")
        self.folder = Path(run) / FOLDER
        self._keep_last = keep_last

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` is, or would be."""
        return self.folder / f"step-{step:08}"

    def last(self) -> Checkpoint | None:
        """The latest checkpoint, None if there is none; ValueError if it is damaged."""
        steps = self.steps()
        return Checkpoint.read(self.path(steps[-1])) if steps else None

    def best(self) -> Checkpoint | None:
        """The one with the lowest "val_loss"; without validation, the latest."""
        best, lowest = None, math.inf
        for step in self.steps():
            checkpoint = Checkpoint.read(self.path(step))
            loss = checkpoint.metrics.get("val_loss", math.inf)
            if loss < lowest:
                best, lowest = checkpoint, loss
        return best or self.last()

    def save(
        self,
        step: int,
        model: torch.nn.Module,
        optimizers: state.Optimizers,
        *,
        model_config: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes a checkpoint, then removes those that are not to be kept.

        Args:
            step: Optimizer steps made.
            model: Its weights are saved in their own dtype.
            optimizers: In the order in which they will be loaded.
            model_config: `ModelConfig.to_dict()`.
            metrics: Numbers; "val_loss" decides which checkpoint is best.
            extra: JSON data that `Checkpoint.state` gives back.

        Returns:
            The checkpoint's folder.

        Raises:
            FileExistsError: The step has a checkpoint.
            OSError: It cannot be written, for example as the disk is full; what was there before is
                as it was.
        """
        target = self.path(step)
        if target.exists():
            raise FileExistsError(
                errno.EEXIST, "the step has a checkpoint; remove it to write another", str(target)
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".{target.name}.{secrets.token_hex(6)}.tmp"
        beside.mkdir()
        try:
            weights = state.unwrapped(model).state_dict()
            tensors = {f"rng.{name}": t for name, t in runtime.rng_state().items()}
            optimizer = state.pack_optimizers(optimizers, tensors)
            files = {
                _MODEL: state.write_file(beside / _MODEL, weights),
                _OPTIMIZER: state.write_file(beside / _OPTIMIZER, tensors),
            }
            whole = {
                "format": FORMAT, "version": VERSION, "step": step,
                "model_config": dict(model_config), "metrics": dict(metrics or {}),
                "state": dict(extra or {}), "files": files, "optimizer": optimizer,
            }  # fmt: skip
            atomic.write_bytes(beside / _STATE, (json.dumps(whole, indent=1) + "\n").encode())
            _flush_folder(beside)
            beside.rename(target)
            _flush_folder(self.folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        self._prune()
        return target

    def clean(self) -> None:
        """Removes what killed runs left half written; only for the one process that saves here."""
        if self.folder.is_dir():
            for path in self.folder.glob(".step-*.tmp"):
                shutil.rmtree(path, ignore_errors=True)

    def _prune(self) -> None:
        steps = self.steps()
        keep = set(steps[-self._keep_last :])
        with contextlib.suppress(ValueError, OSError):  # a damaged one: remove nothing
            if best := self.best():
                keep.add(best.step)
            for step in steps:
                if step not in keep:
                    path = self.path(step)
                    # Renamed first: a kill halfway leaves no part of it under a step's name.
                    gone = path.rename(path.with_name(f".{path.name}.removed.tmp"))
                    shutil.rmtree(gone, ignore_errors=True)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@dataclass(frozen=True)
class LoadedModel:
    """A model from a checkpoint, ready to be used."""

    model: Transformer
    config: ModelConfig
    tokenizer: Tokenizer | None
    """The one saved with the run; None if there is none."""
    step: int
    path: Path
    """The checkpoint's folder."""


def find_checkpoint(path: StrPath, which: str | int = "best") -> Checkpoint:
    """The checkpoint in a folder, or the one of a run that is asked for.

    Args:
        path: A run's folder, or one checkpoint's.
        which: "best" (by validation loss), "last", or a step; decides nothing for a checkpoint's
            folder.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: It is damaged; or `which` is none of these.
    """
    folder = Path(path)
    if which not in ("best", "last") and (not isinstance(which, int) or isinstance(which, bool)):
        raise ValueError(f'which={which!r}: it must be "best", "last" or a step')
    if (folder / _STATE).is_file():
        return Checkpoint.read(folder)
    store = CheckpointStore(folder)
    steps = store.steps()
    if not steps:
        if folder.is_file():
            raise ValueError(
                f"{folder}: a file, and not the folder of a run or of a checkpoint; "
                "for a file of save_checkpoint use load_checkpoint"
            )
        raise FileNotFoundError(
            f"{folder}: no checkpoint is there; give a run's folder after its first save, or a "
            f"folder like RUN/{FOLDER}/step-00001000"
        )
    if isinstance(which, int):
        if which not in steps:
            there = ", ".join(map(str, steps))
            raise FileNotFoundError(f"{folder}: no checkpoint of step {which}; there are {there}")
        return Checkpoint.read(store.path(which))
    found = store.best() if which == "best" else store.last()
    return found or Checkpoint.read(store.path(steps[-1]))


def load_model(
    path: StrPath,
    *,
    which: str | int = "best",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LoadedModel:
    """Loads a model for evaluation or generation: in eval mode, its parameters without gradients.

    Args:
        path: A run's folder, or one checkpoint's.
        which: Of a run: "best" (by validation loss), "last", or a step.
        device: Where to put the weights.
        dtype: Of the weights.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The checkpoint is truncated, damaged or foreign, or its tokenizer is.
    """
    from bytemill import Tokenizer
    from bytemill.lm.config import ModelConfig
    from bytemill.lm.model import Transformer

    checkpoint = find_checkpoint(path, which)
    config = ModelConfig.from_dict(checkpoint.model_config)
    model = Transformer(config)
    checkpoint.load_weights(model)
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    tokenizer = None
    for folder in (checkpoint.path, checkpoint.path.parent.parent):
        if (folder / TOKENIZER_FOLDER).is_dir():
            tokenizer = Tokenizer.load(folder / TOKENIZER_FOLDER)
            break
    return LoadedModel(model, config, tokenizer, checkpoint.step, checkpoint.path)
