"""Where one socket is: in which rooms, and as which session.

Rooms that connection middleware lets a socket join, or that its session brings, count from CONNECT on. When it leaves for
good, what it was in is kept for those who ask, and it enters nothing any more.

With `Config.connection_state_recovery` the session, which may be that of an earlier socket and outlive this one, is told
of every room: see recovery.py.

This does not hold the socket, by whom it is held: it comes with each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..log import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..concurrency.timers import Timers
    from ..engine.connection import Connection
    from ..protocol.frames import EncodedPacket
    from .namespace import Namespace
    from .recovery import RecoveryStore
    from .session import SocketSession
    from .socket import Socket

__all__ = ["SocketRooms"]

logger = get_logger("trio_sio.namespaces")


class SocketRooms:
    """The rooms of one socket, and its session.

    Args:
      namespace: Where it is.

    Attributes:
      session: Its session, if there are any.
    """

    __slots__ = ("_early", "_final", "_is_known", "_namespace", "_told", "session")

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._early: frozenset[str] | None = frozenset()  # those it will be in once it is connected; then `None`
        self._final: frozenset[str] | None = None  # those it was in when it left for good
        self._is_known = False  # to the adapter
        self._told: set[str] | None = None  # those that an instrument believes it to be in
        self.session: SocketSession | None = None

    @property
    def recovery(self) -> RecoveryStore:
        """Where its session is from."""
        recovery = self._namespace.adapter.recovery
        assert recovery is not None
        return recovery

    @property
    def has_left(self) -> bool:
        """Whether it has left for good."""
        return self._final is not None

    def all(self, socket: Socket) -> frozenset[str]:
        """See `Socket.rooms`."""
        return frozenset((socket.id, *self.joined(socket))) if self._final is None else self._final

    def joined(self, socket: Socket) -> Collection[str]:
        """Return the rooms besides the private one; before CONNECT those that it is going to be in."""
        return self._namespace.adapter.rooms_of(socket) if self._early is None else self._early

    def decided(self) -> None:
        """Learn that it is connected, or never will be."""
        self._early = None

    def enter(self, socket: Socket, rooms: Collection[str]) -> None:
        """Be somebody whom the adapter knows, and be in ``rooms``."""
        self._introduce(socket)
        if rooms:
            self.join(socket, rooms)

    def _introduce(self, socket: Socket) -> None:
        # An instrument hears of the socket first, and may let it join or go.
        if self._final is None and not self._is_known:
            self._is_known = True
            self._namespace.adapter.connected(socket)

    def join(self, socket: Socket, rooms: Collection[str]) -> None:
        """Be in ``rooms``, too."""
        if self._final is not None:
            return
        if self._early is not None:
            self._early = self._early.union(rooms)
            return
        self._introduce(socket)
        # The adapter's callbacks may emit to these rooms, or leave them.
        if self.session is not None:
            self.recovery.join(self.session, rooms)
        try:
            self._namespace.adapter.add(socket, rooms)
        except Exception:
            if self.session is not None:
                self.recovery.leave(self.session, rooms)
            raise
        self._tell(socket, rooms)

    def leave(self, socket: Socket, rooms: Collection[str]) -> None:
        """Be in ``rooms`` no longer."""
        if self._early is not None:
            self._early = self._early.difference(rooms)
        if self.session is not None:
            self.recovery.leave(self.session, rooms)
        self._namespace.adapter.remove(socket, rooms)
        self._tell(socket, rooms)

    def leave_for_good(self, socket: Socket, rooms: frozenset[str]) -> None:
        """Be in no room any more, and nobody whom a broadcast reaches; ``rooms``: what it was in until now."""
        if self._final is not None:
            return
        self._final = rooms
        namespace = self._namespace
        namespace.connected.pop(socket.id, None)
        try:
            namespace.adapter.remove(socket, rooms)
            if self._is_known:
                namespace.adapter.left(socket)
        except Exception:
            # Adapters may be the application's: what still runs for this client, and its other namespaces, end all the same.
            logger.exception("The adapter failed to let %r go.", socket)
        self._tell(socket, self._told or ())

    def _tell(self, socket: Socket, rooms: Collection[str]) -> None:
        """Tell an instrument of ``rooms`` what it does not know: the adapter's callbacks may have changed that meanwhile, and so may it."""
        if (instrument := self._namespace.instrument) is None:
            return
        told = self._told = set() if self._told is None else self._told
        for room in tuple(rooms):
            is_in = self._final is None and room in self._namespace.adapter.rooms_of(socket)
            if is_in and room not in told:
                told.add(room)
                instrument.room_joined(socket, room)
            elif not is_in and room in told:
                told.discard(room)
                instrument.room_left(socket, room)

    # The session.

    async def open_session(self, socket: Socket) -> None:
        """Take the session that the client asks for, or a new one."""
        recovery = self._namespace.adapter.recovery
        if recovery is None:
            return
        pid, offset = socket.handshake.auth.get("pid"), socket.handshake.auth.get("offset")
        session = await recovery.restore_session(pid, offset)
        if session is not None and session.has_expired:
            # While it was waited for, or as the clock was set. Its client may have brought a new token, so it is not refused.
            recovery.return_session(session)
            session = None
        if session is None:
            self.session = recovery.open_session(socket, offset)
            return
        self.session = session
        self._early = frozenset(session.memberships.rooms)
        socket.id, socket.data, socket.recovered = session.id, session.data, True

    def connect_session(self, socket: Socket, session: SocketSession, connection: Connection) -> list[EncodedPacket] | None:
        """Let ``session`` belong to ``socket``; return what its client has missed, ``None`` if that is not known any more."""
        missed = self.recovery.connect_session(session, connection)
        if socket.recovered and missed is not None:
            logger.debug("%r came back and gets %d events that it missed.", socket, len(missed))
        return missed

    def hand_session_back(self, socket: Socket, held: Collection[EncodedPacket], *, has_joined: bool, timers: Timers | None) -> None:
        """Give the session up, or let it be kept, as ``socket`` has ended.

        Args:
          socket: Which leaves its data there.
          held: What was recorded and never sent, as CONNECT was not.
          has_joined: Whether it was connected.
          timers: What ends the time for which it is kept; ``None``: its client is not to come back.
        """
        session, recovery = self.session, self.recovery
        assert session is not None
        session.data = socket.data
        for packet in held:
            recovery.retract(packet)
        if socket.recovered and not has_joined:
            recovery.return_session(session)
        elif has_joined and timers is not None and session.is_whole:
            recovery.persist_session(session, timers)
        else:
            recovery.drop_session(session)
