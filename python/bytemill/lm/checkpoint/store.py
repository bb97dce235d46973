"""A run's checkpoints: a folder for each.

`CheckpointStore` keeps these in RUN/checkpoints:

    step-00000123/model.safetensors        the weights, under the names of the model's state dict
    step-00000123/optimizer.safetensors    the optimizers' tensors, the random generators' states,
                                           and the weights if the model's file has their average
    step-00000123/state.json               format, version, step, configuration, loader, metrics,
                                           and the SHA-256 of the two files and of itself

A folder is built under a hidden name, flushed to disk and renamed, so that whatever bears a step's
name is whole: a crash or kill leaves what was there before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from bytemill.files import write_bytes
from bytemill.lm.checkpoint import state
from bytemill.lm.checkpoint.state import StrPath, check_format
from bytemill.lm.device import runtime
from bytemill.lm.model.adapters.lora import adapters_of, has_adapters, merged_weights

FORMAT: Final = "bytemill-checkpoint"
FOLDER: Final = "checkpoints"
STATE_NAME: Final = "state.json"
RAW: Final = "raw."
"""What the names of trained weights begin with in the optimizer's file, where the model's file has
their average."""
_MODEL, _OPTIMIZER = "model.safetensors", "optimizer.safetensors"
_NAME: Final = re.compile(r"step-(\d{8,})")


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
    extra: dict[str, Any]
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
        file = folder / STATE_NAME
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: no such file; a checkpoint is a folder that a training run has written, "
                f"like RUN/{FOLDER}/step-00001000; if it is what is left of one, delete the folder "
                f"{folder}"
            )
        try:
            fields = json.loads(file.read_bytes(), parse_constant=_no_json)
        except (RecursionError, ValueError):
            raise _damaged(file, "it is not JSON") from None
        if not isinstance(fields, dict):
            raise _damaged(file, "it is not a JSON object")
        check_format(str(file), fields.get("format"), fields.get("version"), FORMAT)
        if fields != sealed(fields):
            raise _damaged(file, 'its content is not what its "sha256" is of')
        for name in ("format", "version", SEAL):
            del fields[name]
        try:
            result = cls(path=folder, **fields)
        except TypeError:
            raise _damaged(file, f"its fields are {', '.join(sorted(fields))}") from None
        good = isinstance(result.step, int) and set(result.files) == {_MODEL, _OPTIMIZER}
        if not good or not all(isinstance(x, dict) for x in (result.model_config, result.extra)):
            raise _damaged(file, "its fields are not what they should be")
        return result

    def load(self, model: torch.nn.Module, optimizers: state.Optimizers) -> None:
        """All of it: weights, the optimizers' state, the random generators'; or, where it raises
        ValueError because something is damaged or of another model, nothing."""
        weights = self._read(_MODEL)
        try:
            state.check_weights(model, weights)
        except ValueError as error:
            raise ValueError(f"{self.path / _MODEL}: {error}") from None
        self.load_training(optimizers)
        state.load_weights(model, weights)

    def begin(self, model: torch.nn.Module, optimizers: state.Optimizers = ()) -> None:
        """Only what another run begins with: weights and, if optimizers are given, their state,
        while their rates and other settings stay. ValueError, and nothing changed, as `load`, or if
        weights are not finite: nothing can be trained from them.

        Adapters in the checkpoint are merged; those of the model stay as they are."""
        weights = merged_weights(self._read(_MODEL)) | adapters_of(model.state_dict())
        several = state.as_list(optimizers)
        own = [[_settings(group) for group in one.param_groups] for one in several]
        try:
            state.check_weights(model, weights)
            state.check_finite("weights", weights)
        except ValueError as error:
            raise ValueError(f"{self.path / _MODEL}: {error}") from None
        if several:
            tensors = self._read(_OPTIMIZER)
            try:
                state.unpack_optimizers(several, self.optimizer, tensors)
            except (RuntimeError, TypeError, ValueError) as error:
                raise ValueError(f"{self.path / _OPTIMIZER}: {error}") from None
            for one, groups in zip(several, own, strict=True):
                for group, settings in zip(one.param_groups, groups, strict=True):
                    group.update(settings)
        state.load_weights(model, weights)

    def load_weights(self, model: torch.nn.Module) -> None:
        """Copies the weights into `model`, adapters merged if it has none; ValueError if they are
        damaged or of another model."""
        tensors = self._read(_MODEL)
        if not has_adapters(model):
            tensors = merged_weights(tensors)
        try:
            state.load_weights(model, tensors)
        except ValueError as error:
            raise ValueError(f"{self.path / _MODEL}: {error}") from None

    def load_raw_weights(self, model: torch.nn.Module) -> None:
        """Copies the weights that were trained, where model.safetensors has their average.

        Raises:
            ValueError: They are not there, or damaged, or of another model.
        """
        tensors = self._read(_OPTIMIZER)
        raw = {name[len(RAW) :]: t for name, t in tensors.items() if name.startswith(RAW)}
        if not raw:
            raise ValueError(
                f"{self.path}: it was saved by a run without an average of its weights"
            )
        try:
            state.load_weights(model, raw)
        except ValueError as error:
            raise ValueError(f"{self.path / _OPTIMIZER}: {error}") from None

    def load_training(self, optimizers: state.Optimizers) -> None:
        """Gives back the optimizers' state and the random generators'; ValueError if damaged."""
        tensors = self._read(_OPTIMIZER)
        rng = {name[4:]: t for name, t in tensors.items() if name.startswith("rng.")}
        before = runtime.rng_state()
        try:
            with state.unchanged_on_error(optimizers):
                state.unpack_optimizers(optimizers, self.optimizer, tensors)
                runtime.set_rng_state(rng)
        except (RuntimeError, TypeError, ValueError) as error:
            runtime.set_rng_state(before)
            raise ValueError(f"{self.path / _OPTIMIZER}: {error}") from None

    def _read(self, name: str) -> state.Tensors:
        path = self.path / name
        try:
            found = state.sha256(path)
        except FileNotFoundError:
            raise _damaged(path, f"the file is missing, though {STATE_NAME} names it") from None
        if found != self.files[name]:
            raise _damaged(path, f"its SHA-256 is not the one in {STATE_NAME}")
        return state.read_file(path)


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """All of a parameter group but its parameters."""
    return {name: value for name, value in group.items() if name != "params"}


SEAL: Final = "sha256"


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a state.json with its own SHA-256, by which an edited one is known.

    It is that of the other fields as JSON without spaces, with sorted keys.
    """
    plain = json.loads(state.to_json({k: v for k, v in fields.items() if k != SEAL}))
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**plain, SEAL: hashlib.sha256(canonical.encode()).hexdigest()}


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
        # An empty folder, as copying and synchronizing may leave, is not a checkpoint.
        found = (
            _NAME.fullmatch(path.name)
            for path in self.folder.iterdir()
            if path.is_dir() and any(path.iterdir())
        )
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
            metrics: Finite numbers; "val_loss" decides which checkpoint is best.
            extra: JSON data that `Checkpoint.extra` gives back.

        Returns:
            The checkpoint's folder.

        Raises:
            FileExistsError: The step has a checkpoint.
            NonFiniteStateError: Parameters, or the optimizers' state, hold NaN or infinity; nothing
                is written, and nothing removed.
            ValueError: `metrics` or `extra` hold what JSON cannot, like NaN.
            OSError: It cannot be written, for example as the disk is full; what was there before is
                as it was.
        """
        self._check_new(step)
        snapshot = state.take_snapshot(model, optimizers)
        return self.write(step, snapshot, model_config=model_config, metrics=metrics, extra=extra)

    def write(
        self,
        step: int,
        snapshot: state.Snapshot,
        *,
        model_config: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes what was taken before, as `save` does."""
        target = self._check_new(step)
        try:
            state.to_json([dict(metrics or {}), dict(extra or {})])
        except ValueError as error:
            raise ValueError(f"step {step}: the metrics cannot be saved: {error}") from None
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".{target.name}.{secrets.token_hex(6)}.tmp"
        beside.mkdir()
        try:
            files = {
                _MODEL: state.write_file(beside / _MODEL, snapshot.weights),
                _OPTIMIZER: state.write_file(beside / _OPTIMIZER, snapshot.training),
            }
            whole = {
                "format": FORMAT, "version": state.VERSION, "step": step,
                "model_config": dict(model_config), "metrics": dict(metrics or {}),
                "extra": dict(extra or {}), "files": files, "optimizer": snapshot.optimizer,
            }  # fmt: skip
            write_bytes(beside / STATE_NAME, (state.to_json(sealed(whole), 1) + "\n").encode())
            _flush_folder(beside)
            beside.rename(target)
            _flush_folder(self.folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        self._prune()
        return target

    def _check_new(self, step: int) -> Path:
        """Where the step's checkpoint goes; FileExistsError if there is one."""
        target = self.path(step)
        with contextlib.suppress(OSError):  # it goes if it is empty
            target.rmdir()
        if target.exists():
            raise FileExistsError(
                errno.EEXIST, "the step has a checkpoint; remove it to write another", str(target)
            )
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
