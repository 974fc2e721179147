"""What the tests of a socket share: a socket on a session without a wire, and calls in the background."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from tests.client.fake_session import FakeServer, FakeSession
from trio_sio.client.socket import ClientSocket

__all__ = ["Background", "connected", "gone", "start"]


@asynccontextmanager
async def connected(*, retries: int | None = None, ack_timeout: float = 60) -> AsyncIterator[tuple[ClientSocket, FakeServer, FakeSession]]:
    """Yield a socket in the main namespace, its server, and the first session, on which nothing but CONNECT was sent."""
    server = FakeServer()
    async with server.manager() as manager, manager.socket(retries=retries, ack_timeout=ack_timeout) as socket:
        assert await server.session.next_sent() == "0"
        yield socket, server, server.session


class Background:
    """A call that goes on while the test does something else."""

    def __init__(self) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.done = trio.Event()

    async def run(self, call: Callable[[], Awaitable[object]]) -> None:
        try:
            self.result = await call()
        except Exception as error:
            self.error = error
        self.done.set()


async def start(nursery: trio.Nursery, call: Callable[[], Awaitable[object]]) -> Background:
    """Start ``call`` and come back when it waits for something."""
    background = Background()
    nursery.start_soon(background.run, call)
    await trio.testing.wait_all_tasks_blocked()
    return background


async def gone(socket: ClientSocket, server: FakeServer) -> None:
    """Take the session away, and let none come back."""
    server.session.lose()
    await trio.testing.wait_all_tasks_blocked()
    assert not socket.connected
