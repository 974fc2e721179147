"""The heartbeat of one session: a ping every `ping_interval`, and no life without a pong (Engine.IO protocol, "Heartbeat").

Theory of operation
===================

A ping is unanswered from when it is put into the outbox until the pong comes. As long as it is unanswered the session has a
deadline, which moves:

* once per ping, when anything else comes, as that shows that the client lives (`heard`);
* while the server does not read, it is put off: what it does not read it cannot miss (`accept`);
* while a large message is on its way, as ping and pong wait their turn behind it.

Nor must a process that was busy blame its clients. So the next ping counts from when it left if that was late, and a pong
that was only waiting to be received is not too late.

The task sleeps until the next ping is due, or until the deadline has passed, whichever its alarm is set to: a pong does not
wake it, it only sets the alarm anew. So a heartbeat costs one turn of the task, and makes nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..concurrency.lines import Alarm
from ..errors import ConnectionFault, PingTimeout
from ..protocol.engineio import PING_PACKET

if TYPE_CHECKING:
    from ..concurrency.gate import Gate
    from ..concurrency.outbox import Outbox
    from ..concurrency.timers import Timers
    from ..config import Config
    from ..protocol.frames import EncodedPacket

__all__ = ["Heartbeat", "Pace"]

RECEIVING_TURNS: Final = 3  # turns of the scheduler until what is in the kernel has been received
GRAIN: Final = 0.002  # seconds by which a timer may be late on an idle machine: epoll counts milliseconds


class Pinged(Protocol):
    """The session, as far as its heartbeat knows it."""

    @property
    def outbox(self) -> Outbox[EncodedPacket]:
        """Where pings go."""

    def is_moving(self) -> bool:
        """Tell whether a message is on its way, in or out, and has come on since the last call."""

    def end(self, fault: ConnectionFault) -> None:
        """Learn that the client is dead."""


class Pace:
    """What the heartbeats of one server share.

    Args:
      config: How often they ping, and how long a pong may take.
      timers: Wakes them.

    Attributes:
      ping_interval, ping_timeout: See `Config`.
      resting: The alarms of those whose next ping is not due.
      waiting: The alarms of those who wait for a pong.
    """

    __slots__ = ("ping_interval", "ping_timeout", "resting", "waiting")

    def __init__(self, config: Config, timers: Timers) -> None:
        self.ping_interval = config.ping_interval
        self.ping_timeout = config.ping_timeout
        self.resting = timers.line()
        self.waiting = timers.line()


class Heartbeat:
    """Pings, and the pongs that answer them.

    Args:
      pace: How often, and how long a pong may take.
      gate: Open while the server reads.

    Attributes:
      unanswered: Whether there is a ping whose pong has not come.
      confirmed: When the ping was sent that the latest pong answers: the client has all that was sent before it; minus
        infinity until the first pong.
      round_trip: Seconds from that ping, which had to wait for its turn in the outbox, to its pong; ``None`` until the first.
    """

    __slots__ = (
        "_alarm",
        "_confirmed_by_pong",
        "_extended",
        "_gate",
        "_in_grace",
        "_pace",
        "_pinged",
        "_stopped",
        "confirmed",
        "round_trip",
        "unanswered",
    )

    def __init__(self, pace: Pace, gate: Gate) -> None:
        self._pace = pace
        self._gate = gate
        self._alarm = Alarm()
        self.unanswered = False
        self.confirmed = -math.inf
        self.round_trip: float | None = None
        self._pinged = -math.inf  # when the latest ping was put into the outbox
        self._confirmed_by_pong = -math.inf  # what `confirmed` becomes with the pong
        self._extended = False  # for this ping
        self._in_grace = False  # whether its deadline has passed while this process was busy
        self._stopped = False

    def ponged(self) -> bool:
        """Take a pong, and tell whether it was asked for. One that was not starts no work, nor does it postpone the next ping."""
        if not self.unanswered:
            return False
        now = trio.current_time()
        self.unanswered = False
        self.confirmed = self._confirmed_by_pong
        self.round_trip = now - self._pinged
        self._rest_from(now)
        return True

    def heard(self) -> None:
        """Take note of another packet while a ping is unanswered; only the first one counts."""
        if not self._extended and self._gate.is_open:
            self._extended = True
            self._wait_from(trio.current_time())

    def accept(self, accepting: bool) -> None:
        """Learn that the server reads on, or does not; the gate tells the same."""
        if self.unanswered:
            if accepting:
                self._wait_from(trio.current_time())
            else:
                self._alarm.stop()

    def stop(self) -> None:
        """Ping no more: the session has ended."""
        self._stopped = True
        self._alarm.stop()
        self._alarm.wake()

    @trio.lowlevel.enable_ki_protection
    async def run(self, session: Pinged) -> None:
        """Ping, and end ``session`` when no pong comes, until `stop`."""
        if not self._stopped:
            self._rest_from(trio.current_time())
        while True:
            await self._alarm.wait()
            if self._stopped:
                await trio.lowlevel.checkpoint()
                return
            if self._alarm.is_set:
                continue  # anew, after it rang and before this task had its turn
            if not self.unanswered:
                self._ping(session)
            elif not await self._came_late() and not self._stopped:
                # Ping and pong wait their turn: on a slow network a large message takes longer than ping_timeout.
                if session.is_moving():
                    self._wait_from(trio.current_time())
                else:
                    session.end(PingTimeout(f"no pong within {self._pace.ping_timeout} seconds"))

    def _rest_from(self, start: float) -> None:
        self._alarm.set(start + self._pace.ping_interval, self._pace.resting)

    def _wait_from(self, start: float) -> None:
        """Let the pong of the last ping have `ping_timeout` from ``start``; as long as it takes while the server does not read."""
        if self._gate.is_open:
            self._in_grace = False
            self._alarm.set(start + self._pace.ping_timeout, self._pace.waiting)

    def _ping(self, session: Pinged) -> None:
        # The time-out counts from here, not from when the ping leaves: a wire that takes nothing is as dead. And from
        # when the ping was due, or the clocks' grain would add up; unless this process was busy, which is its own fault.
        due, now = self._alarm.due, trio.current_time()
        self.unanswered = True
        self._pinged = now
        self._extended = False
        session.is_moving()
        if not session.outbox.is_awaited:
            self._confirmed_by_pong = now
        session.outbox.put(PING_PACKET)
        session.outbox.sample()
        self._wait_from(now if now - due > GRAIN else due)

    async def _came_late(self) -> bool:
        """Tell whether the client lives, or gets more time, as what it sent was only waiting to be received.

        This process may have been busy with something else. A handler that blocks it for longer than ``ping_timeout`` would
        otherwise disconnect every client with a ping under way, although all of them have answered.
        """
        now, deadline = trio.current_time(), self._alarm.due
        if now - deadline > GRAIN and not self._in_grace:
            self._in_grace = True
            self._alarm.set(now + min(now - deadline, self._pace.ping_timeout), self._pace.waiting)
            return True
        for _ in range(RECEIVING_TURNS):
            await trio.lowlevel.checkpoint()
        return not self.unanswered or self._alarm.is_set
