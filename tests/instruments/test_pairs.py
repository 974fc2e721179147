"""Whatever stops a server, a client or a handler, and wherever: an instrument hears of the end of all that it was told has begun."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio

from tests.instruments.ledger import Ledger
from trio_sio import Config, Disconnected, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.testing import InMemoryServer, cancel_everywhere, serving

pytestmark = pytest.mark.slow

WORK = 0.5


class Application:
    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("lobby")
        await trio.sleep(WORK)

    @on_message("work")
    async def work(self) -> None:
        await trio.sleep(WORK)

    @on_message("beside", concurrent=True)
    async def beside(self) -> None:
        await trio.sleep(WORK)

    @on_message("outlive", cancel_on_disconnect=False)
    async def outlive(self) -> None:
        await trio.sleep(WORK)

    @on_message("outlive beside", concurrent=True, cancel_on_disconnect=False)
    async def outlive_beside(self) -> None:
        await trio.sleep(WORK)

    @on_message("ask")
    async def ask(self, socket: Socket) -> object:
        with suppress(Disconnected):
            await socket.emit_with_ack("question")
        return await socket.namespace.emit_with_ack("question", timeout=WORK)

    @on_message("leave")
    async def leave(self, socket: Socket) -> None:
        await socket.disconnect()
        await trio.sleep(WORK)

    @on_disconnection
    async def gone(self) -> None:
        await trio.sleep(WORK)


class Listening(Application):
    """The same, with what goes by the listeners of a socket."""

    @on_connection
    def listen(self, socket: Socket) -> None:
        socket.use(self.around)
        socket.on("work", self.work)
        socket.start_soon(self.hear, socket)

    async def around(self, event: list[Any], call_next: Callable[[], Awaitable[None]]) -> None:
        await trio.sleep(WORK)
        if event[0] == "beside":
            event[0] = "outlive beside"
        await call_next()
        await trio.sleep(WORK)

    async def hear(self, socket: Socket) -> None:
        with suppress(Disconnected):
            while True:
                await socket.once("awaited")


@asynccontextmanager
async def running(controller: type[Application] = Application) -> AsyncIterator[InMemoryServer]:
    """Serve the application with a ledger that must be balanced in the end."""
    ledger = Ledger()
    routes, config = RoutingTable(Route("/", controller)), Config(ping_interval=0.3)
    try:
        async with serving(lambda: Server(routes, config=config, instruments=[ledger]))() as server:
            yield server
    finally:
        ledger.require_balanced()


async def everything(server: InMemoryServer) -> None:
    async with server.strict_client() as client:
        client.on("question", lambda: 1)
        for event in ("beside", "outlive beside", "work", "outlive"):
            await client.emit(event)
        await client.emit_with_ack("ask")
        await client.emit("work")
        await client.emit("work")
        await client.emit("leave")
        await client.emit("work")
        await client.closed()


async def goes_at_once(server: InMemoryServer) -> None:
    async with server.strict_client() as client:
        for event in ("outlive beside", "work", "beside", "work", "ask", "awaited"):
            await client.emit(event)


Scenario = Callable[[InMemoryServer], Awaitable[None]]


@pytest.mark.parametrize(
    ("scenario", "part"),
    [
        *((goes_at_once, part) for part in ("everything", "client", "reader", "dispatcher", "handler")),
        *((everything, part) for part in ("everything", "reader", "dispatcher", "handler")),
    ],
)
@pytest.mark.parametrize("controller", [Application, Listening])
def test_what_begins_ends(scenario: Scenario, part: str, controller: type[Application]) -> None:
    assert cancel_everywhere(scenario, partial(running, controller), part=part).struck
