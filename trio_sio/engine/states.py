"""How far a session has come, and what carries it: two values, and every way in which they change.

Theory of operation
===================

* The state goes ``opening -> open -> closing -> closed``. ``closing`` means: the decision is made, whoever listens was
  told, nothing more is received, but the transport still owes the client its last packets. Only polling needs it: the
  client may have no request pending, so the session id stays valid until it fetches them, or moves to a WebSocket.
* The transport goes ``polling -> upgrading -> websocket``, with a way back from ``upgrading`` when the probe fails. This is
  not noted anywhere: it is what the object is that carries the session (`Transport.state`).
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["STATES", "TRANSPORTS", "ConnectionState", "TransportState"]


class ConnectionState(enum.Enum):
    """How far a session has come."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class TransportState(enum.Enum):
    """What carries a session."""

    POLLING = "polling"
    UPGRADING = "upgrading"
    WEBSOCKET = "websocket"


STATES: Final[dict[tuple[ConnectionState, str], ConnectionState]] = {
    (ConnectionState.OPENING, "opened"): ConnectionState.OPEN,
    (ConnectionState.OPEN, "ended"): ConnectionState.CLOSING,
    (ConnectionState.CLOSING, "said goodbye"): ConnectionState.CLOSED,
}

TRANSPORTS: Final[dict[tuple[TransportState, str], TransportState]] = {
    (TransportState.POLLING, "probe opened"): TransportState.UPGRADING,
    (TransportState.UPGRADING, "probe failed"): TransportState.POLLING,
    (TransportState.UPGRADING, "probe succeeded"): TransportState.WEBSOCKET,
}
