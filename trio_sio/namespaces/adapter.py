"""Who is in which room, and how a packet reaches them: the adapter interface, and the one for a single process."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from ..engine.callbacks import Callbacks
from ..errors import SlowConsumer
from ..protocol import json
from .recovery import InMemoryRecovery
from .target import EVERYBODY, Target

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from .answers import BroadcastAnswers
    from .namespace import Namespace
    from .recovery import RecoveryStore
    from .remote import RemoteSocket
    from .socket import Socket

__all__ = ["EVERYBODY", "Adapter", "InMemoryAdapter", "Target"]


class Adapter(abc.ABC):
    """Keeps the rooms of one namespace and delivers to them, here and perhaps elsewhere.

    Everything that concerns local sockets happens at once; what concerns other processes must not delay it.

    Attributes:
      recovery: What clients that come back need; ``None`` without `Config.connection_state_recovery`.
      on_create_room, on_delete_room: Get the name of a room, when the first socket of this process joins it, and when the
        last one has left it (Node: the events ``create-room`` and ``delete-room``).
      on_join_room, on_leave_room: Get the name of a room and the id of the socket (Node: ``join-room`` and ``leave-room``).
        The rooms that are named by a socket's id go without saying.
    """

    recovery: RecoveryStore | None = None

    def __init__(self) -> None:
        self.on_create_room: Callbacks[[str]] = Callbacks("on_create_room")
        self.on_delete_room: Callbacks[[str]] = Callbacks("on_delete_room")
        self.on_join_room: Callbacks[[str, str]] = Callbacks("on_join_room")
        self.on_leave_room: Callbacks[[str, str]] = Callbacks("on_leave_room")

    @abc.abstractmethod
    def add(self, socket: Socket, rooms: Iterable[str]) -> None:
        """Let ``socket`` be in ``rooms``."""

    @abc.abstractmethod
    def remove(self, socket: Socket, rooms: Iterable[str]) -> None:
        """Let ``socket`` not be in ``rooms``."""

    @abc.abstractmethod
    def rooms_of(self, socket: Socket) -> Collection[str]:
        """Return the rooms that ``socket`` has joined; the one named by its id goes without saying.

        It may be what the adapter itself keeps, so nobody changes it, or waits for something while iterating over it.
        """

    @abc.abstractmethod
    def broadcast(self, packet: EncodedPacket, target: Target) -> None:
        """Append ``packet`` to the outbox of everybody meant; never waits (see `Config.slow_consumer`)."""

    @abc.abstractmethod
    def broadcast_volatile(self, packet: EncodedPacket, target: Target, key: str | None) -> None:
        """Like `broadcast`, for packets that nobody misses; of those with one ``key`` only the newest waits."""

    @abc.abstractmethod
    def broadcast_with_ack(self, packet: EncodedPacket, target: Target, answers: BroadcastAnswers) -> None:
        """Like `broadcast`, and let ``answers`` wait for everybody meant: first `BroadcastAnswers.ask`, then send."""

    @abc.abstractmethod
    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """Let every other server call `Namespace.server_side_event` with a name and its arguments.

        Args:
          event: The name and the arguments.
          answers: Waits for what they return; ``None``: nobody does.

        Raises:
          EncodeError: if they cannot be encoded; nothing is sent then.
        """

    @abc.abstractmethod
    async def fetch_sockets(self, target: Target) -> Sequence[Socket | RemoteSocket]:
        """Return the sockets meant; those of other servers as `RemoteSocket`."""

    @abc.abstractmethod
    async def count_sockets(self, target: Target) -> int:
        """Return how many sockets are meant."""

    @abc.abstractmethod
    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Let the sockets meant join ``rooms``."""

    @abc.abstractmethod
    async def remove_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Let the sockets meant leave ``rooms``."""

    @abc.abstractmethod
    async def disconnect_sockets(self, target: Target, *, close: bool, reason: str | None) -> None:
        """Disconnect the sockets meant; with ``close`` their whole connections. ``reason`` is for the log, as far as it gets there."""


class InMemoryAdapter(Adapter):
    """The rooms of one namespace in one process.

    Args:
      namespace: The namespace; its connected sockets are the members of everything.
    """

    def __init__(self, namespace: Namespace) -> None:
        super().__init__()
        self._namespace = namespace
        self._members: dict[str, set[Socket]] = {}
        self._rooms: dict[Socket, set[str]] = {}
        recovery = namespace.config.connection_state_recovery
        self.recovery = None if recovery is None else InMemoryRecovery(namespace, recovery)

    def add(self, socket: Socket, rooms: Iterable[str]) -> None:
        """See `Adapter.add`."""
        joined = self._rooms.setdefault(socket, set())
        new = [room for room in rooms if room not in joined]
        created = [room for room in new if room not in self._members]
        for room in new:
            joined.add(room)
            self._members.setdefault(room, set()).add(socket)
        for room in created:
            self.on_create_room.fire(room)
        for room in new:
            self.on_join_room.fire(room, socket.id)

    def remove(self, socket: Socket, rooms: Iterable[str]) -> None:
        """See `Adapter.remove`."""
        joined = self._rooms.get(socket)
        if joined is None:
            return
        left, deleted = joined.intersection(rooms), []
        for room in left:
            joined.discard(room)
            members = self._members[room]
            members.discard(socket)
            if not members:
                del self._members[room]
                deleted.append(room)
        if not joined:
            del self._rooms[socket]
        for room in left:
            self.on_leave_room.fire(room, socket.id)
        for room in deleted:
            self.on_delete_room.fire(room)

    def rooms_of(self, socket: Socket) -> Collection[str]:
        """See `Adapter.rooms_of`."""
        return self._rooms.get(socket, ())

    def members(self, target: Target) -> Collection[Socket]:
        """Return the local sockets meant, each once; perhaps what the adapter itself keeps, see `rooms_of`."""
        sockets = self._namespace.connected
        found: Collection[Socket]
        if not target.rooms:
            found = sockets.values()
        elif len(target.rooms) == 1:
            found = self._room(*target.rooms)
        else:
            found = set().union(*(self._room(room) for room in target.rooms))
        if not target.excluded:
            return found
        excluded = set().union(*(self._room(room) for room in target.excluded))
        return [socket for socket in found if socket not in excluded]

    def _room(self, room: str) -> Collection[Socket]:
        # A private room is nobody else's, whoever was in a room of that name before.
        socket = self._namespace.connected.get(room)
        return self._members.get(room, ()) if socket is None else (socket,)

    def broadcast(self, packet: EncodedPacket, target: Target) -> None:
        """See `Adapter.broadcast`."""
        full = None
        for socket in self.members(target):
            if not socket.outbox.offer(packet):
                full = [socket] if full is None else [*full, socket]
        if full is None:
            return
        drop = packet.droppable and self._namespace.config.slow_consumer == "drop"
        for socket in full:
            if drop:
                socket.outbox.dropped += 1
                socket.has_lost_packet()
            else:
                socket.client.connection.end(SlowConsumer("its outbox is full"))

    def broadcast_volatile(self, packet: EncodedPacket, target: Target, key: str | None) -> None:
        """See `Adapter.broadcast_volatile`."""
        # The outbox is the connection's, and another namespace of it may have a key of the same name.
        place = None if key is None else (self._namespace.name, key)
        for socket in self.members(target):
            socket.outbox.offer_volatile(packet, place)

    def broadcast_with_ack(self, packet: EncodedPacket, target: Target, answers: BroadcastAnswers) -> None:
        """See `Adapter.broadcast_with_ack`."""
        for socket in list(self.members(target)):
            answers.ask(socket)
        self.broadcast(packet, target)

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """See `Adapter.server_side_emit`: there are no other servers, but what could not be sent to them is no less wrong."""
        json.dumps(list(event))

    async def fetch_sockets(self, target: Target) -> Sequence[Socket | RemoteSocket]:
        """See `Adapter.fetch_sockets`."""
        return list(self.members(target))

    async def count_sockets(self, target: Target) -> int:
        """See `Adapter.count_sockets`."""
        return len(self.members(target))

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.add_sockets`."""
        for socket in list(self.members(target)):
            socket.join_nowait(*rooms)

    async def remove_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.remove_sockets`."""
        for socket in list(self.members(target)):
            socket.leave_nowait(*rooms)

    async def disconnect_sockets(self, target: Target, *, close: bool, reason: str | None) -> None:
        """See `Adapter.disconnect_sockets`."""
        for socket in list(self.members(target)):
            socket.disconnect_nowait(close=close, reason=reason)
