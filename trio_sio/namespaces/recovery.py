"""Connection state recovery: a client that lost its connection comes back as the same socket, and has missed nothing.

Theory of operation
===================

https://socket.io/docs/v4/connection-state-recovery

CONNECT tells the client a secret, its *pid*. Every event without an acknowledgement carries, behind its arguments, its
*offset*: its place in the `PacketLog` of the namespace. The client remembers the newest. When it comes back, it presents
both, and gets whatever was for it and is behind that place: also what was already on its way when the wire broke, because
nobody knows how much of that has arrived. Without an offset, it has received nothing since its first CONNECT.

What is promised is all or nothing: a client is told that it was recovered only if it has then got every event, once.

* What was for it is decided by the rooms that it was in when the event was emitted (see session.py), as if it had never
  been away. A room that it joined later gives away nothing of what was said there before.
* The log is bounded. Where something for this client has left it that it may not have, there is no recovery. What was for
  others does not count: the log knows of each room when the newest event left that was for it. A pong proves that
  everything before its ping has arrived, so a client that has been quiet for long does not depend on its old offset.
* CONNECT is sent before what was missed: clients note an offset only once they are connected. If the wire breaks between
  the two, it is again clear how far they have come.
* A session belongs to one socket at a time. Coming back ends the connection that still has it, and waits until its
  handlers and hooks are done. Who presents the same offset again while the first is connected gets nothing (a replay).
* Who is thrown out while away does not come back, and nobody does after `Socket.expires_at`.
* Connection middleware decides first. If it refuses, or the wire breaks meanwhile, the session goes back to where it was.
"""

from __future__ import annotations

import abc
import weakref
from collections.abc import Collection, Iterable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import trio

from ..errors import ConnectionReset
from ..log import get_logger
from .data_types import read_data, write_data
from .expiry import seconds_left
from .packet_log import PacketLog
from .records import SessionRecord, event_of
from .session import SocketSession

if TYPE_CHECKING:
    from ..concurrency.callbacks import Callbacks
    from ..concurrency.timers import Timers
    from ..config import Config, Recovery
    from ..engine.connection import Connection
    from ..protocol.frames import EncodedPacket
    from ..protocol.parsers import Parser
    from .data_types import DataType
    from .packet_log import Origin
    from .target import Target

__all__ = ["InMemoryRecovery", "Presented", "RecoveryStore", "hide_offset", "presented_with"]

logger = get_logger("trio_sio.namespaces")

LONGEST: Final = 64  # characters of a pid or an offset; ours are much shorter

_NEVER_STRINGS: Final = (NoneType, bool, int, float, list, tuple, dict, bytes, bytearray, memoryview)


def hide_offset(event: Sequence[object]) -> Sequence[object]:
    """Return an event that has no offset so that clients do not find one in it.

    They take whatever string is at the end, be it the name of an event that has no arguments.
    """
    return event if isinstance(event[-1], _NEVER_STRINGS) else (*event, None)


class Presented(NamedTuple):
    """What a client comes back with.

    Attributes:
      pid: The secret of its session.
      offset: Of the newest event that it has; ``None``: it has none.
    """

    pid: str
    offset: str | None


class Recoverable(Protocol):
    """A socket, as far as it outlives its connection.

    Attributes:
      id: `Socket.id`.
      data: `Socket.data`.
    """

    id: str
    data: Any


class Inhabited(Protocol):
    """A namespace, as its sessions see it; see `Namespace`."""

    name: str
    config: Config
    parser: Parser
    population: int
    on_session_expired: Callbacks[[SocketSession]]

    @property
    def data_type(self) -> DataType | None:
        """What `Socket.data` is."""

    def count(self, *, sockets: int = 0, sessions: int = 0) -> None:
        """Count them."""


