"""One connection to one server, again and again: sessions one after another, and the sockets that share them (Node: ``Manager``).

A client has one task here, `Manager.run`: it opens a session, waits until it is lost, waits as the back-off says, and
opens the next one. As long as no socket wants a session, it opens none.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.unwrapping import unwrapping
from ..config import TransportName
from ..errors import ConfigurationError, ConnectFailed, Disconnected
from ..limits import Limits
from ..log import get_logger
from ..protocol.socketio import Packet, PacketType
from .core import Auth, SocketCore
from .reconnection import Backoff, Reconnection
from .session import CLOSED_HERE, Receiver, Session, SessionClosed
from .socket import ClientSocket
from .states import Connecting, State, Waiting

if TYPE_CHECKING:
    from ..protocol.parsers import Decoder, Parser

__all__ = ["Connection", "Manager"]

logger = get_logger("trio_sio.client")

# A server may send more than it would take.
_LIMITS: Final = Limits(attachments=1_000, arguments=10_000)


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
      sockets: The sockets by namespace, as they come and go.
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
        self.sockets: dict[str, SocketCore] = {}
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


class Manager:
    """One connection, which several namespaces share (Node: ``Manager``); made by `open_manager`."""

    def __init__(self, connection: Connection, reconnection: Reconnection | None, random: Callable[[], float] | None = None) -> None:
        self._connection = connection
        self._sockets = connection.sockets
        self._reconnects = reconnection is not None
        self._backoff = Backoff(reconnection or Reconnection(), random)
        self._leaving = False
        self._phase = trio.CancelScope()  # what to cancel in order to leave

    @property
    def connected(self) -> bool:
        """Whether there is a session right now."""
        return self._connection.session is not None

    @property
    def transport(self) -> TransportName | None:
        """What carries the session right now; ``None`` without one."""
        return None if self._connection.session is None else self._connection.session.transport

    @asynccontextmanager
    async def socket(
        self, namespace: str = "/", *, auth: Auth | None = None, ack_timeout: float = 60, retries: int | None = None
    ) -> AsyncIterator[ClientSocket]:
        """Join a namespace and yield its socket; leaving the block leaves the namespace, and the connection stays.

        Args:
          namespace: The namespace's name.
          auth: Credentials for the server's connection middleware, or a function, async or not, that is asked for them
            each time the namespace is joined.
          ack_timeout: Seconds that `ClientSocket.emit_with_ack` waits unless told otherwise.
          retries: How often an event is sent again that the server has not acknowledged; then there is never more than
            one on its way. ``None``: each event is sent once, and `ClientSocket.emit` does not wait for an acknowledgement.

        Raises:
          ConnectionRefused: if the server refuses it.
          ConnectFailed: if there is no connection, or no answer within ``connect_timeout``.
          ConfigurationError: if the name is none, or that namespace has a socket already.
        """
        core = SocketCore(self._connection, namespace, auth)
        socket = ClientSocket(self, core, ack_timeout=ack_timeout, retries=retries)
        if namespace in self._sockets:
            raise ConfigurationError(
                f"Namespace {namespace!r} has a socket on this connection already; use that one, or another connection."
            )
        self._sockets[namespace] = core
        try:
            with unwrapping() as body:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(core.run)
                    with body:
                        try:
                            await core.connect()
                            yield socket
                            await core.disconnect()
                        finally:
                            core.abort()
                    nursery.cancel_scope.cancel()
        finally:
            del self._sockets[namespace]
            self._connection.look_for_room()

    # Its task.

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep a session open as long as a socket wants one; return after `leave`.

        Raises:
          ConnectFailed: if there is no first session. Later failures are the sockets' business.
        """
        started = False
        while not self._leaving:
            with trio.CancelScope() as self._phase:
                try:
                    async with self._connection.open_session(self._connection) as session:
                        if not started:
                            task_status.started()
                            started = True
                        await self._use(session)
                except ConnectFailed as error:
                    if not started:
                        raise
                    self._failed(error)
            if not self._leaving:
                with trio.CancelScope() as self._phase:
                    await self._wait_before_next_attempt()

    def leave_soon(self) -> None:
        """Begin to count ``close_timeout``, which is for the sockets that are left now and for `leave` together."""
        self._connection.leave_soon()

    def leave(self) -> None:
        """Let `run` say goodbye and return."""
        self._leaving = True
        self._phase.cancel()

    async def _use(self, session: Session) -> None:
        """Let the sockets use ``session`` until it is lost, or until `leave`."""
        with trio.CancelScope() as self._phase:
            await self._connection.carry(session)
        closed, used = session.closed, self._connection.used
        if self._phase.cancelled_caught or closed is None:
            return
        if used:
            self._backoff.reset()  # this loss begins a new row of attempts
        logger.info("The connection was lost (%s): %s.", closed.reason, closed.detail)
        for socket in list(self._sockets.values()):
            socket.lost(closed.reason, closed.detail, used=used)
            # Who calls `connect` asks for one attempt all the same.
            if not self._reconnects and not socket.entering:
                why = f"The connection was lost ({closed.reason}), and reconnection is off: {closed.detail}."
                socket.give_up(closed.reason, Disconnected(why))

    def _failed(self, error: ConnectFailed) -> None:
        logger.info("An attempt to connect failed: %s", error)
        for socket in list(self._sockets.values()):
            if socket.entering or not error.retryable:
                socket.give_up("connect failed", error)

    async def _wait_before_next_attempt(self) -> None:
        while True:
            sockets = [socket for socket in self._sockets.values() if socket.wants_session]
            if not sockets:
                self._backoff.reset()
                await self._connection.wanted.park()
            elif all(socket.entering for socket in sockets):
                # The application asks, and hears of a failure; how often it asks is up to it.
                self._tell(Connecting(0))
                return
            elif self._backoff.exhausted:
                error = ConnectFailed(f"The connection did not come back in {self._backoff.attempts} attempts.")
                for socket in sockets:
                    socket.give_up("connect failed", error)
            else:
                delay = self._backoff.next_delay()
                self._tell(Waiting(self._backoff.attempts, delay))
                await trio.sleep(delay)
                if any(socket.wants_session for socket in self._sockets.values()):
                    self._tell(Connecting(self._backoff.attempts))
                    return

    def _tell(self, state: State) -> None:
        for socket in self._sockets.values():
            socket.tell(state)
