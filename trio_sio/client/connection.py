"""The connection as its sockets see it: the session that there is, if there is one, and who hears what it brings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..config import TransportName
from ..limits import Limits
from ..log import get_logger
from ..protocol.socketio import Packet, PacketType
from .session import CLOSED_HERE, Receiver, Session, SessionClosed

if TYPE_CHECKING:
    from ..protocol.parsers import Decoder, Parser

__all__ = ["Connection", "Member"]

logger = get_logger("trio_sio.client")

# A server may send more than it would take.
_LIMITS: Final = Limits(attachments=1_000, arguments=10_000)


class Member(Protocol):
    """A socket, as the connection sees it."""

    def take(self, session: Session, packet: Packet) -> None:
        """Take a packet for its namespace; may raise `DecodeError`."""

    def is_full(self, *, awaiting: bool) -> bool:
        """Tell whether reading should stop; ``awaiting``: whether somebody waits for what may be behind the events here."""

    def upgraded(self, transport: TransportName) -> None:
        """Learn that the session has moved."""

    def look(self) -> None:
        """Look whether there is a session that can be used."""


class Connection:
    """What the sockets of one manager share; the `Receiver` of its sessions, which come and go.

    What a session brings is decoded and handed to the socket of its namespace at once, in the name of the session's reader. When
    a socket has no room for more, all of them wait: then the session delivers nothing until somebody who made room calls
    `look_for_room`.

    Args:
      open_session: Opens a session, as `trio_sio.client.session.open_session` does.
      parser: How packets are written.
      connect_timeout, close_timeout, max_message_size: See `trio_sio.open_client`.

    Attributes:
      parser, connect_timeout, close_timeout: As given.
      close_by: When everything must be closed, however slowly the server takes it.
      sockets: The sockets by namespace, as they come and go; the manager's.
      session: The present session.
      used: Whether it has carried a namespace.
      wanted: Where the manager parks while no socket wants a session.
    """

    def __init__(
        self,
        open_session: Callable[[Receiver], AbstractAsyncContextManager[Session]],
        parser: Parser,
        *,
        connect_timeout: float,
        close_timeout: float,
        max_message_size: int,
    ) -> None:
        self.open_session = open_session
        self.parser = parser
        self.connect_timeout = connect_timeout
        self.close_timeout = close_timeout
        self.close_by = math.inf
        self.sockets: Mapping[str, Member] = {}
        self.session: Session | None = None
        self.used = False
        self.wanted = trio.lowlevel.ParkingLot()
        self._max_message_size = max_message_size
        self._decoder: Decoder | None = None  # of the present session
        self._abandoned: set[str] = set()  # asked for on this session, and not wanted any more before the answer
        self._awaiting = 0
        self._over = trio.Event()

    async def carry(self, session: Session) -> None:
        """Let the sockets use ``session`` until it is over."""
        self.session, self.used = session, False
        self._decoder = self.parser.decoder(_LIMITS, self._max_message_size)
        self._abandoned.clear()
        self._over = trio.Event()
        session.close_by = self.close_by
        self.look_for_room()
        for socket in self.sockets.values():
            socket.look()
        try:
            await self._over.wait()
        finally:
            self.session = self._decoder = None

    def leave_soon(self) -> None:
        """Begin to count ``close_timeout``."""
        self.close_by = trio.current_time() + self.close_timeout
        if self.session is not None:
            self.session.close_by = self.close_by

    # What the sockets ask for.

    def session_for(self, namespace: str) -> Session | None:
        """Return the session through which ``namespace`` can be joined now, if any."""
        session = self.session
        return None if session is None or session.closed is not None or namespace in self._abandoned else session

    def abandon(self, namespace: str) -> None:
        """Leave ``namespace`` as soon as the server has said that it is joined."""
        self._abandoned.add(namespace)

    def say_last(self, session: Session, namespace: str) -> None:
        """Leave ``namespace`` without waiting for anything; a session that has no room even for that ends."""
        try:
            session.outbox.send_nowait(self.parser.encode_disconnect(namespace))
        except trio.WouldBlock:
            session.end(CLOSED_HERE, "the server took nothing, not even a goodbye")

    def look_for_room(self) -> None:
        """Let the session deliver what it has if every socket has room; otherwise the network, and then the server, has to wait."""
        if self.session is not None:
            awaiting = self._awaiting > 0
            self.session.accept(not any(socket.is_full(awaiting=awaiting) for socket in self.sockets.values()))

    def awaiting(self, change: int) -> None:
        """See `Reading.awaiting`."""
        self._awaiting += change
        self.look_for_room()

    @contextmanager
    def reading_on(self) -> Iterator[None]:
        """Read on while the block runs: it waits for something which may be behind events that wait."""
        self.awaiting(1)
        try:
            yield
        finally:
            self.awaiting(-1)

    # What the session brings: see `Receiver`.

    def text(self, message: str) -> None:
        """Take a text message."""
        if self._decoder is not None:
            self._take(self._decoder.text(message.encode()))

    def binary(self, message: bytes) -> None:
        """Take a binary message."""
        if self._decoder is not None:
            self._take(self._decoder.binary(message))

    def upgraded(self, transport: TransportName) -> None:
        """Tell the sockets that another transport carries the session."""
        for socket in self.sockets.values():
            socket.upgraded(transport)

    def ended(self, _closed: SessionClosed) -> None:
        """Learn that the session is over."""
        self._over.set()

    def _take(self, packet: Packet | None) -> None:
        session = self.session
        if packet is None or session is None:
            return
        socket = self.sockets.get(packet.namespace)
        if packet.namespace in self._abandoned:
            if packet.type in (PacketType.CONNECT, PacketType.CONNECT_ERROR):
                self._abandoned.remove(packet.namespace)
                if packet.type is PacketType.CONNECT:
                    self.say_last(session, packet.namespace)
                if socket is not None:
                    socket.look()
        elif socket is not None:
            socket.take(session, packet)
            self.look_for_room()
        else:
            logger.debug("A packet is ignored that is for no namespace of this client: %.80r", packet)
