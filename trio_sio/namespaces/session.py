"""What a client that comes back is recognised by, and what it must be sent then; see recovery.py."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import trio

from ..config import generate_id
from .expiry import seconds_left
from .target import Target

if TYPE_CHECKING:
    from ..concurrency.timers import Timer
    from ..engine.connection import Connection
    from ..protocol.frames import EncodedPacket
    from .packet_log import PacketLog

__all__ = ["Memberships", "SocketSession"]

FORMER_ROOMS: Final = 1_000  # former memberships of one session that are remembered


class Memberships:
    """Which rooms a session is in, and between which positions of the log it was in others."""

    __slots__ = ("_forgotten", "_former", "_left", "_since")

    def __init__(self) -> None:
        self._since: dict[str, int] = {}
        self._former: dict[str, deque[tuple[int, int, float]]] = {}  # since, until, and when that was; oldest first
        self._left: deque[str] = deque()  # the rooms of `_former` in the order in which they were left
        self._forgotten: tuple[int, float] = (0, -math.inf)  # up to where, and when, it was in rooms that are not known any more

    @property
    def rooms(self) -> Collection[str]:
        """The rooms that it is in."""
        return self._since.keys()

    def copy(self) -> Memberships:
        """Return what is the same now, whatever becomes of this."""
        other = Memberships()
        other._since = self._since.copy()
        other._former = {room: former.copy() for room, former in self._former.items()}
        other._left = self._left.copy()
        other._forgotten = self._forgotten
        return other

    def join(self, rooms: Iterable[str], position: int) -> None:
        """Be in ``rooms`` from ``position`` on."""
        for room in rooms:
            self._since.setdefault(room, position)

    def leave(self, rooms: Iterable[str], log: PacketLog) -> None:
        """Be in ``rooms`` no longer."""
        for room in rooms:
            since = self._since.pop(room, log.position)
            if since < log.position:
                self._former.setdefault(room, deque()).append((since, log.position, trio.current_time()))
                self._left.append(room)
        while self._left and (len(self._left) > FORMER_ROOMS or self._former[self._left[0]][0][1] <= log.gone):
            self._forget_oldest(log)

    def was_in(self, rooms: frozenset[str], place: int) -> bool:
        """Tell whether it was in any of ``rooms`` when the event at ``place`` was emitted."""
        for room in rooms:
            if room in self._since and self._since[room] < place:
                return True
            if room in self._former and any(since < place <= until for since, until, _ in self._former[room]):
                return True
        return False

    def may_have_missed(self, log: PacketLog, position: int, confirmed: float) -> bool:
        """Tell whether an event that has left ``log`` may have been for one of these rooms.

        Args:
          log: The log.
          position: Of the last event that its client has for certain.
          confirmed: A time; what was emitted to the client before that has arrived.
        """

        def is_missing(place: int, time: float) -> bool:
            return place > position and time >= confirmed

        if is_missing(*self._forgotten):
            return True
        for room, since in self._since.items():
            place, time = log.last_gone(room)
            if place > since and is_missing(place, time):
                return True
        for room, former in self._former.items():
            place, time = log.last_gone(room)
            if is_missing(place, time) and any(place > since and is_missing(until, when) for since, until, when in former):
                return True
        return False

    def _forget_oldest(self, log: PacketLog) -> None:
        room = self._left.popleft()
        former = self._former[room]
        since, until, time = former.popleft()
        # Where all that was said meanwhile has left the log, and none of it in this room, nothing is lost with it.
        if until > log.gone or log.last_gone(room)[0] > since:
            self._forgotten = (until, time)
        if not former:
            del self._former[room]


class SocketSession:
    """What outlives a connection: one client in one namespace, from its first CONNECT until it is given up.

    Args:
      id: That of its first socket.
      data: That of its first socket.
      position: The position of the log.
      offset: What its client came with; it comes with that again if it receives nothing.
      pid: Its secret; ``None``: a new one.

    Attributes:
      id: `Socket.id`, the same for all its sockets.
      data: `Socket.data`.
      controllers: What routing keeps of its controllers, if it does.
      pid: The secret by which its client comes back.
      private: Addresses its client.
      memberships: The rooms besides the private one.
      kept: What `memberships` were before its client came back, until that is decided.
      connection: What its client is connected by; ``None`` while it is away.
      position: Up to where its client has everything for certain.
      expires: When it is given up, in Trio's time, if its client is away.
      expires_at: Until when its client may be there at all, in seconds since 1970; ``None``: without limit. See `Socket.expires_at`.
      timer: What gives it up then.
      settled: Set once nothing runs any more in the name of its last socket.
      is_whole: Whether everything that was emitted to it was also sent.
      is_over: Whether it was given up.
      has_warned: Whether the log says that somebody emits to an earlier socket of it.
    """

    __slots__ = (
        "_beginning",
        "_confirmed",
        "_connected_at",
        "_connected_since",
        "_offset",
        "connection",
        "controllers",
        "data",
        "expires",
        "expires_at",
        "has_warned",
        "id",
        "is_over",
        "is_whole",
        "kept",
        "memberships",
        "pid",
        "position",
        "private",
        "recovered_with",
        "settled",
        "timer",
    )

    def __init__(self, id: str, data: Any, position: int, offset: str | None, pid: str | None = None) -> None:  # Socket.IO's word
        self.id = id
        self.data = data
        self.controllers: object = None
        self.pid = pid or generate_id()
        self.private = Target(rooms=frozenset((id,)))
        self.memberships = Memberships()
        self.kept: Memberships | None = None
        self.connection: Connection | None = None
        self.position = position
        self.expires = 0.0
        self.expires_at: float | None = None
        self.timer: Timer | None = None
        self.settled = trio.Event()
        self.is_whole = True
        self.is_over = False
        self.has_warned = False
        self.recovered_with: tuple[str | None] | None = None  # the offset that brought it back last
        self._beginning = position
        self._connected_at: int | None = None  # where events to everybody begin to reach it
        self._connected_since = self._confirmed = trio.current_time()
        self._offset = offset

    def __repr__(self) -> str:
        return f"<SocketSession {self.id}>"

    @property
    def rooms(self) -> frozenset[str]:
        """`Socket.rooms`."""
        return frozenset((self.id, *self.memberships.rooms))

    @property
    def has_expired(self) -> bool:
        """Whether the time is over until which its client may be there, by the clock on the wall as it is now."""
        return self.expires_at is not None and seconds_left(self.expires_at) <= 0

    def outlives(self, connection: Connection) -> bool:
        """Tell whether what is emitted to a socket that was on ``connection`` may yet reach its client."""
        # The socket leaves its rooms, and callbacks hear of that, before the session is handed back.
        return not self.is_over and (self.connection is None or self.connection is connection)

    def is_elsewhere(self, connection: Connection) -> bool:
        """Tell whether its client has come back, to a socket that is not on ``connection``."""
        return not self.is_over and self.connection is not None and self.connection is not connection

    def connect(self, connection: Connection, position: int) -> None:
        """Belong to a socket on ``connection``."""
        self.connection = connection
        self.kept = None
        self._connected_since = trio.current_time()
        if self._connected_at is None:
            self._connected_at = position
        self.settled = trio.Event()
        if self.timer is not None:
            self.timer.cancel()

    def disconnect(self) -> None:
        """Belong to no socket."""
        assert self.connection is not None
        # Before that, a pong proves nothing about what was sent over the connection before this one.
        if self.connection.confirmed > self._connected_since:
            self._confirmed = self.connection.confirmed
        self.connection = None

    def come_to(self, offset: str | None, log: PacketLog) -> bool:
        """Let `position` be that of a client that presents ``offset``; tell whether that makes sense."""
        if offset is None or offset == self._offset:
            position: int | None = self._beginning
        else:
            position = log.position_of(offset)
        if position is None:
            return False
        self.position = max(position, self._beginning)
        return True

    def enter(self, rooms: Collection[str], position: int) -> None:
        """Be somebody whom events for everybody reach, and for ``rooms``, from ``position`` on."""
        self._connected_at = position
        self.memberships.join(rooms, position)

    def begin_anew(self, position: int, offset: str | None) -> None:
        """Be at the beginning, at ``position`` of the log; its client comes with ``offset``, which is of another one."""
        self.memberships, self.kept = Memberships(), None
        self.position = self._beginning = position
        self._connected_since = self._confirmed = trio.current_time()
        self._offset = offset

    @property
    def first_offset(self) -> str | None:
        """What its client comes back with if it has received nothing."""
        return self._offset

    def come_to_what_is_certain(self, log: PacketLog) -> None:
        """Let `position` be where its client has come at least, as far as pongs prove that."""
        self.position = max(self.position, log.position_at(self._confirmed))

    def missed(self, log: PacketLog) -> list[EncodedPacket] | None:
        """Return what its client has not got yet, or ``None`` where that is not known any more."""
        if not self.is_whole or self._may_have_missed_what_is_gone(log):
            return None
        return [packet for _, packet in self.events_after(log)]

    def events_after(self, log: PacketLog) -> Iterator[tuple[int, EncodedPacket]]:
        """Give places and events behind `position` that were for its client."""
        for entry in log.after(self.position):
            if entry.packet is not None and self._was_meant(entry.target, entry.place):
                yield entry.place, entry.packet

    def _may_have_missed_what_is_gone(self, log: PacketLog) -> bool:
        position, confirmed = self.position, self._confirmed
        place, time = log.hole
        if place >= position and time >= confirmed:
            return True
        if self._connected_at is not None:
            place, time = log.last_gone(None)
            if place > max(position, self._connected_at) and time >= confirmed:
                return True
        place, time = log.last_gone(self.id)
        if place > position and time >= confirmed:
            return True
        # Whom an event was not for although it was for their rooms is not remembered.
        return self.memberships.may_have_missed(log, position, confirmed)

    def _was_meant(self, target: Target, place: int) -> bool:
        if target.rooms:
            if self.id not in target.rooms and not self.memberships.was_in(target.rooms, place):
                return False
        elif self._connected_at is None or place <= self._connected_at:
            return False
        return not target.excluded or not (self.id in target.excluded or self.memberships.was_in(target.excluded, place))
