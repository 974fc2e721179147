"""`EngineServer`: Engine.IO alone, without namespaces, rooms and acknowledgements."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from sys import getsizeof
from typing import TYPE_CHECKING, Self

import trio

from .concurrency.functions import fault_of_awaited, not_awaitable
from .concurrency.wakeup import Wakeup
from .config import Config
from .engine.inbox import Inbox
from .errors import ConnectionFault, DisconnectReason, outcome_of
from .host import Host
from .log import SID_SHOWN, get_logger
from .protocol.engineio import binary_message, text_message

if TYPE_CHECKING:
    from .engine.connection import Connection
    from .protocol.http import Request

__all__ = ["EngineServer", "Session"]

logger = get_logger("trio_sio.engine")


class Session:
    """One Engine.IO session: ``async for message in session``, `send`, `close`.

    Made by `EngineServer`; it is the receiver of its connection.
    """

    def __init__(self, connection: Connection, handler: Callable[[Session], Awaitable[object]]) -> None:
        self._connection = connection
        self._handler = handler
        self._messages: deque[str | bytes] = deque()
        self._inbox = Inbox(connection)
        self._arrived = Wakeup()
        connection.start_soon(self._run)

    @property
    def id(self) -> str:
        """The session id: a secret between server and client."""
        return self._connection.sid

    @property
    def request(self) -> Request:
        """The request that opened it."""
        return self._connection.request

    @property
    def reason(self) -> DisconnectReason | None:
        """Why it ended; ``None`` as long as it has not."""
        fault = self._connection.fault
        return None if fault is None else outcome_of(fault).reason

    async def send(self, message: str | bytes) -> None:
        """Send one message, waiting for room; dropped once the session has ended.

        Raises:
          EncodeError: if it cannot be sent.
        """
        packet = text_message(message) if isinstance(message, str) else binary_message(message)
        await self._connection.outbox.send(packet)

    def close(self) -> None:
        """End the session behind what was sent before."""
        self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        await trio.lowlevel.checkpoint()
        while not self._messages:
            if self._connection.fault is not None:
                raise StopAsyncIteration
            await self._arrived.wait()
        message = self._messages.popleft()
        self._inbox.taken(getsizeof(message))
        return message

    async def _run(self) -> None:
        self._connection.established()
        try:
            result: object = self._handler(self)
            if not inspect.isawaitable(result):
                not_awaitable(self._handler, result)
            await result
        except Exception:
            logger.exception("The handler of session %s… failed.", self.id[:SID_SHOWN])
        self.close()

    # What the connection calls.

    def text(self, payload: bytes) -> None:
        """Take a text message."""
        self._take(payload.decode())

    def binary(self, payload: bytes) -> None:
        """Take a binary message."""
        self._take(payload)

    def _take(self, message: str | bytes) -> None:
        self._messages.append(message)
        self._inbox.queued(getsizeof(message))
        self._arrived.wake()

    def withdraw(self) -> None:
        """Do nothing: nobody sends to many."""

    def ended(self, fault: ConnectionFault) -> None:  # the connection remembers it
        """Let the handler come to the end of its messages."""
        self._arrived.wake()


class EngineServer(Host):
    """Engine.IO alone.

    Args:
      handler: ``async def handler(session)``; the session is closed when it returns.
      config: How to behave; the path is that of every `Config`, ``/socket.io``, unless it says another.

    Raises:
      TypeError: if the handler is not async.
    """

    def __init__(self, handler: Callable[[Session], Awaitable[object]], *, config: Config | None = None) -> None:
        if (fault := fault_of_awaited(handler)) is not None:
            raise TypeError(f"EngineServer() takes an async function of a session, but {fault}; write `async def handler(session)`.")
        super().__init__(Config() if config is None else config, lambda connection: Session(connection, handler))
