"""Nothing of ours waits for the garbage collector: what has ended is gone by counting references, at once."""

from __future__ import annotations

import gc
import json
import logging
import re
import socket as stdlib_socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import Final

import pytest
import trio
import trio.testing

from tests.namespaces.recovering import open_stage
from trio_sio import (
    Config,
    ConnectionRefused,
    Context,
    EngineServer,
    Limits,
    Next,
    Reconnection,
    Recovery,
    Route,
    RoutingTable,
    Server,
    Session,
    Socket,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.client.states import Connected, Lost
from trio_sio.concurrency.timers import Timer
from trio_sio.config import TransportName
from trio_sio.errors import ForcedClose
from trio_sio.testing import open_test_server
from trio_sio.testing.raw import RawWebSocket, WebSocketClosed

ROUNDS: Final = 10
CONFIG: Final = Config(ping_interval=1_000, cleanup_timeout=2)
TARGET: Final = "/socket.io/?EIO=4&transport=websocket"

# Who opens a connection for a test, and what it counts, are not what is looked for.
OTHERS: Final = ("trio_sio.client", "trio_sio.testing", "trio_sio.config")

Round = Callable[[], Awaitable[object]]


@pytest.fixture(autouse=True)
def nothing_is_logged() -> Iterator[None]:
    """Let pytest keep no log record, whose arguments are what is looked for."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def ours(*, clients: bool = False) -> Counter[str]:
    """Count what lives of our classes."""
    count = Counter[str]()
    for thing in gc.get_objects():
        kind = type(thing)
        module = getattr(kind, "__module__", None)  # others' classes may have none, or something else than a name
        if isinstance(thing, Timer) and thing.callback is None:
            continue  # cancelled: it holds nothing, and leaves the heap with others, or when it is due
        if isinstance(module, str) and module.startswith("trio_sio.") and (clients or not module.startswith(OTHERS)):
            count[f"{module}.{kind.__qualname__}"] += 1
    return count


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def settle() -> None:
    """Let everything come to an end that needs no more time, Trio's own handles on what has ended among it."""
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked(0.001)


async def assert_nothing_stays(one_round: Round, *, clients: bool = False, seconds: float = 30) -> None:
    with trio.fail_after(seconds):
        await one_round()  # what is made once, and stays
        await settle()
        with without_collector():
            before = ours(clients=clients)
            for _ in range(ROUNDS):
                await one_round()
            await settle()
            left = ours(clients=clients)
            left.subtract(before)
            assert {name: count for name, count in left.items() if count > 0} == {}


class Controller:
    """Does what holds on to a socket."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    async def __aenter__(self) -> None:
        self.opened = True

    async def __aexit__(self, *exc: object) -> None:
        self.opened = False

    @on_connection
    async def come(self, ctx: Context) -> None:
        """Be in rooms, have listeners and tasks, and wait for an answer that does not come."""
        ctx.state["controller"] = self
        socket = self.socket
        socket.data["socket"] = socket.id
        await socket.join("lobby", "room")
        socket.on("own", self.echo)
        socket.on_any(lambda event, *args: socket.id)
        socket.on_any_outgoing(lambda event, *args: socket.id)

        async def pass_on(event: list[object], call_next: Next) -> object:
            assert socket.connected
            return await call_next()

        socket.use(pass_on)
        socket.use(pass_on)
        socket.start_soon(self.ask)
        socket.start_soon(self.wait)

    async def ask(self) -> None:
        """Ask for what is never answered."""
        with suppress(Exception):
            await self.socket.emit_with_ack("never")

    async def wait(self) -> None:
        """Wait for what never comes."""
        with suppress(Exception):
            await self.socket.once("never")

    @on_message("echo")
    async def echo(self, value: object) -> object:
        """Answer."""
        return value

    @on_message("fail")
    async def fail(self) -> None:
        """Fail."""
        raise LookupError("on purpose")

    @on_message("stay", cancel_on_disconnect=False)
    async def stay(self) -> None:
        """Go on for a while when the client has gone."""
        await trio.testing.wait_all_tasks_blocked()
        assert self.socket is not None

    @on_message("together", concurrent=True)
    async def together(self) -> None:
        """Run until the end."""
        await trio.sleep_forever()

    @on_disconnection
    async def go(self, reason: str) -> None:
        """Look at what has gone, and begin to listen when it is too late."""
        self.socket.on("late", self.echo)
        self.rooms = self.socket.rooms


class Refusing:
    """Lets nobody in, in one way or the other."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    async def never(self) -> None:
        """Nobody comes here."""
        raise AssertionError


async def refuse(ctx: Context, call_next: Next) -> object:
    """Refuse as the client asks."""
    if ctx.socket.handshake.auth.get("how") == "group":
        async with trio.open_nursery():
            raise ConnectionRefused("in a group")
    if ctx.socket.handshake.auth.get("how") == "mistake":
        raise LookupError("a mistake")
    if ctx.socket.handshake.auth.get("how") == "silence":
        return None
    raise ConnectionRefused("no")


async def look_on(ctx: Context, call_next: Next) -> object:
    ctx.state["context"] = "seen"
    return await call_next()


ROUTES: Final = RoutingTable(
    Route("/", Controller),
    Route("/instance", Controller),
    Route(re.compile(r"/open-\d+"), Controller),
    Route(re.compile(r"/refused-\d+"), Refusing, middleware=[refuse]),
    message_middleware=[look_on],
    exception_handlers={LookupError: lambda ctx, exc: {"error": str(exc)}},
)


@asynccontextmanager
async def joined(client: RawWebSocket) -> AsyncIterator[RawWebSocket]:
    """Join the main namespace, do there whatever there is to do, and leave without a word."""
    async with client:
        await client.receive()
        await client.send("40")
        for packet in ('421["echo",1]', '422["own",1]', '423["fail"]', '42["together"]'):
            await client.send(packet)
        answers = 0
        while answers < 3:
            answers += str(await client.receive()).startswith("43")
        yield client


ENDINGS: Final = {
    "left": (),
    "disconnect": ("41",),
    "a bad packet": ("4x",),
    "a bad frame": ("9",),
    "a handler that stays": ('42["stay"]',),
    "half a packet": ('451-["echo",{"_placeholder":true,"num":0}]',),
}


@pytest.mark.hostile("R70")
@pytest.mark.parametrize("ending", ENDINGS)
async def test_nothing_of_a_websocket_stays(ending: str) -> None:
    async with open_test_server(ROUTES, CONFIG) as server:

        async def one_round() -> None:
            async with joined(await server.websocket()) as client:
                for packet in ENDINGS[ending]:
                    await client.send(packet)
                await settle()

        await assert_nothing_stays(one_round)


@pytest.mark.hostile("R70")
@pytest.mark.parametrize("ending", ["left", "reset", "thrown out"])
async def test_nothing_of_a_real_websocket_stays(ending: str) -> None:
    server = Server(ROUTES, config=CONFIG)
    async with server, trio.open_nursery() as nursery:
        (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)

        async def one_round() -> None:
            stream = await trio.open_tcp_stream("127.0.0.1", listener.sockname[1])
            async with joined(await RawWebSocket.open(stream, TARGET)) as client:
                if ending == "thrown out":
                    await server.disconnect_sockets(close=True)
                    with pytest.raises(WebSocketClosed):
                        while True:
                            await client.receive()
                elif ending == "reset":
                    stream.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0))
            for _ in range(500):
                if server.engine.connections:
                    await trio.sleep(0.01)

        await assert_nothing_stays(one_round)
        nursery.cancel_scope.cancel()


