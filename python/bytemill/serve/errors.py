"""Errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """What a client gets instead of an answer.

    Args:
        status: Of HTTP.
        message: For people.
        param: The field that is wrong, if one is.
        code: For programs.
        headers: Sent with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.headers = headers or {}

    def to_dict(self) -> dict[str, Any]:
        """The body."""
        kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        usual = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": str(self),
                "type": kind.get(self.status, usual),
                "param": self.param,
                "code": self.code,
            }
        }


def invalid(param: str | None, message: str, code: str | None = "invalid_value") -> ApiError:
    """A request that cannot be carried out."""
    return ApiError(
        400, message if param is None else f"{param}: {message}", param=param, code=code
    )
