"""The connection onion, the hooks, and whose middleware runs when."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_sio import Server
from trio_sio.errors import ConnectionRefused
from trio_sio.namespaces.socket import Socket
from trio_sio.routing import Context, Functions, Middleware, Next, Route, RoutingTable, emits, on_connection, on_disconnection, on_message
from trio_sio.testing import open_test_server


def traced(name: str, trace: list[str]) -> Middleware:
    async def layer(ctx: Context, call_next: Next) -> object:
        trace.append(f"{name} in")
        result = await call_next()
        trace.append(f"{name} out")
        return result

    return layer


def make_controller(name: str, trace: list[str], event: str) -> type:
    class Controller:
        def __init__(self, socket: Socket) -> None:
            trace.append(f"{name} made, connected={socket.connected}")
            self.socket = socket

        @on_connection(middleware=[traced(f"{name} hook's", trace)])
        async def joined(self) -> None:
            trace.append(f"{name} joined, connected={self.socket.connected}")

        @on_message(event, middleware=[traced(f"{name} event's", trace)])
        async def message(self) -> str:
            trace.append(f"{name} message")
            return name

        @on_disconnection
        async def gone(self, reason: str) -> None:
            trace.append(f"{name} gone, {reason}")

    return Controller


async def test_one_route_is_one_onion_and_so_is_each_message() -> None:
    trace: list[str] = []
    table = RoutingTable(
        Route(
            "/",
            make_controller("a", trace, "x"),
            middleware=[traced("route's", trace)],
            connection_middleware=[traced("route's connection", trace)],
        ),
        connection_middleware=[traced("table's connection", trace)],
        message_middleware=[traced("table's message", trace)],
    )
    async with open_test_server(table) as server, server.strict_client() as client:
        assert trace == [
            "table's connection in",
            "route's in",
            "route's connection in",
            "a hook's in",
            "a made, connected=False",
            "a joined, connected=True",
            "a hook's out",
            "route's connection out",
            "route's out",
            "table's connection out",
        ]
        trace.clear()
        assert await client.emit_with_ack("x") == "a"
        assert trace == [
            "table's message in",
            "route's in",
            "a event's in",
            "a message",
            "a event's out",
            "route's out",
            "table's message out",
        ]
        trace.clear()
        await client.disconnect()
    assert trace == ["a gone, client namespace disconnect"]


async def test_several_routes_of_a_namespace_share_one_join_and_one_outermost_layer() -> None:
    trace: list[str] = []
    table = RoutingTable(
        Route("/", make_controller("a", trace, "x"), middleware=[traced("a's", trace)]),
        Route("/other", make_controller("other", trace, "x"), middleware=[traced("other's", trace)]),
        Route("/", make_controller("b", trace, "y"), middleware=[traced("b's", trace)]),
        connection_middleware=[traced("table's", trace)],
    )
    async with open_test_server(table) as server, server.strict_client() as client:
        assert trace == [
            "table's in",
            "a's in",
            "b's in",
            "a hook's in",
            "b hook's in",
            "a made, connected=False",
            "b made, connected=False",
            "a joined, connected=True",
            "b joined, connected=True",
            "b hook's out",
            "a hook's out",
            "b's out",
            "a's out",
            "table's out",
        ]
        trace.clear()
        assert await client.emit_with_ack("y") == "b"
        assert trace == ["b's in", "b event's in", "b message", "b event's out", "b's out"]
        trace.clear()
    assert trace == ["a gone, transport close", "b gone, transport close"]


async def test_a_context_belongs_to_one_delivery() -> None:
    seen: list[tuple[object, ...]] = []

    async def look(ctx: Context, call_next: Next) -> object:
        seen.append((ctx.event, tuple(ctx.args), ctx.wants_ack, dict(ctx.state), ctx.server is server.server))
        ctx.state["left"] = "here"
        return await call_next()

    class Controller:
        @on_message("x")
        async def x(self, value: int, ctx: Context) -> object:
            return ctx.state["left"]

    table = RoutingTable(Route("/", Controller, middleware=[look]))
    async with open_test_server(table) as server, server.strict_client() as client:
        assert await client.emit_with_ack("x", 1) == "here"
        await client.emit("x", 2)
        await client.emit_with_ack("x", 3)
    assert seen == [
        (None, (), False, {}, True),
        ("x", (1,), True, {}, True),
        ("x", (2,), False, {}, True),
        ("x", (3,), True, {}, True),
    ]


async def test_middleware_may_change_the_arguments_and_the_result() -> None:
    async def shout(ctx: Context, call_next: Next) -> object:
        ctx.args = (str(ctx.args[0]).upper(),)
        return f"{await call_next()}!"

    class Controller:
        @on_message("say", middleware=[shout])
        async def say(self, text: str) -> str:
            return text

    async with open_test_server(RoutingTable(Route("/", Controller))) as server, server.strict_client() as client:
        assert await client.emit_with_ack("say", "hi") == "HI!"


# Refusals.


class Tracing:
    def __init__(self, trace: list[str]) -> None:
        self.trace = trace

    @on_connection
    async def joined(self) -> None:
        self.trace.append("joined")

    @on_disconnection
    async def gone(self) -> None:
        self.trace.append("gone")


def raising(exc: Exception) -> Middleware:
    async def layer(ctx: Context, call_next: Next) -> object:
        raise exc

    return layer


async def closed(ctx: Context, call_next: Next) -> None:
    return


@pytest.mark.hostile("P05", "P09")
@pytest.mark.parametrize(
    ("layer", "message", "data"),
    [
        (raising(ConnectionRefused("bad token", {"code": 4001})), "bad token", {"code": 4001}),
        (raising(ConnectionRefused()), "Connection refused", None),
        (raising(ExceptionGroup("", [ConnectionRefused("in a group", 3)])), "in a group", 3),
        (raising(ValueError("secret")), "Internal server error", None),
        (closed, "Connection refused", None),
    ],
)
@pytest.mark.parametrize("where", ["table", "route", "connection", "hook"])
async def test_what_happens_before_the_core_refuses(layer: Middleware, message: str, data: object, where: str) -> None:
    trace: list[str] = []

    class Controller(Tracing):
        @on_connection(middleware=[layer] if where == "hook" else [])
        async def joined(self) -> None:
            trace.append("joined")

    route = Route(
        "/",
        Controller(trace),
        middleware=[layer] if where == "route" else [],
        connection_middleware=[layer] if where == "connection" else [],
        # Exception handlers are for what happens once the client is in.
        exception_handlers={Exception: lambda ctx, exc: trace.append("handled")},
    )
    async with open_test_server(RoutingTable(route, connection_middleware=[layer] if where == "table" else [])) as server:
        with pytest.raises(ConnectionRefused) as caught:
            async with server.strict_client():
                pass
    assert (caught.value.message, caught.value.data) == (message, data)
    assert trace == []


async def test_a_controller_that_cannot_be_made_refuses(caplog: pytest.LogCaptureFixture) -> None:
    class Controller(Tracing):
        def __init__(self, socket: Socket) -> None:
            raise ValueError("secret")

    async with open_test_server(RoutingTable(Route("/", Controller))) as server:
        with pytest.raises(ConnectionRefused, match="Internal server error"):
            async with server.strict_client():
                pass


@pytest.mark.hostile("P09")
async def test_a_hook_that_fails_disconnects_and_the_last_hook_runs(caplog: pytest.LogCaptureFixture) -> None:
    trace: list[str] = []

    class Controller(Tracing):
        @on_connection
        async def joined(self) -> None:
            trace.append("joined")
            raise ValueError("x")

        @on_message("x")
        async def x(self) -> None:
            trace.append("x")

    second = Tracing(trace)
    async with (
        open_test_server(RoutingTable(Route("/", Controller(trace)), Route("/", second))) as server,
        server.strict_client() as client,
    ):
        assert (await client.closed()).disconnected
    # The second route never saw the client come, so it does not see it go.
    assert trace == ["joined", "gone"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Controller.joined failed while connecting" in record.getMessage()


@pytest.mark.parametrize("layer", ["hook", "route", "table"])
async def test_exception_handlers_hear_of_a_failed_hook(layer: str, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[object] = []

    async def hear(ctx: Context, exc: Exception) -> None:
        heard.append((layer, ctx.event, ctx.socket.connected))

    handlers: Any = {ValueError: hear}

    class Controller:
        @on_connection(exception_handlers=handlers if layer == "hook" else None)
        async def joined(self) -> None:
            raise ExceptionGroup("", [ValueError("x")])

    route = Route("/", Controller, exception_handlers=handlers if layer == "route" else None)
    async with (
        open_test_server(RoutingTable(route, exception_handlers=handlers if layer == "table" else None)) as server,
        server.strict_client() as client,
    ):
        assert (await client.closed()).disconnected
    assert heard == [(layer, None, True)]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_middleware_that_fails_after_the_core_disconnects(caplog: pytest.LogCaptureFixture) -> None:
    trace: list[str] = []

    async def late(ctx: Context, call_next: Next) -> object:
        await call_next()
        raise ConnectionRefused("too late")

    async with open_test_server(RoutingTable(Route("/", Tracing(trace), middleware=[late]))) as server, server.strict_client() as client:
        assert (await client.closed()).disconnected
    assert trace == ["joined", "gone"]
    assert "Connection middleware failed" in caplog.text


async def test_middleware_may_forgive_a_hook() -> None:
    async def forgive(ctx: Context, call_next: Next) -> object:
        try:
            return await call_next()
        except ValueError:
            return None

    class Controller:
        @on_connection(middleware=[forgive])
        async def joined(self) -> None:
            raise ValueError

        @on_message("x")
        async def x(self) -> str:
            return "served"

    async with open_test_server(RoutingTable(Route("/", Controller))) as server, server.strict_client() as client:
        assert await client.emit_with_ack("x") == "served"


async def test_a_client_that_goes_during_connection_middleware_sees_no_hook() -> None:
    trace: list[str] = []
    entered = trio.Event()

    async def slow(ctx: Context, call_next: Next) -> object:
        if ctx.socket.handshake.auth.get("slow"):
            entered.set()
            try:
                await trio.sleep_forever()
            finally:
                trace.append("cancelled")
        return await call_next()

    async with open_test_server(RoutingTable(Route("/", Tracing(trace), middleware=[slow]))) as server:
        async with trio.open_nursery() as nursery:

            async def connect() -> None:
                async with server.strict_client(auth={"slow": True}):
                    raise AssertionError("it was never let in")

            nursery.start_soon(connect)
            await entered.wait()
            nursery.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert trace == ["cancelled"]
        # The server is as it was: the next client is let in, and leaves.
        async with server.strict_client():
            pass
    assert trace == ["cancelled", "joined", "gone"]


async def test_a_client_that_is_disconnected_while_it_joins_its_rooms_sees_no_hook() -> None:
    trace: list[str] = []

    async def usher(ctx: Context, call_next: Next) -> object:
        await ctx.socket.join("lobby")
        return await call_next()

    table = RoutingTable(Route("/", make_controller("a", trace, "x"), middleware=[usher]))
    async with open_test_server(table) as server, await server.websocket() as client:
        assert isinstance(server.server, Server)
        namespace = server.server.of("/")
        namespace.adapter.on_join_room(lambda room, sid: namespace.sockets[sid].disconnect_nowait())
        await client.receive()
        await client.send("40")
        assert [str(await client.receive())[:2], await client.receive()] == ["40", "41"]
        await wait_all_tasks_blocked()

        assert trace == ["a hook's in", "a made, connected=False"]


async def test_every_disconnection_hook_runs_whatever_the_others_do(caplog: pytest.LogCaptureFixture) -> None:
    trace: list[str] = []

    class Failing:
        @on_disconnection
        def first(self) -> None:
            raise ValueError("x")

        @on_disconnection
        async def second(self, socket: Socket, reason: str) -> None:
            trace.append(f"{reason}, connected={socket.connected}")

    async with open_test_server(RoutingTable(Route("/", Failing), Route("/", Tracing(trace)))) as server, server.strict_client() as client:
        await client.disconnect()
    assert trace == ["joined", "client namespace disconnect, connected=False", "gone"]
    assert "Failing.first failed while connecting or disconnecting" in caplog.text


async def test_several_hooks_of_a_controller_run_one_after_the_other_as_they_are_written() -> None:
    trace: list[str] = []

    class Base:
        @on_connection
        async def zero(self) -> None:
            trace.append("inherited")

    class Several(Base):
        @on_connection
        async def second(self, socket: Socket) -> None:
            await trio.lowlevel.checkpoint()
            trace.append("written first")

        @on_connection
        def first(self) -> None:
            trace.append("written second")

    async with open_test_server(RoutingTable(Route("/", Several))) as server, server.strict_client():
        await wait_all_tasks_blocked()
    assert trace == ["inherited", "written first", "written second"]


# What else a route can be.


async def test_state_is_per_socket_for_classes_and_shared_for_instances() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        @on_message("count")
        async def increment(self) -> int:
            self.count += 1
            return self.count

    table = RoutingTable(Route("/own", Counter), Route("/shared", Counter()))
    async with open_test_server(table) as server:
        counts = []
        for namespace in ("/own", "/own", "/shared", "/shared"):
            async with server.strict_client(namespace) as client:
                counts.append(await client.emit_with_ack("count"))
    assert counts == [1, 1, 1, 2]


async def test_a_pattern_matches_whole_names_and_its_groups_are_parameters() -> None:
    class Room:
        @on_message("which")
        async def which(self, socket: Socket) -> object:
            return dict(socket.params)

    class Special:
        @on_message("which")
        async def which(self) -> str:
            return "special"

    table = RoutingTable(Route(re.compile(r"/room-(?P<id>\d+)"), Room), Route("/room-7", Special))
    async with open_test_server(table) as server:
        async with server.strict_client("/room-12") as client:
            assert await client.emit_with_ack("which") == {"id": "12"}
        async with server.strict_client("/room-7") as client:
            assert await client.emit_with_ack("which") == "special"
        for namespace in ("/room-12x", "/a/room-12"):
            with pytest.raises(ConnectionRefused, match="Invalid namespace"):
                async with server.strict_client(namespace):
                    pass


async def test_functions_take_the_socket_first() -> None:
    functions, trace = Functions(), []

    @functions.on("echo", "again")
    async def echo(socket: Socket, value: int, ctx: Context) -> tuple[object, ...]:
        return socket.id, value, ctx.event

    @functions.on_connection
    async def joined(socket):  # type: ignore[no-untyped-def]
        trace.append(socket.connected)

    @functions.on_disconnection()
    def gone(socket: Socket, reason: str) -> None:
        trace.append(reason)

    async def let_in(ctx: Context, call_next: Next) -> object:
        trace.append("used")
        return await call_next()

    class Elsewhere:
        @emits("replied")
        async def method(self, socket: Socket, value: int) -> tuple[str, int]:
            return type(self).__name__, value

    functions.on("method")(Elsewhere().method)
    functions.use(let_in)
    table = RoutingTable(Route("/f", functions, connection_middleware=functions.middleware))
    async with open_test_server(table) as server, server.strict_client("/f") as client:
        assert await client.emit_with_ack("echo", 1) == (client.id, 1, "echo")
        assert await client.emit_with_ack("again", 2) == (client.id, 2, "again")
        await client.emit("method", 3)
        assert await client.once("replied") == ("Elsewhere", 3)
        await client.disconnect()
    assert trace == ["used", True, "client namespace disconnect"]
