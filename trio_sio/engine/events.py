"""What an engine tells the application about its HTTP side (Node: the events of ``io.engine``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..concurrency.callbacks import Callbacks
from ..log import get_logger
from ..protocol.http import FIELD_VALUE, TOKEN

if TYPE_CHECKING:
    from ..protocol.http import Request
    from .refusals import Rejected

__all__ = ["ConnectionRejected", "EngineEvents"]

logger = get_logger("trio_sio.engine")

_NAME: Final = re.compile(TOKEN)
_VALUE: Final = re.compile(FIELD_VALUE)  # whose bytes are latin-1


class ConnectionRejected(NamedTuple):
    """A request that the engine did not take (Node: the argument of ``connection_error``).

    Attributes:
      code: 0 for a transport that is unknown, 1 a session id that is, 2 a method that cannot open a session, 3 another bad
        request, 4 an origin or a client that is not let in, 5 a protocol version that is not spoken.
      message: What the client is told.
      request: The request.
      context: What exactly was wrong.
    """

    code: int
    message: str
    request: Request
    context: str


class EngineEvents:
    """The callbacks of one engine.

    Attributes:
      on_connection_error: Gets a `ConnectionRejected` for each request that is refused with a code of Engine.IO. What is
        refused because the server is full or stops has none.
      on_initial_headers: Gets a dict and the `Request`, for the first response of each session; what it puts into the dict
        becomes header fields: a text one, a list of texts as many of that name, such as several ``Set-Cookie``.
      on_headers: Likewise, for each response to a poll and for each WebSocket handshake.
    """

    def __init__(self) -> None:
        self.on_connection_error: Callbacks[[ConnectionRejected]] = Callbacks("on_connection_error")
        self.on_initial_headers: Callbacks[[dict[str, Any], Request]] = Callbacks("on_initial_headers")
        self.on_headers: Callbacks[[dict[str, Any], Request]] = Callbacks("on_headers")

    def refused(self, request: Request, rejected: Rejected) -> None:
        """Tell that ``request`` was refused."""
        if self.on_connection_error:
            code, message, _ = rejected.refusal
            self.on_connection_error.fire(ConnectionRejected(code, message, request, str(rejected)))

    def headers(self, request: Request, *, initial: bool = False) -> list[tuple[bytes, bytes]]:
        """Return what the application adds to the response to ``request``; ``initial``: the first of a session."""
        if not self.on_headers and not (initial and self.on_initial_headers):
            return []
        fields: dict[str, Any] = {}
        if initial:
            self.on_initial_headers.fire(fields, request)
        self.on_headers.fire(fields, request)
        return [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, values in fields.items()
            for value in (values if isinstance(values, list | tuple) else (values,))
            if _is_field(name, value)
        ]


def _is_field(name: object, value: object) -> bool:
    if isinstance(name, str) and isinstance(value, str) and _NAME.fullmatch(name) and _VALUE.fullmatch(value):
        return True
    # What begins a line of its own would be a field, or a response, of somebody else's choosing.
    logger.error("The header field %.80r: %.80r of an application cannot be sent and is left out.", name, value)
    return False
