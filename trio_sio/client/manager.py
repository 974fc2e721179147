"""One connection to one server, again and again: sessions one after another, and the sockets that share them (Node: ``Manager``).

A client has one task here, `Manager.run`: it opens a session, waits until it is lost, waits as the back-off says, and
opens the next one. As long as no socket wants a session, it opens none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from ..concurrency.unwrapping import unwrapping
from ..config import TransportName
from ..errors import ConfigurationError, ConnectFailed, Disconnected
from ..log import get_logger
from .connection import Connection
from .core import Auth, SocketCore
from .reconnection import Backoff, Reconnection
from .session import Session
from .socket import ClientSocket
from .states import Connecting, State, Waiting

__all__ = ["Manager"]

logger = get_logger("trio_sio.client")


class Manager:
    """One connection, which several namespaces share (Node: ``Manager``); made by `open_manager`."""

    def __init__(self, connection: Connection, reconnection: Reconnection | None, random: Callable[[], float] | None = None) -> None:
        self._connection = connection
        self._sockets: dict[str, SocketCore] = {}
        connection.sockets = self._sockets
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

        Arguments are those of `open_client`.

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
