"""Values between processes that do not trust each other: plain data as JSON, nothing else.

What is decoded consists of Python's own types, whatever the other side has sent: no object of its
classes, so no method of its own, is ever called.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Collection
from typing import Any, Final

MAX_BYTES: Final = 4 << 20
"""Of a message."""
MAX_DEPTH: Final = 50

_SEQUENCES: Final[dict[str, type[Collection[Any]]]] = {
    "list": list, "tuple": tuple, "set": set, "frozenset": frozenset,
}  # fmt: skip


def encode(value: Any, depth: int = 0) -> Any:
    """A value as [type, ...] in terms of JSON.

    Raises:
        TypeError: It is not None, bool, int, float, complex, str, bytes, list, tuple, set,
            frozenset, dict or of a class derived from one of these.
        ValueError: It is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"a value nested more than {MAX_DEPTH} deep")
    if value is None:
        return ["none"]
    if isinstance(value, bool):
        return ["bool", bool(value)]
    if isinstance(value, int):
        return ["int", hex(int(value))]
    if isinstance(value, float):
        return ["float", float(value).hex()]
    if isinstance(value, complex):
        return ["complex", value.real.hex(), value.imag.hex()]
    if isinstance(value, str):
        return ["str", str(value)]
    if isinstance(value, (bytes, bytearray)):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, dict):
        return ["dict", [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in value.items()]]
    for name, kind in _SEQUENCES.items():
        if isinstance(value, kind):
            return [name, [encode(item, depth + 1) for item in value]]
    raise TypeError(f"a {type(value).__name__} cannot be handed over; only plain data can")


def decode(data: Any, depth: int = 0) -> Any:
    """The value that `encode` gave.

    Raises:
        ValueError: It is not what `encode` gives.
    """
    try:
        return _decode(data, depth)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a value: {type(error).__name__}") from None


def _decode(data: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("too deep")
    kind, *rest = data
    if kind == "none":
        return None
    if kind == "bool":
        return rest[0] is True
    if kind == "int":
        return int(rest[0], 16)
    if kind == "float":
        return float.fromhex(rest[0])
    if kind == "complex":
        return complex(float.fromhex(rest[0]), float.fromhex(rest[1]))
    if kind == "str" and type(rest[0]) is str:
        return rest[0]
    if kind == "bytes":
        return bytes.fromhex(rest[0])
    if kind == "dict":
        return {_decode(k, depth + 1): _decode(v, depth + 1) for k, v in rest[0]}
    make: Callable[..., Any] = _SEQUENCES[kind]
    return make(_decode(item, depth + 1) for item in rest[0])


def send(to: socket.socket, message: Any) -> None:
    """Sends something made of JSON's types.

    Raises:
        ValueError: It is too long.
    """
    data = json.dumps(message).encode()
    if len(data) > MAX_BYTES:
        raise ValueError(f"a message of {len(data)} bytes; at most {MAX_BYTES} are allowed")
    to.sendall(struct.pack("!I", len(data)) + data)


def receive(source: socket.socket) -> Any:
    """What `send` sent.

    Raises:
        EOFError: The other side is gone.
        ValueError: It is not that, or too long.
    """
    (length,) = struct.unpack("!I", _exactly(source, 4))
    if length > MAX_BYTES:
        raise ValueError(f"a message of {length} bytes")
    try:
        return json.loads(_exactly(source, length))
    except RecursionError:
        raise ValueError("a message nested too deeply") from None


def _exactly(source: socket.socket, n: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < n:
        piece = source.recv(n - len(pieces))
        if not piece:
            raise EOFError("the other process is gone")
        pieces += piece
    return bytes(pieces)
