"""What is registered on one socket, as in Node: in which order it hears, who answers, and what becomes of failures."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from tests.namespaces.standins import Standins
from trio_sio import BadMessage, Config, EncodeError, NoAck, Recovery, Route, RoutingTable, on_message
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet
from trio_sio.testing import open_test_server
from trio_sio.testing.strict import StrictSocket

Clock = trio.testing.MockClock
CallNext = Callable[[], Awaitable[None]]


class Controller:
    """Has one handler."""

    @on_message("routed")
    def routed(self) -> str:
        return "route"


@asynccontextmanager
async def pair(handler: Handler | None = None, config: Config | None = None) -> AsyncIterator[tuple[Socket, StrictSocket]]:
    """The two ends of one socket; events ``own...`` have no handler but what is registered on it."""
    handler = handler or Handler()
    handler.unhandled |= {"own", "own too"}
    async with open_namespaces(handler, config) as server, server.strict_client() as client:
        yield handler.socket, client


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


# Events.


async def test_a_function_gets_the_arguments_and_answers_with_what_it_returns() -> None:
    async with pair() as (socket, client):
        socket.on("own", lambda a, b: a + b)

        @socket.on("own too")
        async def two(*args: object) -> tuple[int, int]:
            await trio.lowlevel.checkpoint()
            return (len(args), 2)

        assert await client.emit_with_ack("own", 1, 2) == 3
        assert await client.emit_with_ack("own too", "x", b"\x00") == (2, 2)


async def test_the_routes_handler_comes_first_and_answers() -> None:
    heard = list[str]()

    async def receive(socket: Socket, packet: Packet) -> None:
        heard.append("route")
        assert packet.id is not None
        await socket._core.answer(packet.id, ("route",))

    async with pair(Handler(receive)) as (socket, client):
        for name in ("first", "second"):
            socket.on("both", partial(heard.append, name))
        socket.on("own", lambda: "first")
        socket.on("own", lambda: heard.append("own's second"))

        assert await client.emit_with_ack("both") == "route"
        assert heard == ["route", "first", "second"]
        assert await client.emit_with_ack("own") == "first"
        await settle()
        assert heard[3:] == ["own's second"]


async def test_they_take_turns_with_other_handlers(autojump_clock: Clock) -> None:
    heard = list[object]()
    async with pair() as (socket, client):

        async def slow(number: int) -> None:
            await trio.sleep(10 - number)
            heard.append(number)

        socket.on("own", slow)
        for number in range(3):
            await client.emit("own", number)
        await trio.sleep(100)

        assert heard == [0, 1, 2]


async def test_what_was_registered_can_be_forgotten() -> None:
    heard = list[str]()
    async with pair() as (socket, client):
        functions = [lambda name=name: heard.append(name) for name in "abc"]
        for function in functions:
            socket.on("own", function)
        socket.off("own", functions[1])
        await client.emit("own")
        await settle()
        assert heard == ["a", "c"]

        socket.off("own")
        socket.off("own")
        await client.emit("own")
        await settle()
        assert heard == ["a", "c"]
        assert socket._core.listeners is not None
        assert socket._core.listeners._functions == {}


async def test_what_once_waits_for_is_heard_by_everybody_else() -> None:
    heard = list[object]()
    async with pair() as (socket, client), trio.open_nursery() as nursery:
        socket.on_any(lambda event, *args: heard.append((event, *args)))
        socket.on("own", lambda: heard.append("on"))

        async def wait() -> None:
            heard.append(await socket.once("own"))

        nursery.start_soon(wait)
        await settle()
        await client.emit("own")
        await settle()

        assert heard in ([("own",), (), "on"], [("own",), "on", ()])


async def test_a_failure_is_logged_and_answered_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("a mistake of the application")

    async with pair() as (socket, client):
        socket.on("own", fail)
        socket.on("own too", lambda: {1, 2})  # which cannot be sent

        assert await client.emit_with_ack("own") == {"status": "error", "message": "Internal server error"}
        assert await client.emit_with_ack("own too") == {"status": "error", "message": "Internal server error"}
        assert client.connected
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        f"A function of socket.on failed on event {event!r}, socket {socket.id}" for event in ("own", "own too")
    ]


async def test_what_does_not_fit_is_named_in_the_answer_and_no_mistake_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(number: object) -> None:
        raise ExceptionGroup("", [BadMessage("Expected a number", "$[0]")])

    async with pair() as (socket, client):
        socket.on("own", refuse)
        with caplog.at_level(logging.INFO):
            assert await client.emit_with_ack("own", "x") == {"status": "error", "message": "Expected a number", "path": "$[0]"}
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", f"A function of socket.on refused event 'own' of socket {socket.id}: 'Expected a number' at '$[0]'")
    ]


@pytest.mark.parametrize(
    ("error", "config"),
    [(NoAck(), Config()), (ExceptionGroup("", [NoAck()]), Config()), (LookupError(), Config(error_acks=False))],
)
async def test_an_answer_can_be_left_out(error: Exception, config: Config, autojump_clock: Clock) -> None:
    def fail() -> None:
        raise error

    async with pair(config=config) as (socket, client):
        socket.on("own", fail)
        with pytest.raises(trio.TooSlowError):
            await client.emit_with_ack("own", timeout=5)


async def test_an_event_that_nobody_handles_is_refused_as_ever() -> None:
    sockets = list[Socket]()

    def make(socket: Socket) -> Controller:
        sockets.append(socket)
        return Controller()

    async with open_test_server(RoutingTable(Route("/", make))) as server, server.strict_client() as client:
        sockets[0].on("own", lambda: "own")

        assert await client.emit_with_ack("own") == "own"
        assert await client.emit_with_ack("routed") == "route"
        assert await client.emit_with_ack("other") == {"status": "error", "message": "Unknown event"}


@pytest.mark.parametrize(
    ("event", "function", "error"),
    [
        ("disconnect", print, "No client emits 'disconnect', which is reserved; for the end of a socket register an on_disconnection hook"),
        (print, print, "names no event; write `socket.on"),
        ("x", "y", "'y' is not a function"),
    ],
)
def test_what_can_never_be_called_is_refused(event: Any, function: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        Standins(1).sockets[0].on(event, function)


# Every event.


async def test_on_any_hears_every_event_as_soon_as_it_arrives(autojump_clock: Clock) -> None:
    heard = list[tuple[object, ...]]()

    async def receive(socket: Socket, packet: Packet) -> None:
        heard.append(("handled", packet.data[0]))
        await trio.sleep(10)

    async with pair(Handler(receive)) as (socket, client):
        callback = socket.on_any(lambda event, *args: heard.append((event, *args)))
        await client.emit("one", 1, b"\x00")
        await client.emit("two")
        await settle()
        assert heard == [("one", 1, b"\x00"), ("handled", "one"), ("two",)]

        socket.off_any(callback)
        await client.emit("three")
        await trio.sleep(100)
        assert heard[3:] == [("handled", "two"), ("handled", "three")]


@pytest.mark.hostile("P29")
async def test_callbacks_that_raise_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: str, *args: object) -> None:
        raise LookupError("a mistake of the application")

    async with pair() as (socket, client):
        socket.on_any(fail)
        socket.on_any_outgoing(fail)
        socket.on("own", lambda: "answer")

        assert await client.emit_with_ack("own") == "answer"
        await socket.emit("direct")
        await socket.namespace.emit("broadcast")
        assert [(await client.receive()).name for _ in range(2)] == ["direct", "broadcast"]
        assert client.connected
    assert [record.message for record in caplog.records] == [
        "A function that was given to on_any failed.",
        "A function that was given to on_any_outgoing failed.",
        "A function that was given to on_any_outgoing failed.",
    ]


async def test_callbacks_must_not_be_async() -> None:
    async def wait(*args: object) -> None: ...

    (socket,) = Standins(1).sockets
    with pytest.raises(TypeError, match="on_any wants a function that is not async"):
        socket.on_any(wait)
    with pytest.raises(TypeError, match="on_any_outgoing wants a function, not 5"):
        socket.on_any_outgoing(5)  # type: ignore[type-var]


@pytest.mark.parametrize("recovery", [None, Recovery()])
async def test_on_any_outgoing_hears_what_is_emitted_to_this_socket(recovery: Recovery | None, autojump_clock: Clock) -> None:
    heard, others = list[tuple[object, ...]](), list[str]()
    handler = Handler()
    config = Config(connection_state_recovery=recovery)
    async with open_namespaces(handler, config) as server, server.strict_client(), server.strict_client():
        socket, other = handler.sockets
        callback = socket.on_any_outgoing(lambda *event: heard.append(event))
        other.on_any_outgoing(lambda event, *args: others.append(event))
        await socket.join("a")
        await socket.emit("emit", {"n": 1})
        socket.emit_nowait("emit_nowait")
        with pytest.raises(trio.TooSlowError):
            await socket.emit_with_ack("emit_with_ack", timeout=1)
        await socket.namespace.emit("everybody", b"\x00")
        await other.to("a").emit("room")
        await socket.volatile().emit("volatile")
        with pytest.raises(trio.TooSlowError):
            await socket.namespace.to("a").timeout(1).emit_with_ack("broadcast with ack")
        await socket.broadcast.emit("others")
        await socket.namespace.except_("a").emit("others")
        with pytest.raises(EncodeError):
            await socket.emit("disconnect")
        expected = ["emit", "emit_nowait", "emit_with_ack", "everybody", "room", "volatile", "broadcast with ack"]
        assert [event for event, *_ in heard] == expected
        assert (heard[0][1:], heard[3][1:]) == (({"n": 1},), (b"\x00",))
        assert others == ["everybody", "others", "others"]

        socket.off_any_outgoing(callback)
        await socket.emit("later")
        assert len(heard) == len(expected)
        assert len(socket.namespace.taps) == 1
        await other.disconnect()
        assert socket.namespace.taps == set()


async def test_who_is_not_connected_yet_gets_no_broadcast_so_none_is_heard() -> None:
    heard = list[str]()

    async def connect(socket: Socket, join: Callable[[], None]) -> None:
        socket.on_any_outgoing(lambda event, *args: heard.append(event))
        await socket.namespace.emit("too early")
        await socket.emit("held back")
        join()
        await socket.namespace.emit("in time")

    async with pair(Handler(connect=connect)) as (_, client):
        assert [(await client.receive()).name for _ in range(2)] == heard == ["held back", "in time"]


def test_who_has_gone_is_not_listened_for_again() -> None:
    standins = Standins(1)
    standins.leave(0)
    standins.sockets[0].on_any_outgoing(print)

    assert standins.namespace.taps == set()


# Middleware.


async def test_middleware_surrounds_the_handlers_and_may_change_what_they_get() -> None:
    heard = list[object]()

    async def receive(socket: Socket, packet: Packet) -> None:
        heard.append(packet.data)
        if packet.id is not None:
            await socket._core.answer(packet.id, ("route",))

    async with pair(Handler(receive)) as (socket, client):

        @socket.use
        async def outer(event: list[Any], call_next: CallNext) -> None:
            heard.append("outer")
            event.append("more")
            await call_next()
            heard.append("outer again")

        @socket.use
        async def inner(event: list[Any], call_next: CallNext) -> None:
            heard.append("inner")
            await call_next()

        socket.on_any(lambda *event: heard.append(event))
        socket.on("x", lambda *args: heard.append(args))
        assert await client.emit_with_ack("x", 1) == "route"
        await settle()

        assert heard == [("x", 1), "outer", "inner", ["x", 1, "more"], (1, "more"), "outer again"]


async def test_middleware_may_drop_an_event(autojump_clock: Clock) -> None:
    handler = Handler()
    async with pair(handler) as (socket, client):

        @socket.use
        async def even(event: list[Any], call_next: CallNext) -> None:
            if event[1] % 2 == 0:
                await call_next()

        for number in range(4):
            await client.emit("x", number)
        await settle()

        assert handler.events == [["x", 0], ["x", 2]]


async def test_middleware_that_raises_drops_the_event_and_the_client_is_told(caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler()
    async with pair(handler) as (socket, client):

        @socket.use
        async def fail(event: list[Any], call_next: CallNext) -> None:
            raise LookupError("a mistake of the application")

        assert await client.emit_with_ack("x") == {"status": "error", "message": "Internal server error"}
        assert client.connected
        assert handler.events == []
    assert f"Middleware of socket.use failed on event 'x', socket {socket.id}" in caplog.messages


@pytest.mark.parametrize("left", [[], [None, 1], [["x"]]], ids=repr)
async def test_middleware_that_takes_the_name_away_drops_the_event_and_the_client_is_told(
    left: list[Any], caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    handler = Handler()
    async with pair(handler) as (socket, client):

        @socket.use
        async def spoil(event: list[Any], call_next: CallNext) -> None:
            event[:] = left
            await call_next()

        assert await client.emit_with_ack("x") == {"status": "error", "message": "Internal server error"}
        assert handler.events == []
    assert "leave its name, a string, in the first place" in caplog.text


async def test_an_event_is_not_handled_twice(caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler()
    async with pair(handler) as (socket, client):

        @socket.use
        async def twice(event: list[Any], call_next: CallNext) -> None:
            await call_next()
            await call_next()

        await client.emit("x")
        await settle()

        assert handler.events == [["x"]]
    assert "call_next() was called twice; an event is handled once." in caplog.text


def test_middleware_is_a_function() -> None:
    with pytest.raises(TypeError, match="'x' is not a function, so it cannot be middleware"):
        Standins(1).sockets[0].use("x")  # type: ignore[arg-type]


def test_who_does_not_listen_pays_nothing() -> None:
    assert Standins(1).sockets[0]._core.listeners is None
