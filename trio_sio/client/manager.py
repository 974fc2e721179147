"""One connection to one server, again and again: sessions one after another, and the sockets that share them (Node: ``Manager``).

A client has one task here, `Manager.run`: it opens a session, reads it until it is lost, waits as the back-off says, and
opens the next one. As long as no socket wants a session, it opens none.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.unwrapping import unwrapping
from ..config import TransportName
from ..errors import ConfigurationError, ConnectFailed, DecodeError, Disconnected
from ..limits import Limits
from ..log import get_logger
from ..protocol.socketio import Packet, PacketType
from .lifecycle import Auth
from .reconnection import Backoff, Reconnection
from .session import SessionClosed
from .socket import ClientSocket
from .states import Connecting, State, Waiting

if TYPE_CHECKING:
    from ..protocol.parsers import Decoder, Parser
    from .session import Session

__all__ = ["Manager", "ManagerOptions"]

logger = get_logger("trio_sio.client")

# A server may send more than it would take.
_LIMITS: Final = Limits(attachments=1_000, arguments=10_000)

# How often a reader that waits for an iteration looks whether it was left: nothing tells.
_LOOK_AGAIN: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ManagerOptions:
    """What a `Manager` needs to know.

    Attributes:
      open_session: Opens a session, as `trio_sio.client.session.open_session` does.
      parser: How packets are written.
      reconnection: How to come back; ``None``: not at all.
      connect_timeout: Seconds for joining a namespace.
      close_timeout: Seconds for leaving one.
      max_message_size: Bytes of the largest packet that is accepted, its attachments included.
    """

    open_session: Callable[[], AbstractAsyncContextManager[Session]]
    parser: Parser
    reconnection: Reconnection | None
    connect_timeout: float
    close_timeout: float
    max_message_size: int


class Manager:
    """One connection, which several namespaces share (Node: ``Manager``); made by `open_manager`.

    Attributes:
      parser, connect_timeout, close_timeout: As in `ManagerOptions`.
      close_by: When everything must be closed, however slowly the server takes it.
    """

    def __init__(self, options: ManagerOptions, random: Callable[[], float] | None = None) -> None:
        self.parser = options.parser
        self.connect_timeout = options.connect_timeout
        self.close_timeout = options.close_timeout
        self.close_by = math.inf
        self._options = options
        self._backoff = Backoff(options.reconnection or Reconnection(), random)
        self._session: Session | None = None
        self._sockets: dict[str, ClientSocket] = {}
        self._used = False  # whether this session has carried a namespace
        self._abandoned: set[str] = set()  # asked for on this session, and not wanted any more before the answer
        self._awaiting = 0
        self._resumed = trio.lowlevel.ParkingLot()
        self._wanted = trio.lowlevel.ParkingLot()
        self._leaving = False
        self._phase = trio.CancelScope()  # what to cancel in order to leave

    @property
    def connected(self) -> bool:
        """Whether there is a session right now."""
        return self._session is not None

    @property
    def transport(self) -> TransportName | None:
        """What carries the session right now; ``None`` without one."""
        return None if self._session is None else self._session.transport

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
        socket = ClientSocket(self, namespace, auth, ack_timeout=ack_timeout, retries=retries)
        if namespace in self._sockets:
            raise ConfigurationError(
                f"Namespace {namespace!r} has a socket on this connection already; use that one, or another connection."
            )
        self._sockets[namespace] = socket
        try:
            with unwrapping() as body:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(socket.run)
                    with body:
                        try:
                            await socket.connect()
                            yield socket
                            await socket.disconnect()
                        finally:
                            socket.abort()
                    nursery.cancel_scope.cancel()
        finally:
            del self._sockets[namespace]

    # What the sockets ask for.

    def session_for(self, namespace: str) -> Session | None:
        """Return the session through which ``namespace`` can be joined now, if any."""
        return None if namespace in self._abandoned else self._session

    def want(self) -> None:
        """See to it that there is a session."""
        self._wanted.unpark_all()

    def joined(self) -> None:
        """Learn that a namespace was joined: the next loss begins a new row of attempts."""
        self._used = True
        self._backoff.reset()

    def abandon(self, namespace: str) -> None:
        """Leave ``namespace`` as soon as the server has said that it is joined."""
        self._abandoned.add(namespace)

    def resume(self) -> None:
        """Look whether reading can go on."""
        self._resumed.unpark_all()

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """Mark that somebody waits for something which may be behind events that wait."""
        self._awaiting += 1
        self.resume()
        try:
            yield
        finally:
            self._awaiting -= 1

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
                    async with self._options.open_session() as session:
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
        self.close_by = trio.current_time() + self.close_timeout
        if self._session is not None:
            self._session.close_by = self.close_by

    def leave(self) -> None:
        """Let `run` say goodbye and return."""
        self._leaving = True
        self._phase.cancel()

    async def _use(self, session: Session) -> None:
        """Read ``session`` until it is lost, or until `leave`."""
        decoder = self.parser.decoder(_LIMITS, self._options.max_message_size)
        self._session, self._used = session, False
        session.close_by = self.close_by
        self._abandoned.clear()
        session.on_upgrade = self._upgraded
        for socket in self._sockets.values():
            socket.look()
        try:
            with trio.CancelScope() as self._phase:
                while True:
                    self._take(session, decoder, await session.receive())
                    await self._wait_for_room()
        except SessionClosed as closed:
            reason, detail = closed.reason, closed.detail
        except DecodeError as error:
            reason, detail = "parse error", str(error).rstrip(".")
            session.end(reason, detail)
        else:
            return
        finally:
            self._session = None
        logger.info("The connection was lost (%s): %s.", reason, detail)
        for socket in list(self._sockets.values()):
            socket.lost(reason, detail, used=self._used)
            # Who calls `connect` asks for one attempt all the same.
            if self._options.reconnection is None and not socket.entering:
                socket.give_up(reason, Disconnected(f"The connection was lost ({reason}), and reconnection is off: {detail}."))

    def _take(self, session: Session, decoder: Decoder, message: str | bytes) -> None:
        packet = decoder.binary(message) if isinstance(message, bytes) else decoder.text(message.encode())
        if packet is None:
            return
        if packet.namespace in self._abandoned:
            self._take_abandoned(session, packet)
        elif (socket := self._sockets.get(packet.namespace)) is not None:
            socket.take(session, packet)
        else:
            logger.debug("A packet is ignored that is for no namespace of this client: %.80r", packet)

    def _take_abandoned(self, session: Session, packet: Packet) -> None:
        if packet.type not in (PacketType.CONNECT, PacketType.CONNECT_ERROR):
            return
        self._abandoned.remove(packet.namespace)
        if packet.type is PacketType.CONNECT:
            try:
                session.send_nowait(self.parser.encode_disconnect(packet.namespace))
            except trio.WouldBlock:
                session.end("io client disconnect", "the server took nothing, not even a goodbye")
        if packet.namespace in self._sockets:
            self._sockets[packet.namespace].look()

    async def _wait_for_room(self) -> None:
        """Wait until no socket is full, so that the network, and then the server, has to wait."""
        while any(socket.is_full(awaiting=self._awaiting > 0) for socket in self._sockets.values()):
            with trio.move_on_after(_LOOK_AGAIN):
                await self._resumed.park()

    def _upgraded(self, transport: TransportName) -> None:
        for socket in self._sockets.values():
            socket.upgraded(transport)

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
                await self._wanted.park()
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
