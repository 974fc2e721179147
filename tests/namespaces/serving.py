"""A server whose namespaces call plain functions: what the namespaces do, without routing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import trio.testing

from trio_sio import Config, Namespace, Server
from trio_sio.namespaces.adapter import Adapter
from trio_sio.namespaces.core import SocketCore
from trio_sio.namespaces.data_types import DataType
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet
from trio_sio.testing import InMemoryServer, open_test_server

__all__ = ["Handler", "Join", "open_namespaces", "settle"]

Join = Callable[[], None]


async def settle() -> None:
    """Let everything come to where it waits."""
    await trio.testing.wait_all_tasks_blocked()


class Handler:
    """Joins everybody, and remembers what it hears; a test brings functions where something else shall happen.

    Args:
      receive: Handles an event.
      connect: Decides about a socket.
      disconnect: Handles the end of one.

    Attributes:
      sockets: Every socket that wanted to connect.
      events: Every event, as a list of its name and arguments.
      reasons: Of every disconnection hook that ran.
      unhandled: Events that it has no handler for.
    """

    data_type: DataType | None = None

    def __init__(
        self,
        receive: Callable[[Socket, Packet], Awaitable[object]] | None = None,
        *,
        connect: Callable[[Socket, Join], Awaitable[object]] | None = None,
        disconnect: Callable[[Socket], Awaitable[object]] | None = None,
    ) -> None:
        self._receive = receive
        self._connect = connect
        self._disconnect = disconnect
        self.sockets: list[Socket] = []
        self.events: list[list[object]] = []
        self.reasons: list[str] = []
        self.unhandled: set[str] = set()

    @property
    def socket(self) -> Socket:
        """The newest socket."""
        return self.sockets[-1]

    def open(self, core: SocketCore) -> HandlerOfSocket:
        return HandlerOfSocket(self, core.socket)


class HandlerOfSocket:
    """What a `Handler` does with one socket."""

    def __init__(self, handler: Handler, socket: Socket) -> None:
        self._handler = handler
        self._socket = socket

    async def connect(self, join: Join) -> None:
        self._handler.sockets.append(self._socket)
        if self._handler._connect is None:
            join()
        else:
            await self._handler._connect(self._socket, join)

    def handles(self, event: str) -> bool:
        return event not in self._handler.unhandled

    async def receive(self, packet: Packet) -> None:
        self._handler.events.append(packet.data)
        if self._handler._receive is not None:
            await self._handler._receive(self._socket, packet)

    async def disconnect(self, reason: str) -> None:
        self._handler.reasons.append(reason)
        if self._handler._disconnect is not None:
            await self._handler._disconnect(self._socket)


@asynccontextmanager
async def open_namespaces(
    handlers: Handler | Mapping[str | re.Pattern[str], Handler],
    config: Config | None = None,
    adapter: Callable[[Namespace], Adapter] | None = None,
) -> AsyncIterator[InMemoryServer]:
    """Run a server with these namespaces; one handler alone is that of ``/``."""
    server = Server(config=config, adapter=adapter)
    if isinstance(handlers, Handler):
        handlers = {"/": handlers}
    for where, handler in handlers.items():
        server.namespaces.add(where, handler)
    async with open_test_server(server) as in_memory:
        yield in_memory
