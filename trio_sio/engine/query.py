"""What a request to the engine asks for: its query, read once and strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .refusals import BAD_REQUEST, UNKNOWN_TRANSPORT, UNSUPPORTED_PROTOCOL, Rejected

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol.http import Request

__all__ = ["Query", "read_query"]

_SHARED: Final = {string: string for string in ("EIO", "transport", "websocket", "polling")}


@dataclass(slots=True)
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
      Rejected: if it names no transport or protocol version that the server has, or contradicts itself.
    """
    pairs = request.query_pairs
    fields = dict(pairs)
    repeated = [name for name, _ in pairs] if len(fields) < len(pairs) else []
    transport, sid, version = fields.get("transport"), fields.get("sid"), fields.get("EIO")
    if transport is None or transport not in config.transports:
        raise Rejected(UNKNOWN_TRANSPORT)
    if repeated.count("sid") > 1:
        # Proxies disagree on which of them counts.
        raise Rejected(BAD_REQUEST, "several session ids")
    if "j" in fields:
        raise Rejected(BAD_REQUEST, "JSONP is not supported")
    if version != "4" or repeated.count("EIO") > 1:
        if sid is not None:
            raise Rejected(BAD_REQUEST, "the protocol version of a session cannot change")
        if request.method == "GET":
            if version == "3" and repeated.count("EIO") <= 1:
                why = "an Engine.IO 3 (Socket.IO 2) client; update it to version 3 or 4 of socket.io-client"
                raise Rejected(UNSUPPORTED_PROTOCOL, why)
            raise Rejected(UNSUPPORTED_PROTOCOL)
    if sid is None:
        # One object for what thousands of sessions hold.
        fields = {_SHARED.get(name, name): _SHARED.get(value, value) for name, value in fields.items()}
    return Query(transport, sid, fields)
