"""The in-memory server with real routes: what an application's own tests would do."""

from __future__ import annotations

import time

import pytest
import trio
import trio.testing

from trio_sio import (
    Config,
    ConnectionRefused,
    Context,
    EngineServer,
    Next,
    Route,
    RoutingTable,
    Server,
    Session,
    Socket,
    broadcasts,
    on_connection,
    on_message,
)
from trio_sio.client import Event
from trio_sio.engine.origins import OriginPolicy
from trio_sio.errors import ConfigurationError
from trio_sio.protocol.http import Request
from trio_sio.testing import Ended, WebSocketClosed, open_test_server


class Chat:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    async def joined(self) -> None:
        await self.socket.emit(
            "welcome", self.socket.handshake.auth, self.socket.handshake.query.get("room"), self.socket.handshake.address
        )

    @on_message("sum")
    def sum(self, a: int, b: int) -> int:
        return a + b

    @on_message("say")
    @broadcasts("said")
    def say(self, text: bytes) -> bytes:
        return text

    @on_message("ask back")
    async def ask_back(self) -> object:
        return await self.socket.emit_with_ack("question", 20)

    @on_message("leave")
    async def leave(self) -> None:
        await self.socket.disconnect()


async def refuse(ctx: Context, call_next: Next) -> object:
    raise ConnectionRefused("members only", data={"code": 4001})


def make_routes() -> RoutingTable:
    return RoutingTable(Route("/", Chat), Route("/members", Chat, middleware=[refuse]))


async def test_emitting_and_acknowledging() -> None:
    async with open_test_server(make_routes()) as server, server.strict_client(auth={"token": "secret"}, query={"room": "a"}) as client:
        assert await client.once("welcome") == ({"token": "secret"}, "a", "test")
        assert await client.emit_with_ack("sum", 1, 2) == 3

        client.on("question", lambda number: number + 1)
        assert await client.emit_with_ack("ask back") == 21


async def test_broadcasting() -> None:
    async with open_test_server(make_routes()) as server, server.strict_client() as first, server.strict_client() as second:
        await first.emit("say", b"\x00\xff")

        assert await first.once("said") == (b"\x00\xff",)
        assert await second.once("said") == (b"\x00\xff",)
        assert [event.name for event in second.pending] == ["welcome"]


async def test_the_server_itself_is_at_hand() -> None:
    async with open_test_server(Server(make_routes())) as server, server.strict_client() as client:
        assert isinstance(server.server, Server)
        await server.server.to(client.id).emit("direct", 1)

        assert await client.once("direct") == (1,)


async def test_refusals_come_out_bare() -> None:
    async with open_test_server(make_routes()) as server:
        with pytest.raises(ConnectionRefused) as refused:
            async with server.strict_client("/members"):
                pass

    assert (refused.value.message, refused.value.data) == ("members only", {"code": 4001})


async def test_an_error_of_the_test_comes_out_bare() -> None:
    error = KeyError()

    with pytest.raises(KeyError) as raised:
        async with open_test_server(make_routes()) as server, server.strict_client():
            raise error

    assert raised.value is error


async def test_the_server_disconnects_a_client() -> None:
    async with open_test_server(make_routes()) as server, server.strict_client() as client:
        await client.emit("leave")

        assert await client.closed() == Ended(disconnected=True, close_code=None)


async def test_time_outs_need_no_time(autojump_clock: trio.testing.MockClock) -> None:
    started, real_start = trio.current_time(), time.monotonic()

    async with open_test_server(make_routes()) as server, server.strict_client(answer_pings=False) as client:
        await client.once("welcome")
        await client.closed()

    assert trio.current_time() - started == pytest.approx(Config().ping_interval + Config().ping_timeout, abs=0.1)
    assert time.monotonic() - real_start < Config().ping_timeout


async def test_pings_keep_a_client(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(make_routes()) as server, server.strict_client() as client:
        await trio.sleep(10 * Config().ping_interval)

        assert await client.emit_with_ack("sum", 1, 2) == 3


async def test_raw_clients(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(make_routes(), Config(path="/other")) as server:
        async with await server.http() as http:
            response = await http.request("GET", "/other/?EIO=4&transport=polling")
            assert response.body.startswith(b'0{"sid":')
            assert (await http.request("GET", "/nowhere")).status == 404
        async with await server.websocket() as websocket:
            opened = await websocket.receive()
            assert isinstance(opened, str)
            assert opened.startswith('0{"sid":')


async def test_leaving_drains(autojump_clock: trio.testing.MockClock) -> None:
    codes: list[int] = []

    async def wait_closed() -> None:
        with pytest.raises(WebSocketClosed) as closed:
            while True:
                await websocket.receive()
        codes.append(closed.value.code)
        await websocket.close()

    async with trio.open_nursery() as nursery:
        async with open_test_server(make_routes()) as server:
            # An open session, a connection that waits for its next request, and one that has not said anything.
            websocket = await server.websocket()
            http = await server.http()
            await http.request("GET", "/nowhere")
            await server.connect_stream()
            nursery.start_soon(wait_closed)
            start = trio.current_time()
        assert trio.current_time() - start < 1

    assert codes == [1001]
    await http.wait_closed()


async def echo(session: Session) -> None:
    async for message in session:
        await session.send(message)


async def test_an_engine_alone() -> None:
    async with open_test_server(EngineServer(echo, config=Config(path="/engine.io"))) as server, await server.websocket() as websocket:
        await websocket.receive()
        await websocket.send("4hello")

        assert await websocket.receive() == "4hello"


async def test_what_escapes_from_a_connection_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(policy: OriginPolicy, request: Request) -> None:
        raise RuntimeError(request.path)

    monkeypatch.setattr(OriginPolicy, "headers", fail)
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="/socket.io/"), flatten_subgroups=True):
        async with open_test_server(make_routes()) as server, await server.http() as http:
            await http.request("GET", "/socket.io/?EIO=4&transport=polling")
            await http.wait_closed()
            await trio.sleep_forever()


async def test_a_server_brings_its_own_config() -> None:
    with pytest.raises(ConfigurationError, match="its own Config"):
        async with open_test_server(Server(make_routes()), Config()):
            pass


async def test_events_are_named_tuples() -> None:
    async with open_test_server(make_routes()) as server, server.strict_client() as client:
        assert await client.receive() == Event("welcome", ({}, None, "test"))
