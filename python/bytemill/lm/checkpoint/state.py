"""State dicts as safetensors: tensors in the file, everything else as JSON, and never a pickle."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bytemill.lm.device import runtime

StrPath: TypeAlias = str | os.PathLike[str]
Tensors: TypeAlias = dict[str, Tensor]
Optimizers: TypeAlias = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]

VERSION: Final = 1
"""Of the formats of checkpoints."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_PIECE = 1 << 20


def flatten(value: Any, name: str, tensors: Tensors) -> Any:
    """`value` as JSON data; the tensors in it go to `tensors`, under names that begin with `name`.

    Dicts with int or str keys, lists, tuples, numbers, str and None come back from `unflatten` as
    they were, types included; NumPy's numbers come back as Python's.

    Raises:
        TypeError: For anything else, named.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (int, str):
                raise TypeError(
                    f"{name}: the key {key!r} is neither an int nor a str and cannot be saved"
                )
        items = [[key, flatten(item, f"{name}.{key}", tensors)] for key, item in value.items()]
        return {"dict": items}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [flatten(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no such number
        return {"float": repr(float(value))}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"{name}: {value!r} cannot be saved; a checkpoint holds tensors, numbers, str, None, and "
        "dicts, lists and tuples of them"
    )


def unflatten(data: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `flatten` was given.

    Raises:
        ValueError: If `data` is not what `flatten` makes, or a tensor is missing.
    """
    if not isinstance(data, dict):
        return data
    if len(data) == 1:
        ((kind, items),) = data.items()
        if kind == "tensor" and isinstance(items, str) and items in tensors:
            return tensors[items]
        if kind == "float" and items in ("inf", "-inf", "nan"):
            return float(items)
        if kind == "list" and isinstance(items, list):
            return [unflatten(item, tensors) for item in items]
        if kind == "tuple" and isinstance(items, list):
            return tuple(unflatten(item, tensors) for item in items)
        if kind == "dict" and isinstance(items, list):
            return {key: unflatten(item, tensors) for key, item in items}
    raise ValueError(f"the saved state is damaged at {str(data)[:80]}")


class NonFiniteStateError(ValueError):
    """Weights, or an optimizer's state, hold NaN or infinity: nothing that one could go on from."""


def check_finite(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises NonFiniteStateError if one of `tensors` holds NaN or infinity; the message names it.

    Args:
        what: What they are, for the message.
        tensors: Those that hold no floating-point numbers are fine.
    """
    floating = {name: t.detach() for name, t in tensors.items() if t.is_floating_point()}
    for name, tensor in floating.items():
        if bad := int((~tensor.isfinite()).sum()):
            raise NonFiniteStateError(
                f"{what}: {bad:,} of the {tensor.numel():,} numbers of {name} are NaN or infinite"
            )


def to_json(value: Any, indent: int | None = None) -> str:
    """As `json.dumps`, and always JSON: ValueError for NaN and infinity, which it has not."""
    return json.dumps(value, indent=indent, allow_nan=False)


def as_list(optimizers: Optimizers) -> list[torch.optim.Optimizer]:
    """One optimizer or several, as a list."""
    single = isinstance(optimizers, torch.optim.Optimizer)
    return [optimizers] if single else list(optimizers)  # type: ignore[list-item, arg-type]


def pack_optimizers(optimizers: Optimizers, tensors: Tensors) -> Any:
    """The optimizers' state as JSON data; their tensors go to `tensors`."""
    states = [optimizer.state_dict() for optimizer in as_list(optimizers)]
    return flatten(states, "optimizer", tensors)


@dataclass(frozen=True)
class Snapshot:
    """All tensors of a checkpoint, under the names that they have there."""

    weights: Tensors
    """The model's state dict."""
    training: Tensors
    """The optimizers' tensors, and the random generators' states as "rng.NAME"."""
    optimizer: Any
    """The optimizers' state dicts as `flatten` makes them."""

    def copied(self) -> Snapshot:
        """The same with tensors of its own, in the CPU's memory; those that share memory, as tied
        weights do, share it still."""
        return Snapshot(_copied(self.weights), _copied(self.training), self.optimizer)


def _copied(tensors: Mapping[str, Tensor]) -> Tensors:
    made: dict[tuple[int, int, tuple[int, ...], tuple[int, ...]], Tensor] = {}
    result: Tensors = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tensor.numel(), tuple(tensor.shape), tensor.stride())
        if key not in made or not tensor.numel():
            made[key] = tensor.detach().to("cpu", copy=True)
        result[name] = made[key]
    return result


def take_snapshot(model: torch.nn.Module, optimizers: Optimizers) -> Snapshot:
    """The state of a model, its optimizers and the random generators; tensors are not copied.

    Raises:
        NonFiniteStateError: Parameters, or the optimizers' state, hold NaN or infinity.
    """
    training: Tensors = {}
    optimizer = pack_optimizers(optimizers, training)
    own = unwrapped(model)
    return snapshot_of(own.state_dict(), dict(own.named_parameters()), optimizer, training)


