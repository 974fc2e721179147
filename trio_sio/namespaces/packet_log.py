"""The newest events of a namespace, for clients that missed some of them."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import trio

from ..config import generate_id

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from .target import Target

__all__ = ["LoggedPacket", "PacketLog"]


class LoggedPacket(NamedTuple):
    """One event.

    Attributes:
      place: Its place: 1, 2, 3, ... in the order in which they were emitted.
      time: When that was.
      packet: The event; ``None`` if it was not sent after all.
      target: Whom it was for.
    """

    place: int
    time: float
    packet: EncodedPacket | None
    target: Target


class PacketLog:
    """Keeps events until there are too many of them, or nobody can have missed them any more.

    An event carries its place as its *offset*, a string; that of another log is not understood. How far a client has
    come in the log is a *position*: the place of the last event that it has, or 0.

    Of the events that had to go, it remembers whom the newest were for: a client that was not meant has missed nothing,
    however many there were. It knows the newest of each room, for as many rooms as events are kept; up to the newest of
    any other room, an event that has gone may have been for anybody.

    Args:
      packets: How many events are kept at most.
      bytes: How many bytes they may have together.
      age: Seconds after which nobody can have missed an event any more.

    Attributes:
      position: The place of the newest event.
      gone: The place of the newest event that is not kept any more.
      bytes: The bytes of all that are kept.
      evicted: How many had to go because of the bounds.
    """

    def __init__(self, *, packets: int, bytes: int, age: float) -> None:
        self._most_packets = packets
        self._most_bytes = bytes
        self._age = age
        # Offsets of a server that was restarted, or of a namespace that was made anew, must not look like ours.
        self._prefix = f"{generate_id()[:6]}."
        self._entries: deque[LoggedPacket] = deque()
        # Place and time of the newest event that has left, by room (`None`: for everybody), in this order.
        self._last_gone: OrderedDict[str | None, tuple[int, float]] = OrderedDict()
        self._last_unknown: tuple[int, float] = (0, -math.inf)  # the newest that has left, of all other rooms
        self.position = 0
        self.gone = 0
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        """How many events are kept."""
        return len(self._entries)

    @property
    def next_offset(self) -> str:
        """The offset of the event that is appended next."""
        return f"{self._prefix}{self.position + 1:x}"

    def position_of(self, offset: str) -> int | None:
        """Return the position of a client whose last event had that ``offset``, or ``None`` if there was no such event."""
        if not offset.startswith(self._prefix):
            return None
        digits = offset[len(self._prefix) :]
        try:
            place = int(digits, 16)
        except ValueError:
            return None
        return place if 0 < place <= self.position and f"{place:x}" == digits else None

    def append(self, packet: EncodedPacket, target: Target) -> None:
        """Add an event, which must have been encoded with `next_offset`."""
        now = trio.current_time()
        self.position += 1
        self._entries.append(LoggedPacket(self.position, now, packet, target))
        self.bytes += packet.size
        while self._entries[0].time < now - self._age:
            self._forget(self._drop_oldest())
        while self.bytes > self._most_bytes or len(self._entries) > self._most_packets:
            self._evict()

    def retract(self, packet: EncodedPacket) -> None:
        """Take back an event that was not sent after all; its place remains empty."""
        for index in range(len(self._entries) - 1, -1, -1):
            entry = self._entries[index]
            if entry.packet is packet:
                self._entries[index] = entry._replace(packet=None)
                self.bytes -= packet.size
                return

    def clear(self) -> None:
        """Forget everything: there is nobody left who could have missed it."""
        while self._entries:
            self._forget(self._drop_oldest())

    def last_gone(self, room: str | None) -> tuple[int, float]:
        """Return place and time behind which no event for ``room`` (``None``: for everybody) has left the log."""
        return self._last_gone.get(room, self._last_unknown)

    def after(self, position: int) -> Iterator[LoggedPacket]:
        """Give the events after ``position`` that are kept."""
        # The places of what is kept have no gaps.
        return islice(self._entries, max(position - self.gone, 0), None)

    def _drop_oldest(self) -> LoggedPacket:
        entry = self._entries.popleft()
        self.gone = entry.place
        if entry.packet is not None:
            self.bytes -= entry.packet.size
        return entry

    def _evict(self) -> None:
        """Let the oldest event go, which somebody may have missed."""
        self.evicted += 1
        entry, last = self._drop_oldest(), self._last_gone
        if entry.packet is None:
            return
        rooms: Iterable[str | None] = entry.target.rooms or (None,)
        for room in rooms:
            last[room] = (entry.place, entry.time)
            last.move_to_end(room)
        while len(last) > self._most_packets:
            self._last_unknown = last.popitem(last=False)[1]

    def _forget(self, entry: LoggedPacket) -> None:
        """Let an event go that nobody can have missed, and whom all before it were for."""
        self._last_unknown = (entry.place, entry.time)
        self._last_gone.clear()