@pytest.mark.hostile("R70")
@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"]], ids=["polling", "upgraded"])
@pytest.mark.parametrize("ending", ["left", "thrown out"])
async def test_nothing_of_a_session_that_polls_stays(transports: list[TransportName], ending: str) -> None:
    async with open_test_server(ROUTES, CONFIG) as server:

        async def one_round() -> None:
            async with server.client(transports=transports, reconnection=None) as client:
                assert await client.emit_with_ack("echo", 1) == 1
                await settle()
                (connection,) = server.server.engine.connections
                assert connection.transport_state.value == transports[-1]
                if ending == "thrown out":
                    assert isinstance(server.server, Server)
                    await server.server.disconnect_sockets(close=True)
                    await client.closed()

        await assert_nothing_stays(one_round, clients=True)


@pytest.mark.hostile("R70")
async def test_nothing_of_a_probe_that_fails_stays() -> None:
    async with open_test_server(ROUTES, CONFIG) as server, await server.http() as http:
        target = "/socket.io/?EIO=4&transport=polling"
        opened = json.loads((await http.request("GET", target)).body[1:])

        async def one_round() -> None:
            async with await server.websocket(f"EIO=4&transport=websocket&sid={opened['sid']}") as probe:
                await probe.send("2probe")
                assert await probe.receive() == "3probe"
                await probe.send("nonsense")

        (connection,) = server.server.engine.connections
        connection.config = replace(CONFIG, limits=Limits(failed_upgrades=1_000))
        await assert_nothing_stays(one_round)
        await http.request("POST", f"{target}&sid={opened['sid']}", body="1")  # or the drain would wait for a poll


