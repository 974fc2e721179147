"""Handlers that misbehave: section P of the catalogue."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.testing

from tests.hostile.process import Record, failures
from tests.level import unchanged
from trio_sio import Context, EncodeError, Next, Route, RoutingTable, Server, Socket, on_connection, on_message
from trio_sio.routing.middleware import Middleware
from trio_sio.testing import open_test_server


@pytest.mark.hostile("P04")
async def test_a_handler_raises(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with open_test_server(server) as memory, memory.strict_client() as bystander, unchanged(server), memory.strict_client() as client:
        assert await client.emit_with_ack("fail") == {"status": "error", "message": "Internal server error"}
        (failure,) = failures(caplog)
        assert "'fail'" in failure.getMessage()
        assert client.id in failure.getMessage()
        assert await client.emit_with_ack("echo", 1) == 1
        assert await bystander.emit_with_ack("echo", 2) == 2


@pytest.mark.hostile("P29")
@pytest.mark.parametrize("level", ["event", "route", "table"])
async def test_middleware_raises(level: str, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(ctx: Context, call_next: Next) -> object:
        if ctx.event == "echo" and ctx.args == ("break it",):
            raise LookupError("a bug of the application")
        return await call_next()

    def layers(where: str) -> list[Middleware]:
        return [broken] if where == level else []

    class Echo:
        @on_message("echo", middleware=layers("event"))
        def echo(self, value: object) -> object:
            return value

    table = RoutingTable(Route("/", Echo(), middleware=layers("route")), message_middleware=layers("table"))
    async with open_test_server(table) as memory, memory.strict_client() as client:
        assert await client.emit_with_ack("echo", "break it") == {"status": "error", "message": "Internal server error"}
        assert await client.emit_with_ack("echo", 1) == 1
    (failure,) = failures(caplog)
    assert "'echo'" in failure.getMessage()


@pytest.mark.hostile("P12", "P13")
async def test_a_handler_disconnects_itself_again_and_again(server: Server, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    async with open_test_server(server) as memory, unchanged(server), memory.strict_client() as client:
        await client.emit("disconnect twice")
        assert (await client.closed()).disconnected
        assert await client.connection.closed() == 1005
    assert record.reasons == {"server namespace disconnect": 1}
    assert not failures(caplog)


@pytest.mark.hostile("P27")
async def test_a_handler_awaits_what_its_own_client_says(server: Server, record: Record) -> None:
    async with open_test_server(server) as memory, memory.strict_client() as client:
        client.on("question", lambda: "answer")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                assert await client.emit_with_ack("ask oneself") == "answer"

            assert await client.once("note") == (1,)
            assert await client.once("note") == (2,)
            await client.emit("said while the handler runs", 3)
    assert record.steps == ["(3,)"]


@pytest.mark.hostile("S44", "P15", "P17")
async def test_the_client_goes_instead_of_answering(server: Server, record: Record) -> None:
    async with open_test_server(server) as memory, unchanged(server), memory.strict_client() as client:
        await client.emit("ask for ever")
        await client.once("question")
        await client.disconnect()
        await client.connection.send("1")
        await client.connection.closed()
    assert record.steps == ["Disconnected", "0 answers awaited"]


@pytest.mark.hostile("S44")
async def test_the_client_never_answers(server: Server, record: Record, autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(server) as memory, unchanged(server), memory.strict_client() as client:
        start = trio.current_time()
        await client.emit("ask for ever")
        assert await client.emit_with_ack("echo", 1) == 1
        assert trio.current_time() - start == pytest.approx(server.config.ack_timeout)
    assert record.steps == ["TooSlowError", "0 answers awaited"]


@pytest.mark.hostile("P15")
async def test_a_handler_is_cancelled_while_it_waits_for_an_ack(server: Server, record: Record) -> None:
    async with open_test_server(server) as memory, unchanged(server), memory.strict_client() as client:
        await client.emit("ask for ever")
        await client.once("question")
        await client.connection.abort()
        await trio.testing.wait_all_tasks_blocked()
        # An abrupt end cancels; what the handler was waiting for failed in the same moment.
        assert record.steps[-1] == "0 answers awaited"
        assert record.reasons == {"transport close": 1}


class Cyclic(list[object]):
    """A list that contains itself."""

    def __init__(self) -> None:
        super().__init__()
        self.append(self)


@pytest.mark.hostile("P18")
@pytest.mark.parametrize("value", [{1, 2}, Cyclic(), {1: 2}, object(), [{"a": {3}}]], ids=["set", "cycle", "int key", "object", "nested"])
async def test_emitting_what_cannot_be_encoded(value: object) -> None:
    sockets: list[Socket] = []

    class Keeper:
        def __init__(self, socket: Socket) -> None:
            self.socket = socket

        @on_connection
        def joined(self) -> None:
            sockets.append(self.socket)

        @on_message("echo")
        def echo(self, value: object) -> object:
            return value

    async with open_test_server(RoutingTable(Route("/", Keeper))) as memory, memory.strict_client() as client:
        assert await client.emit_with_ack("echo", 1) == 1
        (socket,) = sockets
        for emit in (socket.emit, socket.emit_with_ack, socket.namespace.emit, socket.broadcast.emit):
            with pytest.raises(EncodeError):
                await emit("event", value)
        with pytest.raises(EncodeError):
            socket.emit_nowait("event", value)
        assert not socket.outbox
        assert await client.emit_with_ack("echo", 2) == 2
        assert client.pending == ()


@pytest.mark.hostile("P18", "S30")
async def test_emitting_odd_values() -> None:
    class Odd:
        @on_message("odd")
        def odd(self) -> list[object]:
            return [math.nan, math.inf, -math.inf, 2**70, "\ud800", -0.0]

        @on_message("binary")
        def binary(self) -> tuple[object, ...]:
            return b"a", bytearray(b"b"), memoryview(b"c"), type("Bytes", (bytes,), {})(b"d")

        @on_message("again")
        def again(self, value: object) -> object:
            return value

    async with open_test_server(RoutingTable(Route("/", Odd()))) as memory, memory.strict_client() as client:
        assert await client.emit_with_ack("odd") == [None, None, None, float(2**70), "\ud800", 0]
        assert await client.emit_with_ack("binary") == (b"a", b"b", b"c", b"d")
        # What came in can go out again.
        assert await client.emit_with_ack("again", {"a": "\ud800\0", "__proto__": 1}) == {"a": "\ud800\0", "__proto__": 1}


@pytest.mark.hostile("P19")
async def test_changing_a_value_after_it_was_emitted() -> None:
    class Changes:
        @on_message("change")
        async def change(self, socket: Socket) -> None:
            value: dict[str, Any] = {"a": [1], "b": bytearray(b"x")}
            socket.emit_nowait("event", value)
            value["a"].append(2)
            value["b"][:] = b"y"
            socket.emit_nowait("event", value)

    async with open_test_server(RoutingTable(Route("/", Changes()))) as memory, memory.strict_client() as client:
        await client.emit("change")
        assert await client.once("event") == ({"a": [1], "b": b"x"},)
        assert await client.once("event") == ({"a": [1, 2], "b": b"y"},)
