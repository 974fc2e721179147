"""A session that polls, without a door."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from trio_sio import Config, EngineServer, Session
from trio_sio.engine.connection import Connection
from trio_sio.engine.polling import PollingTransport
from trio_sio.engine.states import ConnectionState

__all__ = ["GET", "Polling", "open_polling"]

GET = "EIO=4&transport=polling"


class Polling:
    """A server with one session that polls."""

    def __init__(self, server: EngineServer, nursery: trio.Nursery) -> None:
        self.server = server
        self.nursery = nursery
        self.messages: list[str | bytes] = []
        self.reading = trio.Event()
        self.session: Session
        self.sid = ""

    @property
    def connection(self) -> Connection:
        return self.session._connection

    @property
    def transport(self) -> PollingTransport:
        assert isinstance(self.connection.transport, PollingTransport)
        return self.connection.transport

    def state(self) -> ConnectionState:
        return self.connection.state

    async def start(self, method: str = "GET", body: bytes = b"", content_type: str = "text/plain;charset=UTF-8") -> FakeExchange:
        """Begin a request and return when it waits for something, or is answered."""
        exchange = FakeExchange(f"{GET}&sid={self.sid}", method, body, content_type)
        self.nursery.start_soon(self.server.engine.handle_http, exchange)
        await trio.testing.wait_all_tasks_blocked()
        return exchange

    async def handle(self, session: Session) -> None:
        self.session = session
        await self.reading.wait()
        async for message in session:
            self.messages.append(message)


@asynccontextmanager
async def open_polling(config: Config | None = None, *, reading: bool = True) -> AsyncIterator[Polling]:
    polling: Polling

    async def handler(session: Session) -> None:
        await polling.handle(session)

    async with EngineServer(handler, config=config or Config(path="/socket.io")) as server, trio.open_nursery() as nursery:
        polling = Polling(server, nursery)
        if reading:
            polling.reading.set()
        opened = FakeExchange(GET)
        await server.engine.handle_http(opened)
        assert opened.body is not None
        assert opened.body[:1] == b"0"
        polling.sid = json.loads(opened.body[1:])["sid"]
        await trio.testing.wait_all_tasks_blocked()
        yield polling
        polling.reading.set()
        polling.session.close()
        nursery.cancel_scope.cancel()
