"""The connection as its sockets see it: the session that there is, if there is one, and who hears what it brings.

It lasts as long as the manager, and sees sessions come and go. What a session brings is decoded and handed to the socket of its
namespace at once, in the name of the session's reader. When a socket has no room for more, all of them wait: then the session
delivers nothing until somebody who made room calls `look_for_room`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..config import TransportName
from ..limits import Limits
from ..log import get_logger
from ..protocol.socketio import Packet, PacketType
from .session import Receiver, Session, SessionClosed

if TYPE_CHECKING:
    from ..protocol.parsers import Decoder, Parser
    from .reconnection import Reconnection

__all__ = ["Link", "ManagerOptions", "Member"]

logger = get_logger("trio_sio.client")

# A server may send more than it would take.
_LIMITS: Final = Limits(attachments=1_000, arguments=10_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class ManagerOptions:
    """What a `Manager` needs to know.

    Attributes:
      open_session: Opens a session, as `trio_sio.client.connect.open_session` does.
      parser: How packets are written.
      reconnection: How to come back; ``None``: not at all.
      connect_timeout: Seconds for joining a namespace.
      close_timeout: Seconds for leaving one.
      max_message_size: Bytes of the largest packet that is accepted, its attachments included.
    """

    open_session: Callable[[Receiver], AbstractAsyncContextManager[Session]]
    parser: Parser
    reconnection: Reconnection | None
    connect_timeout: float
    close_timeout: float
    max_message_size: int


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


class Link:
    """What the sockets of one connection share; the `Receiver` of its sessions.

    Args:
      members: The sockets by namespace, as they come and go.
      options: The manager's.

    Attributes:
      parser, connect_timeout, close_timeout: As in `ManagerOptions`.
      close_by: When everything must be closed, however slowly the server takes it.
      session: The present session.
      used: Whether it has carried a namespace.
      wanted: Where the manager parks while no socket wants a session.
    """

    def __init__(self, members: Mapping[str, Member], options: ManagerOptions) -> None:
        self.parser = options.parser
        self.connect_timeout = options.connect_timeout
        self.close_timeout = options.close_timeout
        self.close_by = math.inf
        self.session: Session | None = None
        self.used = False
        self.wanted = trio.lowlevel.ParkingLot()
        self._members = members
        self._max_message_size = options.max_message_size
        self._decoder: Decoder | None = None  # of the present session
        self._abandoned: set[str] = set()  # asked for on this session, and not wanted any more before the answer
        self._awaiting = 0
        self._over = trio.Event()

    @contextmanager
    def using(self, session: Session) -> Iterator[None]:
        """Let the sockets use ``session`` while the block runs."""
        self.session, self.used = session, False
        self._decoder = self.parser.decoder(_LIMITS, self._max_message_size)
        self._abandoned.clear()
        self._over = trio.Event()
        session.close_by = self.close_by
        self.look_for_room()
        for member in self._members.values():
            member.look()
        try:
            yield
        finally:
            self.session = self._decoder = None

    async def wait_ended(self) -> None:
        """Wait until the session is over."""
        await self._over.wait()

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

    def look_for_room(self) -> None:
        """Let the session deliver what it has if every socket has room; otherwise the network, and then the server, has to wait."""
        if self.session is not None:
            awaiting = self._awaiting > 0
            self.session.accept(not any(member.is_full(awaiting=awaiting) for member in self._members.values()))

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """Mark that somebody waits for something which may be behind events that wait."""
        self._awaiting += 1
        self.look_for_room()
        try:
            yield
        finally:
            self._awaiting -= 1
            self.look_for_room()

    # What the session brings.

    def text(self, message: str) -> None:
        """See `Receiver.text`."""
        if self._decoder is not None:
            self._take(self._decoder.text(message.encode()))

    def binary(self, message: bytes) -> None:
        """See `Receiver.binary`."""
        if self._decoder is not None:
            self._take(self._decoder.binary(message))

    def upgraded(self, transport: TransportName) -> None:
        """See `Receiver.upgraded`."""
        for member in self._members.values():
            member.upgraded(transport)

    def ended(self, _closed: SessionClosed) -> None:
        """See `Receiver.ended`."""
        self._over.set()

    def _take(self, packet: Packet | None) -> None:
        session = self.session
        if packet is None or session is None:
            return
        if packet.namespace in self._abandoned:
            self._take_abandoned(session, packet)
        elif (member := self._members.get(packet.namespace)) is not None:
            member.take(session, packet)
            self.look_for_room()
        else:
            logger.debug("A packet is ignored that is for no namespace of this client: %.80r", packet)

    def _take_abandoned(self, session: Session, packet: Packet) -> None:
        if packet.type not in (PacketType.CONNECT, PacketType.CONNECT_ERROR):
            return
        self._abandoned.remove(packet.namespace)
        if packet.type is PacketType.CONNECT:
            session.say_last(self.parser.encode_disconnect(packet.namespace))
        if packet.namespace in self._members:
            self._members[packet.namespace].look()