class RecoveryStore(abc.ABC):
    """Keeps the sessions of one namespace whose clients are away, and the events that they miss: `Adapter.recovery`.

    `record` and `persist_session` happen at once; where they concern other processes, nobody here waits for that.
    """

    @property
    @abc.abstractmethod
    def next_offset(self) -> str:
        """The last argument of the event that is recorded next."""

    @abc.abstractmethod
    def knows(self, id: str) -> bool:  # Socket.IO's word
        """Tell whether a session has that `Socket.id`, whether its client is away or not."""

    @abc.abstractmethod
    def record(self, packet: EncodedPacket, target: Target, origin: Origin | None = None) -> None:
        """Keep an event that is about to be sent to ``target``, encoded with `next_offset`; ``origin``: who has published it."""

    @abc.abstractmethod
    def retract(self, packet: EncodedPacket) -> None:
        """Forget an event that was not sent after all."""

    @abc.abstractmethod
    def join(self, session: SocketSession, rooms: Iterable[str]) -> None:
        """Note that ``session`` is in ``rooms`` from now on."""

    @abc.abstractmethod
    def leave(self, session: SocketSession, rooms: Iterable[str]) -> None:
        """Note that ``session`` is in ``rooms`` no longer."""

    @abc.abstractmethod
    def open_session(self, socket: Recoverable, offset: object) -> SocketSession:
        """Return a new session for ``socket``, whose client came with ``offset``."""

    @abc.abstractmethod
    async def restore_session(self, pid: object, offset: object) -> SocketSession | None:
        """Return the session of a client that comes with ``pid`` and ``offset``, if it can have all that it missed.

        It is the caller's from then on: `connect_session` or `return_session` comes next. It is not yours when this is
        cancelled.

        Args:
          pid, offset: Out of the client's CONNECT: whatever the client likes.
        """

    @abc.abstractmethod
    def connect_session(self, session: SocketSession, connection: Connection) -> list[EncodedPacket] | None:
        """Let the session belong to a socket on ``connection``, and return what its client missed.

        Returns:
          ``None`` if that is not known any more; then nothing has changed.
        """

    @abc.abstractmethod
    def persist_session(self, session: SocketSession, timers: Timers) -> None:
        """Keep the session of a socket that has lost its connection, for `Recovery.max_disconnection`."""

    @abc.abstractmethod
    def return_session(self, session: SocketSession) -> None:
        """Keep a session that was restored in vain, in the rooms that it was in, for as long as it would have been kept otherwise."""

    @abc.abstractmethod
    def give_up(self, target: Target) -> None:
        """Forget the sessions that are meant and belong to no socket: their clients are not to come back."""

    @abc.abstractmethod
    def drop_session(self, session: SocketSession) -> None:
        """Forget the session of a socket that has ended and does not come back."""


