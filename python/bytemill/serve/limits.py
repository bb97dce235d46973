"""What a server allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of a request; those of conversations are nanochat's."""

    messages: int = 500
    message_characters: int = 8_000
    characters: int = 32_000
    """Of all messages, or prompts, together."""
    tokens: int = 4_096
    """The most that can be asked for."""
    top_k: int = 200
    temperature: float = 2.0
    choices: int = 16
    """n, times the number of prompts."""
    stops: int = 16
    stop_characters: int = 256
    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    """Until a body must have come."""
    header_bytes: int = 16 << 10
    header_seconds: float = 10.0
    """Until a connection must have sent its request's headers."""
    write_seconds: float = 30.0
    """How long a client may refuse to read."""
    connections: int = 512
