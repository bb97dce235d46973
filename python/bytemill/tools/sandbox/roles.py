"""What runs in a sandbox: a program, and the tests of it, each in a sandbox of its own.

The tests call the program's function through a socket and get plain data back. So nothing that the
program does in its own process can reach them: not its classes' `__eq__`, not a changed builtin,
not a frame that it walks up. What they have to say in the end, a nonce, only their process knows.
"""

from __future__ import annotations

import builtins
import os
import socket
from typing import Any

from bytemill.tools.sandbox.codec import decode, encode, receive, send


def program(request: dict[str, Any], channel: socket.socket | None) -> None:
    """Runs a program; then, if there are tests, answers their calls until they are gone."""
    names: dict[str, Any] = {"__name__": "__main__"}
    function: Any = None
    try:
        exec(compile(request["program"], "<program>", "exec"), names)  # what a sandbox is for
        if channel is not None:
            function = names[request["entry_point"]]
    except BaseException as error:
        if channel is None:
            raise
        send(channel, ["failed", type(error).__name__])
        return
    if channel is None:
        return
    send(channel, ["ready"])
    while True:
        try:
            args, keywords = (decode(data) for data in receive(channel))
        except EOFError:
            return
        answer: list[Any]
        try:
            answer = ["value", encode(function(*args, **keywords))]
        except BaseException as error:
            answer = ["raised", type(error).__name__]
        try:
            send(channel, answer)
        except ValueError:
            send(channel, ["raised", "OverflowError"])


def tests(request: dict[str, Any], channel: socket.socket) -> None:
    """Runs tests; writes the nonce if they pass."""

    def candidate(*args: Any, **keywords: Any) -> Any:
        send(channel, [encode(args), encode(keywords)])
        kind, value = _answer(receive(channel))
        if kind == "value":
            return decode(value)
        error = getattr(builtins, value, None) if isinstance(value, str) else None
        if not (isinstance(error, type) and issubclass(error, Exception)):
            error = RuntimeError
        # In a test's `map`, or `next`, it would mean that there is nothing more to be tested.
        if issubclass(error, (StopIteration, StopAsyncIteration)):
            error = RuntimeError
        raise error("raised by the program")

    kind, *_ = receive(channel)
    if kind != "ready":
        raise RuntimeError("the program failed before it was called")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(request["setup"], "<setup>", "exec"), names)
    names[request["entry_point"]] = candidate
    exec(compile(request["tests"], "<tests>", "exec"), names)
    names["check"](candidate)
    os.write(request["verdict_fd"], bytes.fromhex(request["nonce"]))


def _answer(message: Any) -> tuple[str, Any]:
    if not (isinstance(message, list) and len(message) == 2 and message[0] in ("value", "raised")):
        raise ValueError("not an answer")
    return message[0], message[1]
