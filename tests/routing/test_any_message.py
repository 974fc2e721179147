"""`on_any_message`: the handler for events that no other is for, and several names for one handler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from trio_sio import Ack, Context, Next, Route, RouteError, RoutingTable, Server, Socket, emits, on_any_message, on_message
from trio_sio.testing import open_test_server


class Fallback:
    @on_message("known", "also known")
    async def known(self, *args: object) -> list[object]:
        return ["known", *args]

    @on_any_message
    @emits("heard")
    async def other(self, event: str, *args: object) -> list[object]:
        return [event, *args]


async def test_it_gets_the_events_that_no_other_handler_is_for() -> None:
    async with open_test_server(RoutingTable(Route("/", Fallback))) as server, server.strict_client() as client:
        assert await client.emit_with_ack("known", 1) == ["known", 1]
        assert await client.emit_with_ack("also known") == ["known"]
        assert await client.emit_with_ack("anything", 1, b"x", None) == ["anything", 1, b"x", None]
        assert await client.emit_with_ack("") == [""]
        await client.emit("more")
        assert await client.once("heard") == (["more"],)


async def test_an_integer_is_an_event_name_like_its_digits() -> None:
    async with open_test_server(RoutingTable(Route("/", Fallback))) as server, await server.websocket() as websocket:
        await websocket.receive()
        await websocket.send("40")
        await websocket.receive()
        await websocket.send("420[7,1]")
        assert await websocket.receive() == '430[["7",1]]'


async def test_its_arguments_are_counted_and_converted_without_the_name() -> None:
    class Typed:
        @on_any_message
        async def other(self, socket: Socket, event: str, ctx: Context, number: int, text: str = "") -> list[object]:
            assert ctx.socket is socket
            assert ctx.event == event
            return [number, text, *ctx.args]

    async with open_test_server(RoutingTable(Route("/", Typed))) as server, server.strict_client() as client:
        assert await client.emit_with_ack("e", 1.0) == [1, "", 1]
        assert await client.emit_with_ack("e", 1, "x", "dropped") == [1, "x", 1, "x", "dropped"]
        assert await client.emit_with_ack("e", 1, 2) == {"status": "error", "message": "Expected `str`, got `int`", "path": "$[1]"}
        message = "This event takes 1 to 2 arguments, but none were given"
        assert await client.emit_with_ack("e") == {"status": "error", "message": message}


async def test_middleware_exception_handlers_and_acks_are_those_of_a_message() -> None:
    trace: list[str | None] = []

    async def table_wide(ctx: Context, call_next: Next) -> object:
        trace.append(ctx.event)
        return await call_next()

    async def own(ctx: Context, call_next: Next) -> object:
        trace.append("own")
        return await call_next()

    class Whole:
        @on_any_message(middleware=[own], exception_handlers={KeyError: lambda ctx, exc: f"no {ctx.event}"}, concurrent=True)
        async def other(self, event: str, ack: Ack) -> None:
            if event == "raise":
                raise KeyError
            await ack("acked")

    routes = RoutingTable(Route("/", Whole), message_middleware=[table_wide])
    async with open_test_server(routes) as server, server.strict_client() as client:
        assert await client.emit_with_ack("raise") == "no raise"
        assert await client.emit_with_ack("e") == "acked"
    assert trace == ["raise", "own", "e", "own"]


async def test_the_name_may_be_of_no_type_and_the_handler_may_not_be_async() -> None:
    class Plain:
        @on_any_message()
        def other(self, event):  # type: ignore[no-untyped-def]
            return event

    async with open_test_server(RoutingTable(Route("/", Plain))) as server, server.strict_client() as client:
        assert await client.emit_with_ack("e") == "e"


async def test_a_namespace_without_it_still_refuses_unknown_events(caplog: pytest.LogCaptureFixture) -> None:
    class Known:
        @on_message("known")
        async def known(self) -> None: ...

    routes = RoutingTable(Route("/", Known), Route("/other", Fallback))
    with caplog.at_level(logging.DEBUG, "trio_sio.routing"):
        async with open_test_server(routes) as server, server.strict_client() as client:
            assert await client.emit_with_ack("e") == {"status": "error", "message": "Unknown event"}
    assert "No handler for event 'e'" in caplog.text


def test_the_table_of_routes_shows_it() -> None:
    assert "(any other)" in RoutingTable(Route("/", Fallback)).describe()


class TestFunctions:
    """`server.on_any_message`, beside `server.on`."""

    async def test_it_gets_the_events_that_no_other_function_of_its_namespace_is_for(self) -> None:
        server = Server()

        @server.on("known")
        async def known(socket: Socket) -> str:
            return "known"

        @server.on_any_message
        @emits("heard")
        async def other(socket: Socket, event: str, *args: object) -> list[object]:
            return [socket.id, event, *args]

        @server.of("/x").on_any_message()
        def elsewhere(socket: Socket, event: str, number: int) -> list[object]:
            return [event, number]

        async with open_test_server(server) as running, running.strict_client() as client, running.strict_client("/x") as second:
            assert await client.emit_with_ack("known") == "known"
            assert await client.emit_with_ack("anything", 1, b"x") == [client.id, "anything", 1, b"x"]
            await client.emit("more")
            assert await client.once("heard") == ([client.id, "more"],)
            assert await second.emit_with_ack("known", 1) == ["known", 1]
            answer = await second.emit_with_ack("known", "x")
            assert answer == {"status": "error", "message": "Expected `int`, got `str`", "path": "$[0]"}

    async def test_its_middleware_and_its_exception_handlers_and_that_it_may_be_overtaken(self) -> None:
        server, trace = Server(), list[str | None]()

        async def own(ctx: Context, call_next: Next) -> object:
            trace.append(ctx.event)
            return await call_next()

        @server.on_any_message(middleware=[own], exception_handlers={KeyError: lambda ctx, exc: "handled"}, concurrent=True)
        async def other(socket: Socket, event: str, ack: Ack) -> None:
            if event == "raise":
                raise KeyError
            if event == "wait":
                await socket.once("go")
            await ack(event)

        async with open_test_server(server) as running, running.strict_client() as client:
            assert await client.emit_with_ack("raise") == "handled"
            await client.emit("wait")
            assert await client.emit_with_ack("overtakes") == "overtakes"
            assert await client.emit_with_ack("go") == "go"  # the task that waits for it hears it, and so does its handler
        assert trace == ["raise", "wait", "overtakes", "go"]

    async def test_it_may_outlive_its_socket(self, autojump_clock: trio.testing.MockClock) -> None:
        server, done = Server(), list[str]()

        @server.on_any_message(cancel_on_disconnect=False)
        async def other(socket: Socket, event: str) -> None:
            await trio.sleep(1)
            done.append(event)

        async with open_test_server(server) as running:
            async with running.strict_client() as client:
                await client.emit("x")
                await trio.testing.wait_all_tasks_blocked()
                await server.disconnect_sockets()
            await trio.sleep(2)
        assert done == ["x"]

    def test_two_of_them_in_one_namespace_are_refused(self) -> None:
        server = Server()

        @server.on_any_message
        def first(socket: Socket, event: str) -> None: ...

        @server.on_any_message
        def second(socket: Socket, event: str) -> None: ...

        with pytest.raises(RouteError, match=r"first and .*second both handle every event without a handler in namespace /;"):
            server.compile_routes()

    def test_one_that_takes_no_name_is_refused(self) -> None:
        server = Server()

        @server.on_any_message
        def nameless(socket: Socket) -> None: ...

        with pytest.raises(
            RouteError, match=r"nameless has no parameter for the event's name; write `nameless\(socket, event: str, \*args\)`\."
        ):
            server.compile_routes()

    async def test_it_is_too_late_once_the_server_has_started(self) -> None:
        async with Server() as server:
            with pytest.raises(RouteError, match="was registered after the server had started"):

                @server.on_any_message
                def other(socket: Socket, event: str) -> None: ...


def nameless(self: object) -> None: ...
def only_rest(self: object, *args: object) -> None: ...
def only_injected(self: object, socket: Socket) -> None: ...
def number_first(self: object, number: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (nameless, r"C\.handler has no parameter for the event's name; write `handler\(self, event: str, \*args\)`\."),
        (only_rest, "has no parameter for the event's name"),
        (only_injected, "has no parameter for the event's name"),
        (number_first, r"C\.handler: the first parameter .* takes the event's name, so 'number' cannot be int; annotate it with str\."),
    ],
)
def test_a_signature_without_the_name_is_refused(function: Callable[..., Any], message: str) -> None:
    class C:
        handler = on_any_message(function)

    C.__qualname__ = "C"
    with pytest.raises(RouteError, match=message):
        Route("/", C)


def test_two_of_them_in_one_namespace_are_refused() -> None:
    class Second:
        @on_any_message
        async def mine(self, event: str) -> None: ...

    with pytest.raises(RouteError, match=r"Fallback\.other and .*mine both handle every event without a handler in namespace /; .*remove"):
        RoutingTable(Route("/", Fallback), Route("/", Second))
    RoutingTable(Route("/", Fallback), Route("/second", Second))


def test_one_method_cannot_be_both() -> None:
    class Both:
        @on_any_message
        @on_message("e")
        async def both(self, event: str) -> None: ...

    with pytest.raises(RouteError, match=r"both has @on_message and @on_any_message.*write two methods"):
        Route("/", Both)


def test_twice_is_refused() -> None:
    with pytest.raises(RouteError, match=r"has @on_any_message twice"):
        on_any_message(Fallback.other)
