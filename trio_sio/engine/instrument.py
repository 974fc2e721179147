"""What an instrument is told of sessions and of the server as a whole; of sockets and events `Instrument` is told, which is above."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..protocol.http import Request

__all__ = ["SessionInstrument"]


class SessionInstrument:
    """The part of `Instrument` that the engine calls. Override what you want to hear of; the rest costs nothing."""

    # Sessions: each is opened once and ended once, and nothing but `packets_dropped` is told of it before or after.

    def session_opened(self, sid: str, transport: str, request: Request) -> None:
        """Learn that a session begins.

        Args:
          sid: Its id, by which the other methods call it. It is a secret between the server and its client: do not show it.
          transport: ``"polling"`` or ``"websocket"``.
          request: What opened it.
        """

    def session_moved(self, sid: str, transport: str) -> None:
        """Learn that a session has moved to another transport: from polling to ``"websocket"``."""

    def session_ended(self, sid: str, reason: str) -> None:
        """Learn that a session has ended, its sockets, too; what runs for it may still be about to end.

        Args:
          sid: Its id.
          reason: One of `DisconnectReason`, such as ``"ping timeout"``.
        """

    def session_refused(self, request: Request, reason: str, status: int) -> None:
        """Learn that a request was refused by the engine.

        Args:
          request: The request. Also one for a session that is not there any more.
          reason: What its client was told, such as ``"Session ID unknown"``: one of a few.
          status: The status of the HTTP response: 400, 403, 429, 503.
        """

    def pong(self, sid: str, seconds: float) -> None:
        """Learn how long it took from a ping, which waits for its turn among what is sent, to its pong."""

    def outbox_waited(self, sid: str, seconds: float) -> None:
        """Learn how long a packet has waited in the outbox of a session: of each ping, which waits for its turn as all others do."""

    def packets_dropped(self, sid: str, count: int, reason: str) -> None:
        """Learn that packets for a client were not sent; also after the end of its session.

        Args:
          sid: The id of its session.
          count: How many.
          reason: ``"volatile"``: they had to make room, or found none; ``"slow consumer"``: they found none, and
            `Config.slow_consumer` is ``"drop"``; ``"gone"``: the client has.
        """

    # The server.

    def loop_lag(self, seconds: float) -> None:
        """Learn, once in a second, by how much the event loop is late: for so long whatever was due had to wait."""

    def loop_blocked(self, seconds: float, where: str) -> None:
        """Learn that something has kept the event loop from turning, as soon as it turns again.

        Args:
          seconds: For how long, about.
          where: What it was, as in the warning of the watchdog: function, file and line.
        """

    def drain_began(self, sessions: int) -> None:
        """Learn that the server drains, once; ``sessions``: how many there are to say goodbye to."""

    def drain_ended(self, left: int) -> None:
        """Learn that this is over; ``left``: how many sessions were not done in time and are cancelled."""
