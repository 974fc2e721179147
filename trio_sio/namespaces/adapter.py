"""Who is in which room, and how a packet reaches them: the adapter interface, and the one for a single process.

An adapter that reaches other servers needs nothing of this package but what is exported here.
"""

from __future__ import annotations

import abc
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.callbacks import Callbacks
from ..errors import ForcedClose, SlowConsumer
from ..log import get_logger
from ..protocol import json
from ..statistics import BusStatistics
from .answers import BroadcastAnswers, Questions, Sink
from .bus_news import BusNews
from .packet_log import LoggedPacket, Origin, PacketLog, place_of
from .records import SessionRecord, event_of, is_plain
from .recovery import InMemoryRecovery, Presented, RecoveryStore, presented_with
from .remote import FoundSockets
from .target import EVERYBODY, PLAIN, Broadcast, Flags, Target

if TYPE_CHECKING:
    from ..config import Config as Config  # noqa: PLC0414  # exported, too
    from ..config import Recovery as Recovery  # noqa: PLC0414  # likewise
    from ..protocol.frames import EncodedPacket
    from .namespace import Namespace as Namespace  # noqa: PLC0414  # exported, too
    from .session import SocketSession as SocketSession  # noqa: PLC0414  # likewise
    from .socket import Socket

__all__ = [
    "EVERYBODY",
    "PLAIN",
    "Adapter",
    "Broadcast",
    "BroadcastAnswers",
    "BusStatistics",
    "Cluster",
    "Flags",
    "FoundSockets",
    "InMemoryAdapter",
    "InMemoryRecovery",
    "LoggedPacket",
    "Origin",
    "PacketLog",
    "Presented",
    "Questions",
    "RecoveryStore",
    "SessionRecord",
    "Sink",
    "Target",
    "event_of",
    "is_plain",
    "place_of",
    "presented_with",
]

logger = get_logger("trio_sio.namespaces")

_FAILED: Final = "A broadcast failed for %r, which is disconnected; the others get it."


class Adapter(abc.ABC):
    """Keeps the rooms of one namespace and delivers to them, here and perhaps elsewhere.

    Everything that concerns local sockets happens at once; what concerns other processes must not delay it. A namespace holds its
    adapter, so one that holds its namespace does so weakly (`weakref.ref`): else the garbage collector has to find the two.

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
    def members(self, target: Target) -> Collection[Socket]:
        """Return the sockets of this process that are meant, each once; perhaps what the adapter itself keeps, see `rooms_of`."""

    @abc.abstractmethod
    def send(self, packet: EncodedPacket, target: Target, flags: Flags) -> None:
        """Append ``packet`` to the outbox of everybody meant in this process; never waits (see `Config.slow_consumer`)."""

    @abc.abstractmethod
    def connected(self, socket: Socket) -> None:
        """Learn that ``socket`` takes part from now on, before it is in any room."""

    @abc.abstractmethod
    def left(self, socket: Socket) -> None:
        """Learn that ``socket`` takes part no longer; it is in no room any more."""

    @abc.abstractmethod
    def close(self) -> None:
        """Learn that the namespace is not used any more, or the server ends."""

    @abc.abstractmethod
    def broadcast(self, broadcast: Broadcast) -> None:
        """Let every server `Namespace.deliver` it, this one at once, unless it is for this one alone.

        Raises:
          EncodeError: if it cannot be encoded; nobody gets anything then.
        """

    @abc.abstractmethod
    def broadcast_with_ack(self, broadcast: Broadcast, answers: BroadcastAnswers) -> None:
        """Let every server `Namespace.ask` it, likewise; ``answers`` wait for what comes back."""

    @abc.abstractmethod
    async def settled(self) -> None:
        """Wait until this knows which other servers there are, if it is new: before something is asked of them."""

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
    async def fetch_sockets(self, target: Target, timeout: float | None = None) -> FoundSockets:
        """Return the sockets meant; those of other servers as `RemoteSocket`, and which servers have not said theirs.

        ``timeout``: for how many seconds others are waited for; ``None``: as long as the adapter waits otherwise.
        """

    @abc.abstractmethod
    async def count_sockets(self, target: Target, timeout: float | None = None) -> int:
        """Return how many sockets are meant, waiting for others as `fetch_sockets` does."""

    @abc.abstractmethod
    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Let the sockets meant join ``rooms``, all that can: whom it fails with is logged and does not keep it from the others.

        Raises:
          ValueError: if one of ``rooms`` is another socket's id; nobody has joined anything then.
        """

    @abc.abstractmethod
    async def remove_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """Let the sockets meant leave ``rooms``, likewise."""

    @abc.abstractmethod
    async def disconnect_sockets(self, target: Target, *, close: bool, reason: str | None) -> None:
        """Disconnect the sockets meant, likewise; with ``close`` their whole connections.

        Those in connection middleware are meant, too, by the rooms that they have joined there, and so are clients that may come
        back. ``reason`` is for the log, as far as it gets there.
        """


