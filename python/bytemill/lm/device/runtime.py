"""Where and in what a model computes: device, dtype, compilation, random generators, peaks."""

from __future__ import annotations

import importlib.util
import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, get_args

import torch
from torch import Tensor

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "float32", "bfloat16"]
CompileChoice = Literal["auto", "on", "off"]

_PROBE_SIZE: Final = 512
_PROBE_RUNS: Final = 5
# bf16 must be at least this much faster: autocast's conversions cost something too.
_PROBE_GAIN: Final = 1.5
# Of a square product's FLOP/s: what training reached with small models on two cores.
_TRAINING_SHARES: Final = {torch.float32: 0.9, torch.bfloat16: 0.3}


def choose_device(name: str = "auto") -> torch.device:
    """The device that `name` means: "cpu", "cuda" (or "cuda:1"), "mps"; "auto" for the fastest.

    Raises:
        ValueError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in get_args(DeviceName) or (index and not index.isdecimal()):
        raise ValueError(f'device={name!r}: it must be "auto", "cpu", "cuda", "cuda:N" or "mps"')
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= count:
        raise ValueError(
            f"device={name!r}: torch {torch.__version__} sees {count} CUDA devices here; "
            'use "auto", or install a build of torch for your GPU and its driver'
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f'device={name!r}: torch {torch.__version__} has no MPS here; use "auto"')
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The compute dtype that `name` means; "auto" is bf16 where the device is fast at it, probed.

    Raises:
        ValueError: For another name, or bf16 where the device cannot do it.
    """
    if name not in get_args(DtypeName):
        raise ValueError(f'dtype={name!r}: it must be "auto", "float32" or "bfloat16"')
    if name == "float32":
        return torch.float32
    if name == "bfloat16":
        if device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise ValueError(f'dtype="bfloat16": {device_name(device)} has no bf16; use "float32"')
        return torch.bfloat16
    return torch.bfloat16 if is_fast_at_bf16(device) else torch.float32


def is_fast_at_bf16(device: torch.device) -> bool:
    """Whether matrix products in bf16 are clearly faster than in fp32; takes some milliseconds."""
    if device.type == "cuda":
        # Tensor cores for bf16 came with compute capability 8.0; before that it is emulated.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        slow, fast = (
            min(_durations(device, dtype, _PROBE_SIZE)) for dtype in (torch.float32, torch.bfloat16)
        )
    except (RuntimeError, TypeError):  # an old MPS without bf16
        return False
    return slow / fast >= _PROBE_GAIN


def training_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s that training may reach: a share of what a product of matrices reaches, tried out.

    An estimate for the first seconds of a run; it takes some milliseconds.
    """
    size = _PROBE_SIZE if device.type == "cpu" else 8 * _PROBE_SIZE
    # The median: what others take of the machine is not there for the run either.
    usual = sorted(_durations(device, dtype, size))[_PROBE_RUNS // 2]
    return _TRAINING_SHARES[dtype] * 2 * size**3 / usual


def _durations(device: torch.device, dtype: torch.dtype, size: int) -> list[float]:
    """Seconds of some products of square matrices, a first one left out."""
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    result = []
    for _ in range(_PROBE_RUNS + 1):
        began = time.perf_counter()
        matrix @ matrix
        synchronize(device)
        result.append(time.perf_counter() - began)
    return result[1:]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Computes matrix products in `dtype`; weights stay as they are. Nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def wants_compile(choice: str, device: torch.device) -> bool:
    """Whether to compile: "on", "off", or "auto", which is on CUDA where Triton is installed.

    On CPUs compiling takes a minute that short runs do not earn back.

    Raises:
        ValueError: For another choice, or "on" where no compiler is at hand.
    """
    if choice not in get_args(CompileChoice):
        raise ValueError(f'compile={choice!r}: it must be "auto", "on" or "off"')
    has_triton = importlib.util.find_spec("triton") is not None
    if choice == "on":
        if device.type == "cuda" and not has_triton:
            raise ValueError('compile="on": CUDA needs Triton; install triton, or use "off"')
        if device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
            raise ValueError('compile="on": a C++ compiler is needed; install g++, or use "off"')
        return True
    return choice == "auto" and device.type == "cuda" and has_triton


def device_name(device: torch.device) -> str:
    """What the driver calls the device: "NVIDIA H200", or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """The dense matrix FLOP/s that the device can reach in bf16, by its name; None if unknown.

    Also None in fp32, whose peak depends on settings outside the model.
    """
    from bytemill.lm.device.gpus import find_gpu

    if device.type != "cuda" or dtype != torch.bfloat16:
        return None
    found = find_gpu(device_name(device))
    return found.peak_flops if found else None


def synchronize(device: torch.device) -> None:
    """Waits for what the device has been told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that tensors have taken on a CUDA device; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def free_memory(device: torch.device) -> None:
    """Gives cached blocks back, after an out-of-memory error."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device's memory was too small."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # MPS and the CPU allocator raise plain RuntimeErrors.
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def rng_state() -> dict[str, Tensor]:
    """The states of torch's own random generators, on all devices."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda.{index}"] = state
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng_state(states: dict[str, Tensor]) -> None:
    """Puts back what `rng_state` gave, for the devices that are here."""
    for name, state in states.items():
        kind, _, index = name.partition(".")
        if kind == "cpu":
            torch.set_rng_state(state)
        elif kind == "cuda" and torch.cuda.is_available():
            if int(index) < torch.cuda.device_count():
                torch.cuda.set_rng_state(state, int(index))
        elif kind == "mps" and torch.backends.mps.is_available():
            torch.mps.set_rng_state(state)