class InMemoryRecovery(RecoveryStore):
    """The sessions and events of one namespace in one process.

    Args:
      namespace: The namespace.
      recovery: The bounds.

    Attributes:
      log: The events.
      given_up: How many sessions were kept in vain.
    """

    def __init__(self, namespace: Inhabited, recovery: Recovery) -> None:
        config = namespace.config
        self._namespace: Inhabited = weakref.proxy(namespace)  # which holds this
        self._recovery = recovery
        # An older event has arrived, or its client is away for too long.
        age = recovery.max_disconnection + config.ping_interval + config.ping_timeout
        self.log = PacketLog(packets=recovery.packets, bytes=recovery.bytes, age=age)
        self._ids: set[str] = set()  # of all that are not over
        self._connected: dict[str, SocketSession] = {}
        self._away: dict[str, SocketSession] = {}  # oldest first
        self._parted: set[SocketSession] = set()  # these, and those that are about to come back
        self.given_up = 0

    def __len__(self) -> int:
        """How many clients may yet come back."""
        return len(self._away)

    @property
    def next_offset(self) -> str:
        """See `RecoveryStore.next_offset`."""
        return self.log.next_offset

    def knows(self, id: str) -> bool:
        """See `RecoveryStore.knows`."""
        return id in self._ids

    def record(self, packet: EncodedPacket, target: Target, origin: Origin | None = None) -> None:
        """See `RecoveryStore.record`."""
        if self.is_needed:
            self.log.append(packet, target, origin)

    @property
    def is_needed(self) -> bool:
        """Whether somebody can miss what is emitted now."""
        # A socket that has ended is counted out before its session is handed back.
        return bool(self._namespace.population or self._ids)

    def retract(self, packet: EncodedPacket) -> None:
        """See `RecoveryStore.retract`."""
        self.log.retract(packet)

    def join(self, session: SocketSession, rooms: Iterable[str]) -> None:
        """See `RecoveryStore.join`."""
        session.memberships.join(rooms, self.log.position)

    def leave(self, session: SocketSession, rooms: Iterable[str]) -> None:
        """See `RecoveryStore.leave`."""
        session.memberships.leave(rooms, self.log)

    def open_session(self, socket: Recoverable, offset: object) -> SocketSession:
        """See `RecoveryStore.open_session`."""
        self._ids.add(socket.id)
        self._namespace.count(sessions=1)
        known = offset if isinstance(offset, str) and len(offset) <= LONGEST else None
        return SocketSession(socket.id, socket.data, self.log.position, known)

    async def restore_session(self, pid: object, offset: object) -> SocketSession | None:
        """See `RecoveryStore.restore_session`."""
        presented = presented_with(pid, offset)
        session = None if presented is None else self.take(presented)
        if presented is None or session is None:
            return None
        if not await self.settles(session, presented) or not self.can_have_all(session):
            self.abandon(session)
            return None
        self.let_in(session, presented)
        return session

    def take(self, presented: Presented) -> SocketSession | None:
        """Take the session with that secret out, if its client is away, or is now: nobody else gets it then.

        Whoever does lets it in, returns it, gives it up, or hands it out.
        """
        connected = self._connected.get(presented.pid)
        if connected is not None and connected.connection is not None and connected.recovered_with != (presented.offset,):
            connected.connection.end(ConnectionReset("its client came back on another connection"))
        return self._away.pop(presented.pid, None)

    async def settles(self, session: SocketSession, presented: Presented) -> bool:
        """Let a session that was taken be where its client is, and wait for what still runs in its name.

        Tell whether that has an end, and it is no use if not; if this is cancelled, it is returned.
        """
        if not session.come_to(presented.offset, self.log) or not self.can_have_all(session):
            return False
        # Handlers of earlier events get `cleanup_timeout`, and the disconnection hooks again.
        try:
            with trio.move_on_after(2 * self._namespace.config.cleanup_timeout):
                await session.settled.wait()
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            self.return_session(session)
            raise
        return session.settled.is_set() and not session.is_over

    def can_have_all(self, session: SocketSession) -> bool:
        """Tell whether its client can have all that it missed."""
        return self._missed(session) is not None

    def let_in(self, session: SocketSession, presented: Presented) -> None:
        """Learn that whoever has taken ``session`` lets its client in."""
        session.recovered_with = (presented.offset,)
        session.kept = session.memberships.copy()

    def connect_session(self, session: SocketSession, connection: Connection) -> list[EncodedPacket] | None:
        """See `RecoveryStore.connect_session`."""
        missed = [] if session.recovered_with is None else self._missed(session)
        if missed is not None:
            session.connect(connection, self.log.position)
            self._parted.discard(session)
            self._connected[session.pid] = session
        return missed

    def _missed(self, session: SocketSession) -> list[EncodedPacket] | None:
        """Return what the client has not got yet, or ``None`` if that is not known any more, or too much for an outbox."""
        missed = session.missed(self.log)
        limits = self._namespace.config.limits
        if missed is None or len(missed) > limits.outbox_packets or sum(packet.size for packet in missed) > limits.outbox_bytes:
            return None
        return missed

    def persist_session(self, session: SocketSession, timers: Timers) -> None:
        """See `RecoveryStore.persist_session`."""
        del self._connected[session.pid]
        session.disconnect()
        patience = self._recovery.max_disconnection
        if session.expires_at is not None:
            patience = min(patience, seconds_left(session.expires_at))
        session.expires = trio.current_time() + patience
        session.timer = timers.call_after(patience, lambda: self._expire(session))
        self._parted.add(session)
        self._keep(session)

    def return_session(self, session: SocketSession) -> None:
        """See `RecoveryStore.return_session`."""
        if session.kept is not None:
            session.memberships, session.kept = session.kept, None
        if trio.current_time() < session.expires and not (session.is_over or session.has_expired):
            self._keep(session)
        else:
            self.abandon(session)

    def give_up(self, target: Target) -> None:
        """See `RecoveryStore.give_up`."""
        for session in [one for one in self._parted if target.includes(one.rooms)]:
            self._away.pop(session.pid, None)
            self.abandon(session)

    def drop_session(self, session: SocketSession) -> None:
        """See `RecoveryStore.drop_session`."""
        self._connected.pop(session.pid, None)
        self._parted.discard(session)
        self._ids.discard(session.id)
        session.is_over = True
        session.controllers = None  # which know their socket, and that knows the session
        self._forget_events()
        self._namespace.count(sessions=-1)  # the last, as the namespace may end with it, and nobody else hold it

    # Sessions that go from one server to another.

    def has(self, pid: str) -> bool:
        """Tell whether the session with that secret is here, its client connected or away."""
        return pid in self._away or pid in self._connected

    def events_missed(self, session: SocketSession) -> list[Sequence[object]]:
        """Return what the client of a session has not got yet that `can_have_all`."""
        missed = self._missed(session)
        assert missed is not None
        return [event_of(packet, self._namespace.parser) for packet in missed]

    def hand_out(self, session: SocketSession) -> None:
        """Forget a session that was taken, as another server has it from now on."""
        if session.is_over:
            return
        if session.timer is not None:
            session.timer.cancel()
        self.drop_session(session)

    def describe_session(self, session: SocketSession) -> SessionRecord:
        """Return what another server needs to have a session that was taken; raises `EncodeError` as `write_data`."""
        data_type = self._namespace.data_type
        data, rooms = write_data(session.data, data_type), frozenset(session.memberships.rooms)
        seconds = max(session.expires - trio.current_time(), 0.0)
        return SessionRecord(session.id, session.pid, rooms, data, seconds, session.expires_at, data_type is not None)

    def adopt(self, record: SessionRecord, offset: str | None, events: Iterable[Sequence[object]]) -> SocketSession | None:
        """Return the session of another server, as if it was taken here; ``None``: there is one like it, or its client misses too much.

        Args:
          record: What it is.
          offset: What its client comes with.
          events: What its client has missed.

        Raises:
          EncodeError: if one of these cannot be sent here.
          DecodeError: as `read_data`.
        """
        if record.sid in self._ids or self.has(record.pid):
            return None
        data = read_data(record, self._namespace.data_type)
        session = SocketSession(record.sid, data, self.log.position, offset, record.pid)
        session.expires_at = record.expires_at
        self.replay(session, record.rooms, offset, events)
        if not self.can_have_all(session):
            return None
        session.expires = trio.current_time() + min(record.seconds, self._recovery.max_disconnection)
        session.settled.set()
        self._parted.add(session)
        self._ids.add(record.sid)
        self._namespace.count(sessions=1)
        return session

    def replay(self, session: SocketSession, rooms: Collection[str], offset: str | None, events: Iterable[Sequence[object]]) -> None:
        """Let a session that was elsewhere begin here, as one that has missed ``events``; arguments and errors as of `adopt`."""
        namespace, log = self._namespace, self.log
        session.begin_anew(log.position, offset)
        for event in events:
            packet = namespace.parser.encode_event(namespace.name, (*event, log.next_offset), compress=True)
            log.append(packet, session.private)
        session.enter(rooms, log.position)

    def _keep(self, session: SocketSession) -> None:
        self._away[session.pid] = session
        if len(self._away) > self._recovery.sessions:
            self.abandon(self._away.pop(next(iter(self._away))))

    def _expire(self, session: SocketSession) -> None:
        # Whoever has it now returns it, if need be.
        if self._away.pop(session.pid, None) is not None:
            self.abandon(session)

    def abandon(self, session: SocketSession) -> None:
        """Forget a session whose client will not come back, and tell the application; once."""
        if session.is_over:
            return
        logger.debug("%r of namespace %.80r is given up.", session, self._namespace.name)
        self.given_up += 1
        if session.timer is not None:
            session.timer.cancel()
        expired = self._namespace.on_session_expired  # see `drop_session`
        self.drop_session(session)
        expired.fire(session)

    def _forget_events(self) -> None:
        if not self.is_needed:
            self.log.clear()


def presented_with(pid: object, offset: object) -> Presented | None:
    """Return what a client presents to come back; ``None``: it makes no sense."""
    if not isinstance(pid, str) or not (offset is None or isinstance(offset, str)):
        return None
    return None if len(pid) > LONGEST or (offset is not None and len(offset) > LONGEST) else Presented(pid, offset)
