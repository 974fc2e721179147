"""What pages see in development mode: each socket, each room, each event, as it happens.

Theory of operation
===================

What happens to a socket or a room is a packet that pages must not miss, or what they show is wrong from then on: a page that does not
take them is a slow consumer, is disconnected as any other, and begins anew. Events are volatile: they make room for those packets, and
of more than `MOST_EVENTS` in a second the rest is left out and counted; a page keeps no more of them either. The admin namespace's own
sockets are shown, as in Node; its own events are not, or each would make another.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from ..errors import EncodeError
from ..namespaces.handshake import wall_clock
from ..namespaces.instrument import Instrument
from .cutting import cut
from .messages import NAMESPACE, client_id, show_socket, timestamp
from .survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..namespaces.namespace import Namespace
    from ..namespaces.socket import Socket
    from ..namespaces.target import Target
    from .administered import Administered
    from .counts import Counts
    from .messages import SocketShown
    from .survey import Fitting

__all__ = ["MOST_EVENTS", "Watch"]

MOST_EVENTS: Final = 1_000
"""How many events in a second pages are told of one server; of a namespace they keep as many."""


class Watch(Instrument):
    """Tells the pages of the cluster what happens on one server.

    Args:
      server: The server.
      namespace: The admin namespace.
      counts: Where events are counted that pages are not told.
      is_watched: Tells whether there may be a page anywhere.
    """

    def __init__(self, server: Administered, namespace: Namespace, counts: Counts, is_watched: Callable[[], bool]) -> None:
        self._server = server
        self._namespace = namespace
        self._counts = counts
        self._is_watched = is_watched
        self._sockets: dict[str, list[tuple[str, str]]] = {}  # by session: namespace and id of each of its sockets
        self._second = 0.0
        self._events = 0  # in that second
        self._surveying = trio.Lock()  # one page at a time, or so many at once would keep everybody else waiting
        self._survey: Survey | None = None

    async def survey(self, fitting: Fitting, is_wanted: Callable[[], bool]) -> Fitting:
        """Return ``fitting`` with what pages are shown of the sockets of this server, as they are as this returns.

        Args:
          fitting: For how many there is room.
          is_wanted: Tells whether it is still worth while.
        """
        async with self._surveying:
            self._survey = Survey(self._show, fitting)
            try:
                await self._survey.run(self._server.namespaces, is_wanted)
            finally:
                self._survey = None
        return fitting

    def _show(self, socket: Socket) -> SocketShown:
        connection = socket.client.connection
        return show_socket(
            socket.id,
            socket.namespace.name,
            socket.handshake,
            socket.rooms,
            socket.data,
            path=self._server.config.path,
            client=client_id(connection.sid),
            transport="websocket" if connection.transport_state.value == "websocket" else "polling",
        )

    # What happens.

    def socket_joined(self, socket: Socket) -> None:
        """See `Instrument.socket_joined`."""
        self._sockets.setdefault(socket.client.connection.sid, []).append((socket.namespace.name, socket.id))
        self._look_again(socket.namespace, socket.id)
        if self._is_watched():
            self._tell("socket_connected", msgspec.to_builtins(self._show(socket)), _now())

    def socket_left(self, socket: Socket, reason: str) -> None:
        """See `Instrument.socket_left`."""
        sid, place = socket.client.connection.sid, (socket.namespace.name, socket.id)
        sockets = self._sockets.get(sid, [])
        self._look_again(socket.namespace, socket.id)
        if place in sockets:
            sockets.remove(place)
        if not sockets:
            self._sockets.pop(sid, None)
        self._tell("socket_disconnected", *place, str(reason), _now())
        # A page forgets a room when nobody is left in it: that of a socket alone, which goes without saying here, too.
        self._tell("room_left", place[0], socket.id, socket.id, _now())

    def session_moved(self, sid: str, transport: str) -> None:
        """See `Instrument.session_moved`."""
        for nsp, one in self._sockets.get(sid, ()):
            self._look_again(self._server.of(nsp), one)
            self._tell("socket_updated", {"id": one, "nsp": nsp, "transport": transport})

    def room_joined(self, socket: Socket, room: str) -> None:
        """See `Instrument.room_joined`."""
        self._look_again(socket.namespace, socket.id)
        self._tell("room_joined", socket.namespace.name, room, socket.id, _now())

    def room_left(self, socket: Socket, room: str) -> None:
        """See `Instrument.room_left`."""
        self._look_again(socket.namespace, socket.id)
        self._tell("room_left", socket.namespace.name, room, socket.id, _now())

    def event_received(self, socket: Socket, event: str, args: Sequence[Any], size: int) -> None:
        """See `Instrument.event_received`."""
        self._tell_event("event_received", socket.namespace.name, (socket,), event, args)

    def event_emitted(self, socket: Socket, event: str, args: Sequence[object], size: int) -> None:
        """See `Instrument.event_emitted`."""
        self._tell_event("event_sent", socket.namespace.name, (socket,), event, args)

    def broadcast_emitted(self, namespace: str, event: str, args: Sequence[object], target: Target, count: int, size: int) -> None:
        """See `Instrument.broadcast_emitted`."""
        if count and namespace != NAMESPACE and self._is_watched():
            self._tell_event("event_sent", namespace, self._server.of(namespace).adapter.members(target), event, args, count)

    def _tell_event(self, kind: str, nsp: str, sockets: Iterable[Socket], event: str, args: Sequence[object], count: int = 1) -> None:
        if nsp == NAMESPACE or not self._is_watched():
            return
        now = trio.current_time()
        if now - self._second >= 1:
            self._second, self._events = now, 0
        room = min(count, MOST_EVENTS - self._events)
        self._events += room
        self._counts.left_out += count - room
        if room == 0:
            return
        shown, stamp, pages = cut([event, *args]), _now(), self._namespace.volatile()
        for socket in list(islice(sockets, room)):
            try:
                pages.emit_nowait(kind, nsp, socket.id, shown, stamp)
            except EncodeError:
                self._counts.left_out += 1

    def _look_again(self, namespace: Namespace, id: str) -> None:  # Socket.IO's word
        if self._survey is not None:
            self._survey.look_again(namespace, id)

    def _tell(self, event: str, *args: object) -> None:
        if self._is_watched():
            try:
                self._namespace.emit_nowait(event, *args)
            except EncodeError:  # as a room has a name that is larger than `Limits.outbox_bytes`
                self._counts.left_out += 1


def _now() -> str:
    return timestamp(wall_clock())
