"""Where a client's socket is: how far it has come, which session carries it, and what became of it.

`SocketCore` changes it, and nobody else; what sends, dispatches and waits looks here.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import trio

from ..errors import Disconnected
from .states import Ended, States

if TYPE_CHECKING:
    from .connection import Connection
    from .events import Received
    from .session import Session

__all__ = ["Membership", "Stage"]


class Stage(enum.Enum):
    """How far a socket has come."""

    JOINING = "joining"
    CONNECTED = "connected"
    LEAVING = "leaving"
    OVER = "over"


class Membership:
    """One socket in its namespace, or outside of it.

    Args:
      connection: The connection that it shares with others.
      namespace: Where it wants to be.

    Attributes:
      id: The socket's id, as the server knows it.
      recovered: Whether the last reconnection was a recovery.
      stage: How far it has come.
      session: What carries it, or is about to.
      sessions: How many sessions it has had; the number of the present one.
      lives: How often it has ended: what belongs to one life has no place in the next.
      states: What became of it, for who listens.
      changed: Where tasks park that wait for another stage, or another session.
    """

    __slots__ = ("changed", "connection", "id", "lives", "namespace", "recovered", "session", "sessions", "stage", "states")

    def __init__(self, connection: Connection, namespace: str) -> None:
        self.connection = connection
        self.namespace = namespace
        self.id = ""
        self.recovered = False
        self.stage = Stage.OVER
        self.session: Session | None = None
        self.sessions = 0
        self.lives = 0
        self.states = States()
        self.changed = trio.lowlevel.ParkingLot()

    @property
    def ended(self) -> Ended:
        """How it ended, when it is over."""
        ended = self.states.current
        assert isinstance(ended, Ended)
        return ended

    def gone(self) -> Disconnected:
        """Return the error for who wants something of a socket that is over."""
        gone = Disconnected(f"The socket in namespace {self.namespace!r} is over ({self.ended.reason}); connect() joins again.")
        gone.__cause__ = self.ended.error
        return gone

    def require_open(self, life: int | None = None) -> None:
        """Raise `Disconnected` if nothing is sent any more, or nothing of what began when `lives` was ``life``."""
        if self.stage is Stage.OVER:
            raise self.gone()
        if self.stage is Stage.LEAVING:
            raise Disconnected(f"The socket in namespace {self.namespace!r} is being disconnected, so nothing more is sent.")
        if life not in (None, self.lives):
            raise Disconnected("The socket ended before this could be sent, and was connected again; send it again if it is still wanted.")

    def session_of(self, received: Received) -> Session | None:
        """Return the session through which an event can be answered: the one that it came through."""
        return self.session if received.session == self.sessions else None