@pytest.mark.hostile("R70")
@pytest.mark.parametrize("how", ["plainly", "group", "mistake", "silence"])
async def test_nothing_of_a_namespace_that_only_refuses_stays(how: str) -> None:
    async with open_test_server(ROUTES, CONFIG) as server, await server.websocket() as client:
        await client.receive()
        numbers = count()

        async def one_round() -> None:
            name = f"/refused-{next(numbers)}"
            await client.send(f'40{name},{{"how":"{how}"}}')
            assert str(await client.receive()).startswith(f"44{name},")

        await assert_nothing_stays(one_round)
        assert isinstance(server.server, Server)
        assert {namespace.name for namespace in server.server.namespaces} == {"/", "/instance"}


@pytest.mark.hostile("R70")
async def test_nothing_of_a_namespace_that_everybody_has_left_stays() -> None:
    async with open_test_server(ROUTES, CONFIG) as server, server.strict_client() as client:
        numbers = count()

        async def one_round() -> None:
            member = await client.connection.join(f"/open-{next(numbers)}")
            await member.emit("echo", 1)
            await member.disconnect()

        await assert_nothing_stays(one_round)
        assert isinstance(server.server, Server)
        assert {namespace.name for namespace in server.server.namespaces} == {"/", "/instance"}


@pytest.mark.hostile("R70")
async def test_nothing_of_a_plain_session_stays() -> None:
    async def echo(session: Session) -> None:
        async for message in session:
            await session.send(message)

    async with open_test_server(EngineServer(echo)) as server:

        async def one_round() -> None:
            async with await server.websocket() as client:
                await client.receive()
                await client.send("4hello")
                assert await client.receive() == "4hello"

        await assert_nothing_stays(one_round)


@pytest.mark.hostile("R70")
@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids=["polling", "websocket", "upgraded"])
async def test_nothing_of_a_connection_that_our_client_has_lost_stays(transports: list[TransportName]) -> None:
    async with (
        open_test_server(ROUTES, CONFIG) as server,
        server.client(transports=transports, reconnection=Reconnection(delay=0.001)) as client,
    ):
        client.on("never", lambda: None)

        async def one_round() -> None:
            async with client.states() as states:
                (connection,) = server.server.engine.connections
                connection.end(ForcedClose("the test cuts it"))
                async for state in states:
                    if isinstance(state, Lost):
                        break
                async for state in states:
                    if isinstance(state, Connected):
                        break
            assert await client.emit_with_ack("echo", 1) == 1
            await settle()
            (connection,) = server.server.engine.connections
            assert connection.transport_state.value == transports[-1]

        await assert_nothing_stays(one_round, clients=True)


# With recovery.


@pytest.mark.hostile("R71")
async def test_a_session_that_comes_back_again_and_again_keeps_nothing_per_return(autojump_clock: trio.testing.MockClock) -> None:
    async with open_stage(Config(connection_state_recovery=Recovery(), ping_interval=1_000)) as stage:
        away, coming = stage.peer(), stage.peer()
        await away.connect()
        await away.cut()  # its deadline is the farthest of all but the first
        await coming.connect()

        async def one_round() -> None:
            await coming.cut()
            stage.sockets.clear()
            stage.steps.clear()
            assert await coming.connect()

        await assert_nothing_stays(one_round)
        assert len(stage.memory.server.engine.services.timers) == 1


@pytest.mark.hostile("R71")
async def test_who_is_given_up_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    async with open_stage(Config(connection_state_recovery=Recovery(max_disconnection=10), ping_interval=1_000)) as stage:

        async def one_round() -> None:
            peer = stage.peer()
            await peer.connect()
            await peer.cut()
            stage.sockets.clear()
            stage.steps.clear()
            stage.peers.clear()
            await trio.sleep(11)

        await assert_nothing_stays(one_round, seconds=200)
