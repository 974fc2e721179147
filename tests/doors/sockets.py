"""Connected sockets, who receives from them, and the task that tells when there is something."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing

from tests.doors.test_wire import noting
from trio_sio.concurrency.streams import RECEIVE_SIZE
from trio_sio.doors.native.readiness import Readiness
from trio_sio.doors.native.wire import SocketWire
from trio_sio.errors import TransportError

__all__ = ["Reader", "open_readiness", "receive", "reset", "settle", "tcp_pair"]


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """A client and a server, connected and non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.setblocking(False)
    server.setblocking(False)
    return client, server


def reset(client: socket.socket) -> None:
    """Close in the way that makes the kernel send a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def settle() -> None:
    """Return when nothing runs and nothing is ready: never, if a task spins."""
    with trio.fail_after(5):
        await trio.testing.wait_all_tasks_blocked(0.005)


class Reader:
    """Receives what there is, and notes it."""

    def __init__(self, sock: socket.socket, act: Callable[[], object] | None = None) -> None:
        self.socket = sock
        self.received: list[bytes] = []
        self.hangups = 0
        self.errors: list[Exception] = []
        self._act = act

    def readable(self) -> None:
        self.received.append(self.socket.recv(RECEIVE_SIZE))
        if self._act is not None:
            self._act()

    def hung_up(self) -> None:
        self.hangups += 1

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def abandoned(self) -> None:
        self.is_abandoned = True


@asynccontextmanager
async def open_readiness() -> AsyncIterator[Readiness]:
    readiness = Readiness()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readiness.run)
        yield readiness
        nursery.cancel_scope.cancel()


async def receive(wire: SocketWire, fed: list[bytes], ends: list[object]) -> None:
    try:
        await wire.receive(noting(fed), b"")
    except TransportError as error:
        ends.append(type(error))
    else:
        ends.append("end")
