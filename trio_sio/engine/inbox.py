"""What waits for the handlers of one connection: how much it is, and when reading stops and goes on.

Theory of operation
===================

There is room as long as less waits than ``Limits.inbox_events`` and ``Limits.inbox_bytes``, the latter in memory. What
arrives while there is room is taken, so the last of it may exceed the bound. Then reading stops: what the client sends
stays in the network, and slows the client down. It goes on when half of both is free, or nothing waits any more.

While a task waits for an answer of this client, which may be behind what arrives, there is ``WHILE_AWAITED`` times the
room, and what finds none ends the connection. Nobody is disconnected who is only fast.

A packet whose attachments have not all come counts, but does not stop reading when nothing else waits: nobody would
ever make room.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from ..errors import InboxOverflow

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["WHILE_AWAITED", "Inbox"]

WHILE_AWAITED: Final = 4  # times the room, while a handler waits for the client


class Inbox:
    """Counts the events of one connection that wait, and stops and resumes reading.

    Args:
      connection: The connection.

    Attributes:
      events: How many wait.
      bytes: How much memory they take, and what has come of a packet whose attachments are missing.
      paused: Whether reading is stopped.
      resumed: When reading went on after it had been stopped; minus infinity before that.
    """

    __slots__ = ("_awaited", "_connection", "_held", "_most_bytes", "_most_events", "bytes", "events", "paused", "resumed")

    def __init__(self, connection: Connection) -> None:
        limits = connection.config.limits
        self.events = 0
        self.bytes = 0
        self.paused = False
        self.resumed = -math.inf
        self._connection = connection
        self._most_events = limits.inbox_events
        self._most_bytes = limits.inbox_bytes
        self._awaited = 0  # tasks that wait for something that the client still has to send
        self._held = False

    def queued(self, memory: int) -> None:
        """Count an event in.

        Raises:
          InboxOverflow: if somebody waits for the client, and there was no room for this event even so.
        """
        self.events += 1
        self.bytes += memory
        if self.events >= self._most_events or self.bytes >= self._most_bytes:
            if self._awaited:
                self._require_room(self.events - 1, self.bytes - memory)
            else:
                self._pause()

    def taken(self, memory: int) -> None:
        """Count an event out."""
        self.events -= 1
        self.bytes -= memory
        if self.paused:
            self._go_on()

    def part_arrived(self, memory: int) -> None:
        """Count a part of a packet in; with a negative number, count it out."""
        self.bytes += memory
        if self.events and self.bytes >= self._most_bytes and memory > 0:
            if self._awaited:
                self._require_room(self.events, self.bytes - memory)
            else:
                self._pause()

    def awaiting(self, change: int) -> None:
        """Count tasks that wait for an answer of the client: as long as there are any, reading goes on."""
        self._awaited += change
        if self.paused:
            self._go_on()
        elif not self._awaited and (self._held or self._is_full()):
            self._pause()

    def hold(self, holding: bool) -> None:
        """Stop reading although there may be room, or do so no longer."""
        self._held = holding
        if holding and not self._awaited:
            self._pause()
        elif self.paused:
            self._go_on()

    def _is_full(self) -> bool:
        return self.events >= self._most_events or (self.events > 0 and self.bytes >= self._most_bytes)

    def _require_room(self, events: int, memory: int) -> None:
        most_events, most_bytes = WHILE_AWAITED * self._most_events, WHILE_AWAITED * self._most_bytes
        if events >= most_events or memory >= most_bytes:
            raise InboxOverflow(f"more than {most_events} events, or {most_bytes} bytes of them, wait while a handler waits for the client")

    def _pause(self) -> None:
        if not self.paused:
            self.paused = True
            self._connection.accept(False)

    def _go_on(self) -> None:
        """Read on if there is a reason to."""
        has_room = not self.events or (self.events <= self._most_events // 2 and self.bytes <= self._most_bytes // 2)
        if self._awaited or (has_room and not self._held):
            self.paused = False
            self.resumed = trio.current_time()
            self._connection.accept(True)