class InMemoryAdapter(Adapter):
    """The rooms of one namespace in one process.

    Args:
      namespace: The namespace; its connected sockets are the members of everything.
    """

    def __init__(self, namespace: Namespace) -> None:
        super().__init__()
        self._namespace_reference = weakref.ref(namespace)
        self._sockets = namespace.connected
        self._members: dict[str, set[Socket]] = {}
        self._rooms: dict[Socket, set[str]] = {}
        recovery = namespace.config.connection_state_recovery
        self.recovery = None if recovery is None else self._make_recovery(namespace, recovery)

    def _make_recovery(self, namespace: Namespace, recovery: Recovery) -> RecoveryStore:
        return InMemoryRecovery(namespace, recovery)

    @property
    def _namespace(self) -> Namespace:
        namespace = self._namespace_reference()
        assert namespace is not None  # whoever asks got here through it
        return namespace

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
        """See `Adapter.members`."""
        found: Collection[Socket]
        if not target.rooms:
            found = self._sockets.values()
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
        socket = self._sockets.get(room)
        return self._members.get(room, ()) if socket is None else (socket,)

    def connected(self, socket: Socket) -> None:
        """See `Adapter.connected`: the namespace's own books are enough."""

    def left(self, socket: Socket) -> None:
        """See `Adapter.left`, likewise."""

    def close(self) -> None:
        """See `Adapter.close`: there is nothing to end."""

    def send(self, packet: EncodedPacket, target: Target, flags: Flags) -> None:
        """See `Adapter.send`."""
        if flags.volatile:
            self._send_volatile(packet, target, flags.key)
            return
        full: list[Socket] = []
        broken: list[Socket] = []
        for socket in self.members(target):
            try:
                if not socket.outbox.offer(packet):
                    full.append(socket)
            except Exception as error:
                _require_own_thread(error, socket)
                logger.exception(_FAILED, socket)
                broken.append(socket)
        if full:
            drop = packet.droppable and self._namespace.config.slow_consumer == "drop"
            for socket in full:
                if drop:
                    socket.outbox.lose("slow consumer")
                    socket.has_lost_packet()
                else:
                    socket.client.connection.end(SlowConsumer("its outbox is full"))
        _let_go(broken)

    def _send_volatile(self, packet: EncodedPacket, target: Target, key: str | None) -> None:
        # The outbox is the connection's, and another namespace of it may have a key of the same name.
        place = None if key is None else (self._namespace.name, key)
        broken: list[Socket] = []
        for socket in self.members(target):
            try:
                socket.outbox.offer_volatile(packet, place)
            except Exception as error:
                _require_own_thread(error, socket)
                logger.exception(_FAILED, socket)
                broken.append(socket)
        _let_go(broken)

    def broadcast(self, broadcast: Broadcast) -> None:
        """See `Adapter.broadcast`."""
        self._namespace.deliver(broadcast)

    def broadcast_with_ack(self, broadcast: Broadcast, answers: BroadcastAnswers) -> None:
        """See `Adapter.broadcast_with_ack`."""
        answers.wait_for(self._namespace.ask(broadcast, answers))

    async def settled(self) -> None:
        """See `Adapter.settled`: there are none."""

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """See `Adapter.server_side_emit`: there are no other servers, but what could not be sent to them is no less wrong."""
        json.dumps(list(event))

    async def fetch_sockets(self, target: Target, timeout: float | None = None) -> FoundSockets:
        """See `Adapter.fetch_sockets`."""
        return FoundSockets(self.members(target))

    async def count_sockets(self, target: Target, timeout: float | None = None) -> int:
        """See `Adapter.count_sockets`."""
        return len(self.members(target))

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.add_sockets`."""
        self.join_members(target, rooms)

    async def remove_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.remove_sockets`."""
        self.leave_members(target, rooms)

    async def disconnect_sockets(self, target: Target, *, close: bool, reason: str | None) -> None:
        """See `Adapter.disconnect_sockets`."""
        self.disconnect_members(target, close=close, reason=reason)

    # The same at once, for those of this process.

    def join_members(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.add_sockets`."""
        sockets = list(self.members(target))
        for socket in sockets:
            socket.require_joinable(rooms)
        self._for_each(sockets, "join", lambda socket: socket.join_nowait(*rooms))

    def leave_members(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.remove_sockets`."""
        self._for_each(list(self.members(target)), "leave", lambda socket: socket.leave_nowait(*rooms))

    def disconnect_members(self, target: Target, *, close: bool, reason: str | None) -> None:
        """See `Adapter.disconnect_sockets`."""
        # Whoever is about to come in, or may come back, has been let in by what holds no longer.
        if self.recovery is not None:
            self.recovery.give_up(target)
        arriving = [socket for socket in self._namespace.arriving if target.includes(socket.rooms)]
        self._for_each(
            [*self.members(target), *arriving], "be disconnected", lambda socket: socket.disconnect_nowait(close=close, reason=reason)
        )

    def _for_each(self, sockets: Sequence[Socket], what: str, function: Callable[[Socket], None]) -> None:
        """Call ``function`` with each, whoever of them it fails with; that is one line in the log for all of them."""
        failures: list[tuple[Socket, Exception]] = []
        for socket in sockets:
            try:
                function(socket)
            except Exception as error:
                failures.append((socket, error))
        if failures:
            socket, first = failures[0]
            # A limit needs no traceback.
            trace = None if isinstance(first, ValueError) else first
            logger.error("%d of %d sockets could not %s, such as %r: %s", len(failures), len(sockets), what, socket, first, exc_info=trace)


def _require_own_thread(error: Exception, socket: Socket) -> None:
    """Raise `RuntimeError` if ``error`` is not the socket's, but that of a thread which has no business here."""
    if not trio.lowlevel.in_trio_run():
        socket.outbox.unheard()
        raise RuntimeError(
            "A broadcast was emitted in a thread other than Trio's; write trio.from_thread.run_sync(server.emit_nowait, ...), with "
            "trio_token=trio.lowlevel.current_trio_token() of before if Trio did not start that thread."
        ) from error


def _let_go(sockets: Iterable[Socket]) -> None:
    # Behind the broadcast, as whoever goes leaves the rooms through which it walks.
    for socket in sockets:
        socket.client.connection.end(ForcedClose("an internal error"))


class Cluster(BusNews, abc.ABC):
    """Connects one server with others; given as ``Server(cluster=...)``, to one server only.

    It is the outermost service of the server's scope: it runs before the lifespan begins, and until the last goodbye is out.
    """

    @abc.abstractmethod
    async def run(self, config: Config, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection to the others until cancelled, and then say goodbye within `Config.cleanup_timeout`.

        Args:
          config: The server's configuration.
          task_status: Started as soon as what is emitted reaches the others, or where that is allowed to take longer.
        """

    @abc.abstractmethod
    def attach(self, namespace: Namespace) -> Adapter:
        """Return the adapter of a namespace that begins to be used; also before `run`, and while the connection is down."""

    @abc.abstractmethod
    async def server_count(self) -> int:
        """Return how many servers there are, this one included, as far as that is known."""

    async def hand_over(self) -> None:
        """Let other servers have the sessions whose clients are away, as far as they take them: the server has drained, and ends.

        It is cancelled if it takes too long.
        """
        await trio.lowlevel.checkpoint()

    def unready(self) -> str | None:
        """Return why new clients should rather go to another server now; ``None``: there is no reason."""
        return None

    def statistics(self) -> BusStatistics:
        """Return the figures of this moment; who counts more than gaps overrides this."""
        return BusStatistics(gaps=self.gaps, lost={}, bad_messages={})
