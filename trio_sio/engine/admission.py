"""Which requests the engine takes: path, verb, query, in the order and with the answers of the official server.

An answer that refuses is ``{"code": n, "message": "..."}`` with the status below (Engine.IO server, ``errors`` and
``errorMessages``); a refused WebSocket upgrade is answered in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ..protocol.http import Response

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol.http import Request

__all__ = [
    "BAD_METHOD",
    "BAD_REQUEST",
    "DISPLACED",
    "FORBIDDEN",
    "FULL",
    "NOT_RUNNING",
    "SHUTTING_DOWN",
    "UNKNOWN_SID",
    "UNKNOWN_TRANSPORT",
    "UNSUPPORTED_PROTOCOL",
    "Query",
    "Refusal",
    "Refused",
    "Unavailable",
    "read_query",
    "refusal",
    "too_many",
    "unavailable",
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

RETRY_AFTER: Final = b"5"  # seconds that a client should wait when the server is full or about to stop


class Refused(Exception):
    """A request that the engine does not take.

    Args:
      refusal: The answer.
      why: For the log.
    """

    def __init__(self, refusal: Refusal, why: str = "") -> None:
        super().__init__(why or refusal.message)
        self.refusal = refusal


class Unavailable(Exception):
    """A handshake that the engine cannot take now; answered with 503. Its argument is the sentence for the client's developer."""


@dataclass(frozen=True, slots=True)
class Query:
    """The query of a request to the engine.

    Attributes:
      transport: ``"polling"`` or ``"websocket"``.
      sid: The session that it belongs to, or ``None`` for a new one.
      fields: Every parameter, of repeated ones the last.
    """

    transport: str
    sid: str | None
    fields: dict[str, str]

    @property
    def base64(self) -> bool:
        """Whether the client wants no binary messages (Node: ``forceBase64``)."""
        return bool(self.fields.get("b64"))


def read_query(request: Request, config: Config) -> Query:
    """Return the query of ``request``.

    Raises:
      Refused: if it names no transport or protocol version that the server has, or contradicts itself.
    """
    pairs = request.query_pairs
    fields = dict(pairs)
    transport = fields.get("transport")
    if transport is None or transport not in config.transports:
        raise Refused(UNKNOWN_TRANSPORT)
    sids = [value for name, value in pairs if name == "sid"]
    versions = [value for name, value in pairs if name == "EIO"]
    if len(sids) > 1:
        # Proxies disagree on which of them counts.
        raise Refused(BAD_REQUEST, "several session ids")
    if "j" in fields:
        raise Refused(BAD_REQUEST, "JSONP is not supported")
    if versions != ["4"]:
        if sids:
            raise Refused(BAD_REQUEST, "the protocol version of a session cannot change")
        if request.method == "GET":
            if versions == ["3"]:
                why = "an Engine.IO 3 (Socket.IO 2) client; update it to version 3 or 4 of socket.io-client"
                raise Refused(UNSUPPORTED_PROTOCOL, why)
            raise Refused(UNSUPPORTED_PROTOCOL)
    return Query(transport, sids[0] if sids else None, fields)


def refusal(why: Refusal, headers: list[tuple[bytes, bytes]]) -> Response:
    """Return the response that says ``why``; ``headers`` are the CORS headers."""
    body = b'{"code":%d,"message":"%s"}' % (why.code, why.message.encode("ascii"))
    return Response(why.status, body, [(b"Content-Type", b"application/json"), *headers])


def unavailable(why: str, headers: list[tuple[bytes, bytes]]) -> Response:
    """Return the 503 response of a server that is full, stopping or not running."""
    return _come_back(503, why, RETRY_AFTER, headers)


def too_many(why: str, seconds: int, headers: list[tuple[bytes, bytes]]) -> Response:
    """Return the 429 response to a client that takes more than its share and may try again after ``seconds``."""
    return _come_back(429, why, b"%d" % seconds, headers)


def _come_back(status: int, why: str, seconds: bytes, headers: list[tuple[bytes, bytes]]) -> Response:
    fields = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Retry-After", seconds), *headers]
    return Response(status, why.encode() + b"\n", fields)
