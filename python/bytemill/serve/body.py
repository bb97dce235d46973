"""Reading a request's body: bounded in size, time and depth."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from bytemill.serve.errors import ApiError, invalid
from bytemill.serve.limits import Limits


async def read_json(request: Request, limits: Limits) -> Any:
    """The body of a request as JSON.

    Raises:
        ApiError: It is too large, comes too slowly, is not declared as JSON or is none.
        ClientDisconnect: The client has gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A page of another origin can send other types without asking.
    if kind != "application/json":
        raise ApiError(415, f"content-type {kind[:60]!r}: it must be application/json")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or len(declared) > 15 or int(declared) > limits.body_bytes:
        raise _too_large(limits)
    try:
        body = await asyncio.wait_for(_read(request, limits), limits.body_seconds)
    except asyncio.TimeoutError:
        raise ApiError(
            408,
            f"the body did not come within {limits.body_seconds:g} seconds",
            headers={"connection": "close"},
        ) from None
    return parsed(body)


def parsed(body: bytes) -> Any:
    """What a body says.

    Raises:
        ApiError: It is not UTF-8, not JSON, too deep, or has numbers that are not finite.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(
            None, f"the body is not UTF-8 at byte {error.start}", "invalid_utf8"
        ) from None
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise invalid(None, "the body has too many levels", "too_deep") from None
    except json.JSONDecodeError as error:
        where = f"{error.msg} at position {error.pos}"
        raise invalid(None, f"the body is not JSON: {where}", "invalid_json") from None
    except ValueError as error:  # an integer of thousands of digits
        raise invalid(None, f"the body is not JSON: {error}", "invalid_json") from None


def _refuse(name: str) -> NoReturn:
    raise invalid(None, f"the body has {name}, which is not a number of JSON's", "invalid_json")


async def _read(request: Request, limits: Limits) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.body_bytes:
            raise _too_large(limits)
        parts.append(part)
    return b"".join(parts)


def _too_large(limits: Limits) -> ApiError:
    return ApiError(
        413,
        f"the body has more than {limits.body_bytes:,} bytes",
        code="body_too_large",
        # What is still to come is not read.
        headers={"connection": "close"},
    )


__all__ = ["ClientDisconnect", "parsed", "read_json"]
