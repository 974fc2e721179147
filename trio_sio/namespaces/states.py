"""How far a socket has come, as data.

Theory of operation
===================

A socket is *connecting* from its client's CONNECT on, until connection middleware has decided. Joining makes it
*connected*. Its end, from whichever side, makes it *disconnected*; where it comes first it was *never connected*, and
nobody hears of it: there is no disconnection hook for it. Nothing leads out of these two.

What a state means for what is emitted, for rooms and for events is said where these are: core.py, rooms.py.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

__all__ = ["CONNECTED", "CONNECTING", "DISCONNECTED", "NEVER_CONNECTED", "TRANSITIONS", "SocketState", "Step"]


class SocketState(enum.Enum):
    """How far a socket has come."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    NEVER_CONNECTED = "never connected"


class Step(enum.Enum):
    """What changes the state of a socket."""

    JOIN = "join"
    END = "end"


# By these names, as a member of an enumeration costs time where every event asks.
CONNECTING: Final = SocketState.CONNECTING
CONNECTED: Final = SocketState.CONNECTED
DISCONNECTED: Final = SocketState.DISCONNECTED
NEVER_CONNECTED: Final = SocketState.NEVER_CONNECTED

TRANSITIONS: Final[Mapping[SocketState, Mapping[Step, SocketState]]] = {
    CONNECTING: {Step.JOIN: CONNECTED, Step.END: NEVER_CONNECTED},
    CONNECTED: {Step.END: DISCONNECTED},
    DISCONNECTED: {},
    NEVER_CONNECTED: {},
}
"""Where each step leads. One that is not here is not taken: nobody joins twice, and what ends a socket second has no effect."""
