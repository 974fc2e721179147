"""How the engine says no, in the words of the official server.

A request that breaks the rules is answered with ``{"code": n, "message": "..."}`` and the status below (Engine.IO server,
``errors`` and ``errorMessages``); a refused WebSocket upgrade is answered in the same way. A handshake for which there is
no room is told in plain text when to come back.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

from ..protocol.http import Response

__all__ = [
    "BAD_METHOD",
    "BAD_REQUEST",
    "DISPLACED",
    "FORBIDDEN",
    "FULL",
    "NOT_RUNNING",
    "RETRY_AFTER",
    "SHUTTING_DOWN",
    "UNKNOWN_SID",
    "UNKNOWN_TRANSPORT",
    "UNSUPPORTED_PROTOCOL",
    "Refusal",
    "Rejected",
    "TooMany",
    "TurnedAway",
    "Unavailable",
    "refusal",
]


class Refusal(NamedTuple):
    """One way of saying no."""

    code: int
    message: str
    status: int = 400


UNKNOWN_TRANSPORT: Final = Refusal(0, "Transport unknown")
UNKNOWN_SID: Final = Refusal(1, "Session ID unknown")
BAD_METHOD: Final = Refusal(2, "Bad handshake method")
BAD_REQUEST: Final = Refusal(3, "Bad request")
FORBIDDEN: Final = Refusal(4, "Forbidden", 403)
UNSUPPORTED_PROTOCOL: Final = Refusal(5, "Unsupported protocol version")

NOT_RUNNING: Final = "The server is not running: enter `async with server:` first, or let serve() or the ASGI lifespan do it."
SHUTTING_DOWN: Final = "The server is shutting down."
FULL: Final = "The server is full."
DISPLACED: Final = "Too many sessions have not joined a namespace."

RETRY_AFTER: Final = 5  # seconds that a client should wait when there is no room, for it or for others of its address


class Rejected(Exception):
    """A request that the engine does not take, whenever it comes.

    Args:
      refusal: The answer.
      why: For the log.
    """

    def __init__(self, refusal: Refusal, why: str = "") -> None:
        super().__init__(why or refusal.message)
        self.refusal = refusal

    def response(self, headers: list[tuple[bytes, bytes]]) -> Response:
        """Return the answer; ``headers`` are the CORS headers."""
        return refusal(self.refusal, headers)


class TurnedAway(Exception):
    """A handshake that the engine cannot take now.

    Args:
      why: For the client's developer.
      retry_after: Seconds after which it may try again.

    Attributes:
      status: Of the answer.
    """

    status: ClassVar[int]

    def __init__(self, why: str, retry_after: int = RETRY_AFTER) -> None:
        super().__init__(why)
        self.retry_after = retry_after

    def response(self, headers: list[tuple[bytes, bytes]]) -> Response:
        """Return the answer; ``headers`` are the CORS headers."""
        fields = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Retry-After", b"%d" % self.retry_after), *headers]
        return Response(self.status, str(self).encode() + b"\n", fields)


class Unavailable(TurnedAway):
    """The server is full, stopping or not running."""

    status = 503


class TooMany(TurnedAway):
    """An address takes more than its share."""

    status = 429


def refusal(why: Refusal, headers: list[tuple[bytes, bytes]]) -> Response:
    """Return the response that says ``why``; ``headers`` are the CORS headers."""
    body = b'{"code":%d,"message":"%s"}' % (why.code, why.message.encode("ascii"))
    return Response(why.status, body, [(b"Content-Type", b"application/json"), *headers])