def snapshot_of(
    weights: Tensors, parameters: Container[str], optimizer: Any, training: Tensors
) -> Snapshot:
    """A snapshot of whole tensors, wherever they were.

    Args:
        weights: The model's state dict.
        parameters: Names of those that are trained.
        optimizer, training: What `pack_optimizers` gave.

    Raises:
        NonFiniteStateError: As `take_snapshot`.
    """
    check_finite("the weights", {n: t for n, t in weights.items() if n in parameters})
    check_finite("the optimizer's state", training)
    random = {f"rng.{name}": tensor for name, tensor in runtime.rng_state().items()}
    return Snapshot(weights, {**training, **random}, optimizer)


@contextlib.contextmanager
def unchanged_on_error(optimizers: Optimizers) -> Iterator[None]:
    """Gives the optimizers back the state that they had, if the block raises."""
    before = [(one, one.state, one.param_groups) for one in as_list(optimizers)]
    try:
        yield
    except BaseException:
        for one, state, groups in before:
            one.state, one.param_groups = state, groups
        raise


def unpack_optimizers(optimizers: Optimizers, data: Any, tensors: Mapping[str, Tensor]) -> None:
    """Gives the optimizers the state that `pack_optimizers` has taken; all of them, or none.

    Raises:
        ValueError: If they are others: of another number, or with other parameter groups.
    """
    states = unflatten(data, tensors)
    several = as_list(optimizers)
    if not isinstance(states, list) or len(states) != len(several):
        n = len(states) if isinstance(states, list) else 0
        raise ValueError(
            f"the checkpoint holds the state of {n} optimizers, not of {len(several)}; make the "
            "optimizers as for the run that saved it"
        )
    with unchanged_on_error(several):
        for optimizer, state in zip(several, states, strict=True):
            try:
                optimizer.load_state_dict(state)
            except (AttributeError, IndexError, KeyError, TypeError) as error:
                raise ValueError(f"the optimizer's state is damaged ({error!r})") from None


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """The module itself where `torch.compile` has wrapped it, whose state dict has longer names."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, torch.nn.Module) else model


def check_weights(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Whether `load_weights` can copy `tensors` into the model.

    Raises:
        ValueError: If names or shapes are not the model's; the message lists the first of them.
    """
    own = unwrapped(model).state_dict()
    wrong = [f"{name} is missing" for name in own if name not in tensors]
    wrong += [f"{name} is not the model's" for name in sorted(tensors) if name not in own]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"the checkpoint is of another model: {'; '.join(wrong[:3])}{more}; build the model "
            "from the configuration that was saved with it"
        )


def load_weights(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies `tensors` into the model's parameters; ValueError as `check_weights`, and then none
    was copied."""
    check_weights(model, tensors)
    unwrapped(model).load_state_dict(dict(tensors))


def _plain(tensors: Mapping[str, Tensor]) -> Tensors:
    # safetensors takes no tensors that share memory, as tied weights do, and no strided ones.
    plain: Tensors = {}
    seen: set[tuple[torch.device, int]] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().contiguous()
        key = own.device, own.untyped_storage().data_ptr()
        plain[name] = own.clone() if key in seen and own.numel() else own
        seen.add(key)
    return plain


def to_bytes(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file in memory."""
    return safetensors.torch.save(_plain(tensors), metadata)


def write_file(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> str:
    """Writes a safetensors file and flushes it to disk; returns its SHA-256.

    Raises:
        OSError: If it cannot be written; with errno.ENOSPC if the disk is full.
    """
    try:
        safetensors.torch.save_file(_plain(tensors), path, metadata)
    except safetensors.SafetensorError as error:
        found = _OS_ERROR.search(str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return sha256(path)


def read_file(path: Path, device: torch.device | str = "cpu") -> Tensors:
    """Reads a safetensors file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a safetensors file, or it is truncated.
    """
    try:
        return safetensors.torch.load_file(path, device=str(device))
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: {error}; it is truncated or not a safetensors file: use another "
            "checkpoint, or restore it from a copy"
        ) from None


def from_bytes(data: bytes, source: str) -> tuple[Tensors, dict[str, str]]:
    """The tensors and the metadata of a safetensors file in memory.

    Raises:
        ValueError: If the data is truncated or no safetensors file.
    """
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{source}: {error}; it is truncated, or not of save_checkpoint") from None
    # The layout: the header's length in 8 bytes, little endian; the header, which is JSON; tensors.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.get("__metadata__", {})
    return tensors, metadata


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A SHA-256 over names, types, shapes and bits of tensors: equal only for equal state."""
    result = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        result.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        result.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return result.hexdigest()


def check_format(source: str, format: object, version: object, expected: str) -> None:
    """Raises ValueError unless a file says that it is of this format and version."""
    if format != expected:
        raise ValueError(
            f'{source}: "format" is {format!r}, not {expected!r}: it is not a checkpoint of '
            "bytemill, or was damaged; files of torch.save are not read, as they can run code"
        )
    if str(version) != str(VERSION):
        raise ValueError(
            f"{source}: version {version} of the format; this bytemill reads version {VERSION}: "
            "update bytemill"
        )
