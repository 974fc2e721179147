"""The scope of a server: entering, serving, draining, leaving."""

from __future__ import annotations

import gc
import inspect
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import cast

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from tests.level import unchanged
from tests.namespaces.serving import Handler, Join
from trio_sio import Config, EngineServer, Route, RoutingTable, Server, Session, Socket, on_connection, on_disconnection
from trio_sio.doors.native.buffered import BufferedStream
from trio_sio.doors.native.listener import Listener
from trio_sio.doors.native.websocket import open_pipe
from trio_sio.engine.door import WebSocketPipe
from trio_sio.errors import Disconnected
from trio_sio.namespaces.socket import Socket as NamespaceSocket
from trio_sio.protocol.http import Headers, Request, Response
from trio_sio.server import ServerNamespace
from trio_sio.testing import RawWebSocket, UpgradeRefused, WebSocketClosed, open_test_server

NEW = "EIO=4&transport=polling"


# Entering and leaving.


async def test_the_lifespan_is_around_everything() -> None:
    steps = list[str]()

    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[None]:
        steps.append(f"open {server.running}")
        yield
        steps.append(f"close {server.running} {server.engine.clients_count}")

    class Noting:
        @on_disconnection
        def gone(self, reason: str) -> None:
            steps.append(reason)

    server = Server(RoutingTable(Route("/", Noting())), lifespan=lifespan)
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        assert server.running
        assert steps == ["open False"]
        await server.drain()
        await client.connection.closed()

    assert steps == ["open False", "server shutting down", "close False 0"]


@pytest.mark.hostile("R35")
@pytest.mark.parametrize("end", ["drained", "cancelled"])
async def test_serve_raises_what_the_lifespan_raises_in_the_end(end: str) -> None:
    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise OSError("the disk is full")

    server = Server(lifespan=lifespan)
    with trio.fail_after(5), pytest.RaisesGroup(pytest.RaisesExc(OSError, match="the disk is full"), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, "127.0.0.1", 0)
            if end == "drained":
                await server.drain()
            else:
                nursery.cancel_scope.cancel()


async def test_a_lifespan_that_fails_stops_the_start() -> None:
    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[None]:
        if not server.running:
            raise LookupError("no database")
        yield

    server = Server(lifespan=lifespan)
    with pytest.raises(LookupError):
        await server.__aenter__()
    assert not server.running


async def test_a_server_runs_once() -> None:
    server = Server()
    async with server:
        with pytest.raises(RuntimeError, match=r"This server was entered before\. A server runs once: make a new one"):
            await server.__aenter__()
        running = [server.running]
    running.append(server.running)
    assert running == [True, False]
    with pytest.raises(RuntimeError, match="entered before"):
        await server.__aenter__()


