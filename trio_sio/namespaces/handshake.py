"""What a socket knows about how it connected."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..protocol.http import Headers, Request
from .cookies import parse_cookies

__all__ = ["Handshake", "make_handshake", "wall_clock"]


def wall_clock() -> float:
    """Return seconds since 1970, for stamps that people read, or that tokens bear; everything else uses Trio's clock."""
    return time.time()


@dataclass(frozen=True, slots=True)
class Handshake:
    """The request that opened the connection, and the payload that joined the namespace (Node: ``socket.handshake``).

    Attributes:
      auth: The CONNECT payload; ``{}`` when the client sent none. Whatever the client likes: check it.
      headers: The header fields of the first request, names in any case.
      query: The parameters of the first request's URL; of repeated ones the last.
      address: The peer's host, or ``None``.
      secure: Whether the first request came over TLS.
      issued: When it came, in seconds since 1970.
      scope: At the ASGI door, and at hypercorn's ports, the connection scope, else ``None``.
    """

    auth: dict[str, Any]
    headers: Headers
    query: Mapping[str, str]
    address: str | None
    secure: bool
    scope: Mapping[str, object] | None = None
    issued: float = field(default_factory=wall_clock)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of the first request by name, read as by Node's ``cookie``: what is odd in one spoils none of the others."""
        return parse_cookies(self.headers.get("cookie", ""))


def make_handshake(request: Request, query: Mapping[str, str], auth: dict[str, Any]) -> Handshake:
    """Return the handshake of a socket that joined with ``auth`` over a connection that ``request`` opened."""
    return Handshake(auth, request.headers, query, request.address, request.secure, request.scope)
