"""The heartbeat of one session: a ping every `ping_interval`, and no life without a pong (Engine.IO protocol, "Heartbeat").

Theory of operation
===================

A ping is unanswered from when it is put into the outbox until the pong comes; then `pong` is the event that it sets. As
long as it is unanswered the session has a deadline, which moves:

* once per ping, when anything else comes, as that shows that the client lives (`heard`);
* while the server does not read, it is put off: what it does not read it cannot miss (`accept`);
* while a large message is on its way, as ping and pong wait their turn behind it.

Nor must a process that was busy blame its clients. So the next ping counts from when it left if that was late, and a pong
that was only waiting to be received is not too late.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..errors import ConnectionFault, PingTimeout
from ..protocol.engineio import PING_PACKET

if TYPE_CHECKING:
    from ..concurrency.gate import Gate
    from ..concurrency.outbox import Outbox
    from ..config import Config
    from ..protocol.frames import EncodedPacket

__all__ = ["Heartbeat"]

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


class Heartbeat:
    """Pings, and the pongs that answer them.

    Args:
      config: How often, and how long a pong may take.
      gate: Open while the server reads.

    Attributes:
      pong: What is set when the pong comes; ``None`` while no ping is unanswered.
      confirmed: When the ping was sent that the latest pong answers: the client has all that was sent before it; minus
        infinity until the first pong.
    """

    __slots__ = ("_config", "_confirmed_by_pong", "_extended", "_gate", "_pong_scope", "_scope", "confirmed", "pong")

    def __init__(self, config: Config, gate: Gate) -> None:
        self._config = config
        self._gate = gate
        self.pong: trio.Event | None = None
        self.confirmed = -math.inf
        self._confirmed_by_pong = -math.inf  # what `confirmed` becomes with the pong
        self._pong_scope: trio.CancelScope | None = None
        self._extended = False  # for this ping
        self._scope = trio.CancelScope()

    def ponged(self) -> None:
        """Take a pong. One that nobody asked for starts no work, nor does it postpone the next ping."""
        if self.pong is not None:
            self.pong.set()
            self.pong = None
            self.confirmed = self._confirmed_by_pong

    def heard(self) -> None:
        """Take note of another packet while a ping is unanswered; only the first one counts."""
        if not self._extended and self._pong_scope is not None and self._gate.is_open:
            self._extended = True
            self._pong_scope.deadline = trio.current_time() + self._config.ping_timeout

    def accept(self, accepting: bool) -> None:
        """Learn that the server reads on, or does not; the gate tells the same."""
        if self.pong is not None and self._pong_scope is not None:
            self._pong_scope.deadline = trio.current_time() + self._config.ping_timeout if accepting else math.inf

    def stop(self) -> None:
        """Ping no more: the session has ended."""
        self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def run(self, session: Pinged) -> None:
        """Ping, and end ``session`` when no pong comes, until `stop`."""
        config = self._config
        with self._scope:
            while True:
                due = trio.current_time() + config.ping_interval
                await trio.sleep_until(due)
                # The time-out counts from here, not from when the ping leaves: a wire that takes nothing is as dead. And from
                # when the ping was due, or the clocks' grain would add up; unless this process was busy, which is its own fault.
                if _is_late(due):
                    due = trio.current_time()
                deadline = due + config.ping_timeout
                self._extended = False
                self.pong = pong = trio.Event()
                session.is_moving()
                if not session.outbox.is_awaited:
                    self._confirmed_by_pong = trio.current_time()
                session.outbox.put(PING_PACKET)
                while not await self._comes_in_time(pong, deadline):
                    # Ping and pong wait their turn: on a slow network a large message takes longer than ping_timeout.
                    if not session.is_moving():
                        session.end(PingTimeout(f"no pong within {config.ping_timeout} seconds"))
                    deadline = trio.current_time() + config.ping_timeout

    async def _comes_in_time(self, pong: trio.Event, deadline: float) -> bool:
        with trio.CancelScope(deadline=deadline if self._gate.is_open else math.inf) as self._pong_scope:
            await pong.wait()
        return not self._pong_scope.cancelled_caught or await self._came_late(pong, self._pong_scope.deadline)

    async def _came_late(self, pong: trio.Event, deadline: float) -> bool:
        """Tell whether ``pong`` was only waiting to be received, because this process was busy with something else.

        A handler that blocks it for longer than ``ping_timeout`` would otherwise disconnect every client with a ping
        under way, although all of them have answered.
        """
        if _is_late(deadline):
            with trio.move_on_after(min(trio.current_time() - deadline, self._config.ping_timeout)):
                await pong.wait()
        for _ in range(RECEIVING_TURNS):
            await trio.lowlevel.checkpoint()
        return pong.is_set()


def _is_late(due: float) -> bool:
    """Tell whether it is so long after ``due`` that this process was busy with something else."""
    return trio.current_time() - due > GRAIN