async def test_cancelling_is_immediate(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    with trio.move_on_after(5):
        async with Server() as server:
            exchange = FakeExchange(NEW)
            await server.engine.handle_http(exchange)
            await trio.sleep_forever()

    assert trio.current_time() == start + 5


async def test_an_error_of_the_body_comes_out_without_a_drain(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with Server() as server:
            await server.engine.handle_http(FakeExchange(NEW))
            raise LookupError

    assert trio.current_time() == start


async def test_a_request_to_a_server_that_is_not_running_is_told_what_to_do() -> None:
    exchange = FakeExchange(NEW)
    await Server().engine.handle_http(exchange)

    assert exchange.status == 503
    assert b"enter `async with server:` first" in (exchange.body or b"")


async def test_serve_enters_a_server_that_nobody_has_entered_and_returns_when_it_drains() -> None:
    server = Server()
    async with trio.open_nursery() as nursery:
        listeners = cast("list[Listener]", await nursery.start(server.serve, "127.0.0.1", 0))
        assert server.running
        assert len(listeners) == 1
        await server.drain()

    assert not server.running


async def test_serve_leaves_a_server_running_that_somebody_else_has_entered() -> None:
    async with Server() as server:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, "127.0.0.1", 0)
            nursery.cancel_scope.cancel()
        assert server.running


async def test_a_busy_server_leaves_nothing_behind() -> None:
    async with open_test_server(Server(RoutingTable(Route("/", Handlers())))) as in_memory, unchanged(in_memory.server):
        async with in_memory.strict_client() as client:
            await client.once("welcome")
        async with await in_memory.websocket() as raw:
            await raw.receive()


class Handlers:
    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("a", "b")
        await socket.emit("welcome")


# Draining.


async def test_a_drain_says_goodbye_to_everybody_and_takes_nobody_new(autojump_clock: trio.testing.MockClock) -> None:
    handler = Handler()
    server = Server()
    server.namespaces.add("/", handler)
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client, await in_memory.http() as http:
        polling = await http.request("GET", f"/socket.io/?{NEW}")
        assert polling.status == 200
        await server.drain()
        assert await client.connection.closed() == 1001
        assert handler.reasons == ["server shutting down"]

        refused = FakeExchange(NEW)
        await server.engine.handle_http(refused)
        assert refused.status == 503
        assert refused.response is not None
        assert (b"Retry-After", b"5") in refused.response.headers
        assert server.engine.clients_count == 0


async def test_sockets_have_left_their_rooms_before_the_first_goodbye() -> None:
    heard = list[int]()

    async def disconnect(socket: NamespaceSocket) -> None:
        await socket.namespace.to("lobby").emit("left")
        heard.append(len(await socket.namespace.to("lobby").fetch_sockets()))

    handler, server = Handler(disconnect=disconnect), Server()
    server.namespaces.add("/", handler)
    async with open_test_server(server) as in_memory, in_memory.strict_client() as first, in_memory.strict_client() as second:
        await handler.sockets[0].namespace.sockets_join("lobby")
        await server.drain()
        await first.connection.closed()
        await second.connection.closed()

        assert heard == [0, 0]
        assert (first.pending, second.pending) == ((), ())


@pytest.mark.hostile("R72")
async def test_a_drain_of_many_gives_others_a_turn_and_still_all_have_left_before_the_first_goodbye() -> None:
    heard, ended, hold = list[int](), list[int](), trio.Event()

    async def connect(socket: NamespaceSocket, join: Join) -> None:
        if len(handler.sockets) > 200:
            await hold.wait()
        join()
        await socket.join("lobby")

    async def disconnect(socket: NamespaceSocket) -> None:
        await socket.namespace.emit("left")
        await socket.namespace.to("lobby").emit("left")
        heard.append(len(await socket.namespace.fetch_sockets()) + len(await socket.namespace.to("lobby").fetch_sockets()))

    async def watch() -> None:
        while True:
            ended.append(sum(not socket.connected for socket in handler.sockets[:200]))
            await trio.lowlevel.checkpoint()

    async def follow(client: RawWebSocket) -> None:
        async with client:
            with suppress(WebSocketClosed):
                while True:
                    received.append(str(await client.receive())[:3])

    received = list[str]()
    handler, server = Handler(connect=connect, disconnect=disconnect), Server()
    server.namespaces.add("/", handler)
    async with open_test_server(server) as in_memory, trio.open_nursery() as nursery:
        for _ in range(201):
            client = await in_memory.websocket()
            nursery.start_soon(follow, client)
            await client.send("40")
        await trio.testing.wait_all_tasks_blocked()
        server.of("/").adapter.on_leave_room(lambda room, sid: hold.set())
        nursery.start_soon(watch)
        with trio.fail_after(10):
            await server.drain()
        nursery.cancel_scope.cancel()

    # Between two turns of the one who watches the drain may have two, of 64 sessions each.
    assert max(after - before for before, after in pairwise(ended)) < 150
    assert heard == [0] * 201
    assert Counter(received) == {'0{"': 201, "40{": 201}


@pytest.mark.hostile("R72")
async def test_whoever_joins_while_the_server_drains_is_welcome_and_in_no_room(autojump_clock: trio.testing.MockClock) -> None:
    async def connect(socket: NamespaceSocket, join: Join) -> None:
        await hold.wait()
        join()
        await socket.join("lobby")

    handler, server, hold = Handler(connect=connect), Server(), trio.Event()
    server.namespaces.add("/", handler)
    async with open_test_server(server) as in_memory, await in_memory.websocket() as client:
        await client.receive()
        await client.send("40")
        await trio.testing.wait_all_tasks_blocked()
        (connection,) = server.engine.connections
        connection.withdraw()
        hold.set()
        assert str(await client.receive()).startswith("40{")
        await trio.testing.wait_all_tasks_blocked()

        assert handler.socket.connected
        assert dict(server.of("/").sockets) == {}
        assert await server.of("/").to("lobby").fetch_sockets() == []
        await server.drain()
        assert handler.reasons == ["server shutting down"]


async def test_a_socket_that_is_disconnected_as_it_leaves_its_rooms_ends_once() -> None:
    handler, server = Handler(), Server()
    server.namespaces.add("/", handler)
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        rooms = list[str]()

        def leave(room: str, sid: str) -> None:
            rooms.append(room)
            handler.socket.join_nowait("another")
            handler.socket.disconnect_nowait()

        server.of("/").adapter.on_leave_room(leave)
        await handler.socket.join("lobby")
        await server.drain()
        await client.closed()

        assert rooms == ["lobby"]
        assert handler.socket.rooms == {"lobby", client.id}
        assert handler.reasons == ["server namespace disconnect"]
        assert server.of("/").population == 0


async def test_a_drain_waits_for_hooks(autojump_clock: trio.testing.MockClock) -> None:
    ended = list[float]()

    async def disconnect(socket: NamespaceSocket) -> None:
        await trio.sleep(3)
        ended.append(trio.current_time())

    server = Server()
    server.namespaces.add("/", Handler(disconnect=disconnect))
    async with open_test_server(server) as in_memory, in_memory.strict_client():
        start = trio.current_time()
        await server.drain()

        assert ended == [start + 3]
        assert trio.current_time() == start + 3


async def test_a_drain_is_over_after_drain_timeout(autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async def disconnect(socket: NamespaceSocket) -> None:
        await trio.sleep_forever()

    server = Server(config=Config(cleanup_timeout=100, drain_timeout=4))
    server.namespaces.add("/", Handler(disconnect=disconnect))
    start = trio.current_time()
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        await server.drain()
        assert trio.current_time() == start + 4
        await client.connection.closed()

    assert trio.current_time() == start + 4
    hook, drain = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert hook.startswith("A disconnection hook (HandlerOfSocket.disconnect, ")
    assert drain == "1 connections were not done within drain_timeout and are cancelled."


async def test_two_drains_at_once_end_together(autojump_clock: trio.testing.MockClock) -> None:
    ends = list[float]()

    async def disconnect(socket: NamespaceSocket) -> None:
        await trio.sleep(3)

    async def drain() -> None:
        await server.drain()
        ends.append(trio.current_time() - start)

    server = Server()
    server.namespaces.add("/", Handler(disconnect=disconnect))
    async with open_test_server(server) as in_memory, in_memory.strict_client():
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            nursery.start_soon(drain)

    assert ends == [3, 3]


async def test_what_a_drain_has_given_up_is_not_waited_for_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ends = list[float]()

    async def disconnect(socket: NamespaceSocket) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async def drain_after(seconds: float) -> None:
        await trio.sleep(seconds)
        await server.drain()
        ends.append(trio.current_time() - start)

    server = Server(config=Config(cleanup_timeout=1_000, drain_timeout=5))
    server.namespaces.add("/", Handler(disconnect=disconnect))
    start = trio.current_time()
    # Leaving the server drains as well.
    async with open_test_server(server) as in_memory, in_memory.strict_client(), trio.open_nursery() as nursery:
        for seconds in (0, 0, 3, 7):
            nursery.start_soon(drain_after, seconds)

    assert ends == [5, 5, 5, 7]
    hook, drain = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert hook.startswith("A disconnection hook (HandlerOfSocket.disconnect, ")
    assert drain == "1 connections were not done within drain_timeout and are cancelled."


async def test_an_empty_server_drains_at_once_and_again(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    async with Server() as server:
        await server.drain()
        await server.drain()
    assert trio.current_time() == start


class SlowUpgrade:
    """A handshake whose 101 leaves when the test says so."""

    detached = True
    request = Request("GET", "/socket.io/", b"EIO=4&transport=websocket", Headers())

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.go = trio.Event()
        self._stream = stream

    async def accept(self, headers: object = ()) -> WebSocketPipe:
        await self.go.wait()
        return open_pipe(BufferedStream(self._stream, 1), None, Config(), None)

    async def refuse(self, response: Response) -> None:
        raise AssertionError(response)


async def test_a_websocket_that_is_let_in_while_the_server_begins_to_drain_is_closed() -> None:
    client, stream = trio.testing.memory_stream_pair()
    async with Server() as server, RawWebSocket(client) as websocket, trio.open_nursery() as nursery:
        upgrade = SlowUpgrade(stream)
        nursery.start_soon(server.engine.handle_websocket, upgrade)
        await trio.testing.wait_all_tasks_blocked()
        await server.drain()
        upgrade.go.set()
        with pytest.raises(WebSocketClosed) as closed:
            await websocket.receive()

        assert closed.value.code == 1001
        assert server.engine.clients_count == 0


async def test_websockets_are_refused_while_the_server_drains() -> None:
    async with open_test_server(Server()) as in_memory:
        stream = await in_memory.connect_stream()
        await in_memory.server.drain()
        with pytest.raises((UpgradeRefused, trio.BrokenResourceError)):
            await in_memory.websocket()
        await stream.aclose()


async def test_nothing_can_be_started_for_a_socket_that_the_drain_has_ended() -> None:
    handler, server = Handler(), Server()
    server.namespaces.add("/", handler)
    async with open_test_server(server) as in_memory, in_memory.strict_client():
        await server.drain()
        with pytest.raises(Disconnected):
            handler.socket.start_soon(trio.sleep, 1)


async def test_an_engine_server_drains_likewise() -> None:
    reasons = list[str | None]()

    async def handler(session: Session) -> None:
        async for _ in session:
            pass
        reasons.append(session.reason)

    async with open_test_server(EngineServer(handler)) as in_memory, await in_memory.websocket() as client:
        await client.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_memory.server.drain)
            with pytest.raises(WebSocketClosed) as closed:
                await client.receive()

    assert (closed.value.code, reasons) == (1001, ["server shutting down"])


@pytest.mark.parametrize("kind", [Server, ServerNamespace])
def test_what_can_be_registered_and_called_is_there_for_editors(kind: type) -> None:
    """A method, with its docstring: what is only assigned to an object is found by nobody who writes a program."""
    methods = ["on", "on_any_message", "on_connection", "on_disconnection", "use"]
    methods += ["subscribe", "server_side_emit", "server_side_emit_with_ack", "on_server_side_emit"]
    for name in methods:
        assert inspect.isfunction(getattr(kind, name)), name
        assert inspect.getdoc(getattr(kind, name)), name
    assert isinstance(inspect.getattr_static(Server, "on_new_namespace"), property)


async def test_the_main_namespace_stays_when_nobody_has_opened_it() -> None:
    server = Server()
    heard = list[object]()
    server.on_new_namespace(heard.append)
    async with server, server.subscribe() as events:
        gc.collect()
        await server.emit("news", 1)
        assert await events.receive() == ("news", (1,))
        assert server.of("/") is server.of("/")
    assert heard == []
