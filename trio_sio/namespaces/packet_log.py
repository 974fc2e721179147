"""The newest events of a namespace, for clients that missed some of them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from ..config import generate_id

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from .target import Target

__all__ = ["LoggedPacket", "Origin", "PacketLog", "place_of"]

Origin = tuple[str, int | None]
"""Which server has published an event, and its number among all that this one publishes; ``None``: it does not count.

An event has the same origin in the logs of all servers, while its place in each is another.
"""

MOST_ORIGINS: Final = 4_000  # servers whose numbers are remembered


def place_of(offset: str, prefix: str, newest: int) -> int | None:
    """Return the place for which ``offset`` stands in a log with that ``prefix`` and so many events; ``None``: for none."""
    if not offset.startswith(prefix):
        return None
    digits = offset[len(prefix) :]
    try:
        place = int(digits, 16)
    except ValueError:
        return None
    return place if 0 < place <= newest and f"{place:x}" == digits else None


class LoggedPacket(NamedTuple):
    """One event.

    Attributes:
      place: Its place: 1, 2, 3, ... in the order in which they were emitted.
      time: When that was.
      packet: The event; ``None`` if it was not sent after all.
      target: Whom it was for.
      origin: Who has published it; ``None``: it was for this server alone.
    """

    place: int
    time: float
    packet: EncodedPacket | None
    target: Target
    origin: Origin | None = None


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
      prefix: What its offsets begin with.
      hole: Place and time of the newest event that is kept behind which another server's may be missing.
      unnumbered: The place of the newest event of a server that does not count, or is one of too many.
      newest: The number of the newest event that was ever here, by who has published it.
      newest_gone: The same of those that are not kept any more.
    """

    def __init__(self, *, packets: int, bytes: int, age: float) -> None:
        self._most_packets = packets
        self._most_bytes = bytes
        self._age = age
        # Offsets of a server that was restarted, or of a namespace that was made anew, must not look like ours.
        self.prefix = f"{generate_id()[:6]}."
        self.hole: tuple[int, float] = (-1, -math.inf)
        self.unnumbered = 0
        self.newest: dict[str, int] = {}
        self.newest_gone: dict[str, int] = {}
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
        return f"{self.prefix}{self.position + 1:x}"

    def position_of(self, offset: str) -> int | None:
        """Return the position of a client whose last event had that ``offset``, or ``None`` if there was no such event."""
        return place_of(offset, self.prefix, self.position)

    def append(self, packet: EncodedPacket, target: Target, origin: Origin | None = None) -> None:
        """Add an event, which must have been encoded with `next_offset`."""
        now = trio.current_time()
        self.position += 1
        self._entries.append(LoggedPacket(self.position, now, packet, target, origin))
        self.bytes += packet.size
        if origin is not None:
            self._count(origin)
        while self._entries[0].time < now - self._age:
            self._forget(self._drop_oldest())
        while self.bytes > self._most_bytes or len(self._entries) > self._most_packets:
            self._evict()

    def has_missed(self) -> None:
        """Learn that an event of another server may be missing behind the newest, whomever it was for."""
        self.hole = (self.position, trio.current_time())

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

    def forget_before(self, time: float) -> None:
        """Forget what was emitted before that: there is nobody who could have missed it."""
        while self._entries and self._entries[0].time < time:
            self._forget(self._drop_oldest())

    def last_gone(self, room: str | None) -> tuple[int, float]:
        """Return place and time behind which no event for ``room`` (``None``: for everybody) has left the log."""
        return self._last_gone.get(room, self._last_unknown)

    def after(self, position: int) -> Iterator[LoggedPacket]:
        """Give the events after ``position`` that are kept."""
        # The places of what is kept have no gaps.
        return islice(self._entries, max(position - self.gone, 0), None)

    def position_at(self, time: float) -> int:
        """Return up to where everything was emitted before ``time``, as far as that is known."""
        kept = bisect_left(self._entries, time, key=attrgetter("time"))
        # Where nothing that old is kept, what is gone may be newer.
        return self.gone + kept if kept else 0

    def newest_first(self) -> Iterator[LoggedPacket]:
        """Give all that are kept."""
        return reversed(self._entries)

    def _count(self, origin: Origin) -> None:
        uid, number = origin
        if number is None or (uid not in self.newest and not self._has_place_for_another()):
            self.unnumbered = self.position
        else:
            self.newest[uid] = number

    def _has_place_for_another(self) -> bool:
        """Tell whether one more server can be remembered: in the place of the oldest, if nothing of that is kept."""
        # Whoever invents servers gets no memory for them.
        if len(self.newest) >= MOST_ORIGINS:
            oldest, number = next(iter(self.newest.items()))
            if self.newest_gone.get(oldest) != number:
                return False
            del self.newest[oldest], self.newest_gone[oldest]
        return True

    def _drop_oldest(self) -> LoggedPacket:
        entry = self._entries.popleft()
        self.gone = entry.place
        if entry.packet is not None:
            self.bytes -= entry.packet.size
        if entry.origin is not None:
            uid, number = entry.origin
            if number is not None and uid in self.newest:
                self.newest_gone[uid] = number
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
