"""Members of Node's API as an application uses their counterparts, where no other test calls them by their names (docs/parity.md)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from trio_sio import BroadcastOperator, Config, Server
from trio_sio.doors.asgi.messages import Message, Receive, Scope, Send
from trio_sio.engine.states import TransportState
from trio_sio.namespaces.broadcast import NamespaceBroadcaster
from trio_sio.namespaces.handshake import wall_clock
from trio_sio.namespaces.socket import Socket
from trio_sio.testing import open_test_server
from trio_sio.testing.strict import StrictSocket


@asynccontextmanager
async def two_clients() -> AsyncIterator[tuple[Server, list[Socket], list[StrictSocket]]]:
    """A server, the sockets of its two clients, and these."""
    handler = Handler()
    async with open_namespaces(handler) as in_memory, in_memory.strict_client() as first, in_memory.strict_client() as second:
        assert isinstance(in_memory.server, Server)
        yield in_memory.server, handler.sockets, [first, second]


async def heard(client: StrictSocket) -> list[tuple[str, *tuple[object, ...]]]:
    """Every event that came, as one tuple of its name and its arguments."""
    await trio.testing.wait_all_tasks_blocked()
    return [(event.name, *event.args) for event in client.pending]


def start(where: str, server: Server) -> NamespaceBroadcaster:
    """Where a chain begins."""
    places: dict[str, NamespaceBroadcaster] = {"server": server, "namespace": server.of("/"), "operator": BroadcastOperator(server.of("/"))}
    return places[where]


everywhere = pytest.mark.parametrize("where", ["server", "namespace", "operator"])


@everywhere
async def test_one_emits_to_sockets_from_everywhere(where: str) -> None:
    async with two_clients() as (server, _, (first, second)):
        place = start(where, server)
        await place.emit("emit", 1)
        await place.send("text", 2)
        await place.to(first.id).emit("to")
        await place.in_(second.id).emit("in")
        await place.except_(first.id).emit("except")
        await place.local.emit("local")
        await place.volatile().emit("volatile")
        await place.compress(True).emit("compress")

        for_both = [("emit", 1), ("message", "text", 2)], [("local",), ("volatile",), ("compress",)]
        assert await heard(first) == [*for_both[0], ("to",), *for_both[1]]
        assert await heard(second) == [*for_both[0], ("in",), ("except",), *for_both[1]]


@everywhere
async def test_one_asks_sockets_from_everywhere(where: str, autojump_clock: trio.testing.MockClock) -> None:
    async with two_clients() as (server, _, (first, second)):
        first.on("question", lambda number: number + 1)
        second.on("question", lambda number: number + 2)
        place, began = start(where, server), trio.current_time()

        assert set(await place.emit_with_ack("question", 1)) == {2, 3}
        with pytest.raises(trio.TooSlowError):
            await place.timeout(5).emit_with_ack("nobody answers this")
        assert trio.current_time() - began == 5


@everywhere
async def test_one_manages_sockets_from_everywhere(where: str) -> None:
    async with two_clients() as (server, sockets, (first, second)):
        place = start(where, server)
        assert {socket.id for socket in await place.fetch_sockets()} == {first.id, second.id}
        await place.sockets_join("a", "b")
        assert sockets[0].rooms == {first.id, "a", "b"}
        await place.sockets_leave("b")
        assert sockets[1].rooms == {second.id, "a"}
        await place.disconnect_sockets()

        assert (await first.closed()).disconnected
        assert (await second.closed()).disconnected


async def test_one_emits_from_a_socket_to_the_others_and_to_itself() -> None:
    async with two_clients() as (_, (socket, other), (first, second)):
        await other.join("room")
        await socket.in_("room").emit("in")
        await socket.to("room").emit("to")
        await socket.except_("room").emit("except")
        await socket.local.emit("local")
        await socket.send("text", 1)
        await socket.volatile().emit("volatile")

        assert await heard(first) == [("message", "text", 1), ("volatile",)]
        assert await heard(second) == [("in",), ("to",), ("local",)]


async def test_all_namespaces_of_a_pattern_are_emitted_to_in_a_loop() -> None:
    handlers: dict[str | re.Pattern[str], Handler] = {"/": Handler(), re.compile(r"/room-\d+"): Handler()}
    async with open_namespaces(handlers) as in_memory:
        server = in_memory.server
        assert isinstance(server, Server)
        asked_for = server.of("/room-1")
        async with (
            in_memory.strict_client("/") as main,
            in_memory.strict_client("/room-1") as first,
            in_memory.strict_client("/room-2") as second,
        ):
            for namespace in server.namespaces:
                if namespace.is_dynamic:
                    await namespace.emit("x", namespace.name)

            assert [await heard(client) for client in (main, first, second)] == [[], [("x", "/room-1")], [("x", "/room-2")]]
            assert [socket.id for socket in await asked_for.fetch_sockets()] == [first.id]


async def test_a_namespace_knows_its_server_its_sockets_and_its_rooms() -> None:
    async with two_clients() as (server, sockets, (first, second)):
        namespace = server.of("/")
        await sockets[0].join("room")

        assert (namespace.name, namespace.server) == ("/", server)
        assert namespace.sockets == {first.id: sockets[0], second.id: sockets[1]}
        assert namespace.adapter.rooms_of(sockets[0]) == {"room"}
        assert namespace.parser is server.namespaces.parser
        assert server.engine.config is server.config


async def test_a_socket_knows_its_connection() -> None:
    before = wall_clock()
    handler = Handler()
    async with (
        open_namespaces(handler) as in_memory,
        in_memory.strict_client(query={"a": "b"}, headers={"Origin": "http://localhost"}) as client,
    ):
        socket = handler.socket
        connection, handshake = socket.client.connection, socket.handshake

        assert connection.transport_state is TransportState.WEBSOCKET
        assert (connection.request.method, connection.request.path) == ("GET", "/socket.io/")
        assert connection.request.query_string == b"a=b&EIO=4&transport=websocket"
        assert handshake.query == {"EIO": "4", "transport": "websocket", "a": "b"}
        assert handshake.headers["origin"] == "http://localhost"
        assert before <= handshake.issued <= wall_clock()
        assert (socket.id, socket.connected) == (client.id, True)


async def test_the_client_bundle_is_served_where_it_is_configured(tmp_path: Path) -> None:
    (tmp_path / "socket.io.js").write_text("bundle")
    for config, status in ((Config(serve_client=str(tmp_path)), 200), (Config(), 404)):
        async with open_test_server(config=config) as in_memory, await in_memory.http() as client:
            assert (await client.request("GET", "/socket.io/socket.io.js")).status == status


async def test_what_surrounds_the_asgi_application_sees_every_request_of_the_engine(autojump_clock: trio.testing.MockClock) -> None:
    sent = list[Message]()

    async with Server() as server:
        engine = server.asgi()

        async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
            async def with_field(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-mine", b"1")]
                await send(message)

            await engine(scope, receive, with_field)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/socket.io/", "query_string": b"EIO=4&transport=polling", "headers": []}
        await middleware(scope, receive, send)

    assert (sent[0]["status"], sent[0]["headers"][-1]) == (200, (b"x-mine", b"1"))
    assert sent[1]["body"].startswith(b'0{"sid":')
