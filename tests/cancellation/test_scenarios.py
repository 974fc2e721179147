"""Everything that a connection does, cancelled at each of its steps: nothing is left, nobody hangs, every hook has its counterpart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest
import trio

from trio_sio import Config, Context, Disconnected, Next, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.testing import InMemoryServer, RawHttp, RawWebSocket, cancel_everywhere, serving
from trio_sio.testing.cancellation import PARTS

pytestmark = pytest.mark.slow

POLLING: Final = "/socket.io/?EIO=4&transport=polling"
PING_INTERVAL: Final = 0.3  # seconds, so that the heartbeat beats while things take their time
WORK: Final = 0.5


class Application:
    """Does a bit of everything, slowly, and keeps accounts."""

    def __init__(self) -> None:
        self.hooks: Counter[str] = Counter()
        self.busy = 0

    async def slow_middleware(self, ctx: Context, call_next: Next) -> object:
        async with self._working():
            await trio.sleep(WORK)
            return await call_next()

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    @on_connection
    async def joined(self, socket: Socket) -> None:
        self.hooks[socket.id] += 1
        await socket.join("lobby")

    @on_message("work")
    async def work(self, value: object) -> object:
        async with self._working():
            await trio.sleep(WORK)
        return value

    @on_message("ask")
    async def ask(self, socket: Socket) -> object:
        async with self._working():
            return await socket.emit_with_ack("question", 1)

    @on_message("ask everybody")
    async def ask_everybody(self, socket: Socket) -> list[object]:
        async with self._working(), socket.namespace.subscribe("lobby") as channel:
            answers = await socket.namespace.to("lobby").emit_with_ack("question", 1)
            assert (await channel.receive()).args == (1,)
            return answers

    @on_message("tell")
    async def tell(self, text: str, socket: Socket) -> None:
        async with self._working():
            await socket.broadcast.to("lobby").emit("told", text)

    @on_message("leave")
    async def leave(self, socket: Socket, *, close: bool = False) -> None:
        async with self._working():
            await socket.disconnect(close=close)
            await trio.sleep(WORK)

    @on_disconnection
    async def gone(self, socket: Socket) -> None:
        assert "lobby" in socket.rooms or not socket.rooms - {socket.id}
        await trio.sleep(WORK)
        self.hooks[socket.id] -= 1

    def check(self) -> None:
        """Every connection hook that began has had its disconnection hook, and every handler has come to its end."""
        assert not +self.hooks, f"{self.hooks} hooks"
        assert not -self.hooks, f"{self.hooks} hooks"
        assert self.busy == 0, f"{self.busy} handlers"


@asynccontextmanager
async def running() -> AsyncIterator[InMemoryServer]:
    """Serve an application, and require L0 and its accounts to be in order."""
    application = Application()
    routes = [Route("/", application), Route("/slow", application, middleware=[application.slow_middleware])]
    config = Config(ping_interval=PING_INTERVAL)
    async with serving(lambda: Server(RoutingTable(*routes), config=config))() as server:
        yield server
    application.check()
    assert isinstance(server.server, Server)
    assert [namespace.taps for namespace in server.server.namespaces if namespace.taps] == []


# The scenarios.


async def handshake(server: InMemoryServer) -> None:
    async with await server.websocket() as websocket:
        assert str(await websocket.receive()).startswith("0")
        assert await websocket.receive() == "2"


async def open_polling(http: RawHttp) -> str:
    opened = await http.request("GET", POLLING)
    target = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
    await http.request("POST", target, body="40")
    return target


async def poll_until(http: RawHttp, target: str, expected: bytes) -> None:
    """Poll, and answer pings, until there is a packet that begins like this; or a goodbye."""
    while True:
        response = await http.request("GET", target)
        for packet in response.body.split(b"\x1e"):
            if packet == b"2":
                await http.request("POST", target, body="3")
            elif packet.startswith(expected):
                return
        if response.status != 200 or b"1" in response.body.split(b"\x1e"):
            raise trio.BrokenResourceError("The session is over.")


async def poll(server: InMemoryServer) -> None:
    async with await server.http() as http:
        target = await open_polling(http)
        await poll_until(http, target, b"40")
        await http.request("POST", target, body='421["work","x"]')
        await poll_until(http, target, b'431["x"]')
        await http.request("POST", target, body="1")


async def upgrade(server: InMemoryServer) -> None:
    async with await server.http() as http:
        target = await open_polling(http)
        await poll_until(http, target, b"40")
        stream = await server.connect_stream()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(http.request, "GET", target)
                async with await RawWebSocket.open(stream, target.replace("polling", "websocket")) as websocket:
                    await websocket.send("2probe")
                    assert await websocket.receive() == "3probe"
                    await websocket.send("5")
                    await websocket.send('421["work","x"]')
                    while (message := await websocket.receive()) != '431["x"]':
                        assert message in ("2", "6")
                        await websocket.send("3")
                    await websocket.start_close()
        finally:
            await trio.aclose_forcefully(stream)


async def connect_with_slow_middleware(server: InMemoryServer) -> None:
    async with server.strict_client("/slow"):
        pass


async def event_with_slow_handler(server: InMemoryServer) -> None:
    async with server.strict_client() as client:
        assert await client.emit_with_ack("work", "x") == "x"


async def emit_with_ack(server: InMemoryServer) -> None:
    async with server.strict_client() as client:
        client.on("question", lambda number: number + 1)
        assert await client.emit_with_ack("ask") == 2


async def broadcast_with_ack(server: InMemoryServer) -> None:
    async with server.strict_client() as one, server.strict_client() as other:
        one.on("question", lambda number: number + 1)
        other.on("question", lambda number: number + 1)
        assert set(await one.emit_with_ack("ask everybody")) == {2}  # of those who are still there


async def broadcast(server: InMemoryServer) -> None:
    async with server.strict_client() as one, server.strict_client() as other:
        await one.emit_with_ack("tell", "news")
        assert await other.once("told") == ("news",)


async def disconnect_by_client(server: InMemoryServer) -> None:
    async with server.strict_client() as client:
        await client.emit("work", "x")
        await client.disconnect()
        # Others still can join on the same connection.
        await client.connection.join("/slow")


async def disconnect_by_server(server: InMemoryServer) -> None:
    async with server.strict_client() as client:
        await client.emit("leave")
        if not (await client.closed()).disconnected:
            raise Disconnected("The connection ended, so there was no DISCONNECT.")


SCENARIOS: Final[list[Callable[[InMemoryServer], Awaitable[None]]]] = [
    handshake,
    poll,
    upgrade,
    connect_with_slow_middleware,
    event_with_slow_handler,
    emit_with_ack,
    broadcast_with_ack,
    broadcast,
    disconnect_by_client,
    disconnect_by_server,
]

# What does not occur in a scenario.
ABSENT: Final = {(handshake, "dispatcher"), (handshake, "handler"), (poll, "writer"), (connect_with_slow_middleware, "handler")}

CASES: Final = [
    pytest.param(scenario, part, id=f"{scenario.__name__}-{part}")
    for scenario in SCENARIOS
    for part in ("everything", "client", *PARTS)
    if (scenario, part) not in ABSENT
]


@pytest.mark.hostile("P14", "P15", "P16")
@pytest.mark.parametrize(("scenario", "part"), CASES)
def test_cancelled_at_each_step(scenario: Callable[[InMemoryServer], Awaitable[None]], part: str) -> None:
    report = cancel_everywhere(scenario, running, part=part)

    assert report.struck == report.steps > 0


@pytest.mark.parametrize("scenario", [event_with_slow_handler, emit_with_ack])
def test_an_error_at_each_step_of_the_handler(scenario: Callable[[InMemoryServer], Awaitable[None]]) -> None:
    async def expect_anything(server: InMemoryServer) -> None:
        with suppress(AssertionError):  # the answer tells of an error
            await scenario(server)

    report = cancel_everywhere(expect_anything, running, part="handler", error=lambda: OSError("no route to host"))

    assert report.struck > 0
