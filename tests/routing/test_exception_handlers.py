"""What happens when a handler raises, or a message does not fit."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_sio.config import Config
from trio_sio.errors import BadMessage, ConnectionRefused, NoAck
from trio_sio.namespaces.acks import Ack
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet, PacketType
from trio_sio.routing import Context, Next, Route, RoutingTable, on_disconnection, on_message
from trio_sio.routing.exception_handlers import ExceptionHandling, find_refusal, propagate
from trio_sio.routing.middleware import ExceptionHandlers
from trio_sio.server import Server
from trio_sio.testing import StrictSocket, open_test_server

INTERNAL_ERROR = {"status": "error", "message": "Internal server error"}


class Unencodable:
    pass


class CustomError(KeyError):
    pass


ERRORS: dict[str, BaseException] = {
    "KeyError": KeyError("secret"),
    "CustomError": CustomError(),
    "ValueError": ValueError(),
    "BadMessage": BadMessage("No such room", "$[0]"),
    "group of one": ExceptionGroup("", [ExceptionGroup("", [KeyError("k")])]),
    "group of two": ExceptionGroup("", [KeyError("k"), CustomError()]),
    "mixed group": ExceptionGroup("", [KeyError(), ValueError()]),
    "NoAck in a group": ExceptionGroup("", [NoAck(), NoAck()]),
    "BadMessage in a group": ExceptionGroup("", [BadMessage("In a group")]),
}


class Failing:
    @on_message("fail")
    async def fail(self, what: str) -> None:
        raise ERRORS[what]

    @on_message("fail plainly")
    def fail_plainly(self, what: str) -> None:
        raise ERRORS[what]

    @on_message("fail with ctx")
    async def fail_with_ctx(self, ctx: Context, what: str) -> None:
        raise ERRORS[what]

    @on_message("ask")
    async def ask(self, socket: Socket) -> object:
        return await socket.emit_with_ack("question")

    @on_message("ask twice")
    async def ask_twice(self, socket: Socket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.emit_with_ack, "question")
            nursery.start_soon(socket.emit_with_ack, "question")

    @on_message("unencodable")
    async def unencodable(self) -> object:
        return Unencodable()

    @on_message("sum")
    async def sum(self, a: int, b: int) -> int:
        return a + b

    @on_message("points")
    async def points(self, name: str, point: dict[str, int]) -> None: ...

    @on_message("5")
    async def five(self) -> str:
        return "five"

    @on_message("ok")
    async def ok(self) -> str:
        return "ok"


@asynccontextmanager
async def open_client(config: Config | None = None, /, **options: Any) -> AsyncIterator[StrictSocket]:
    async with open_test_server(RoutingTable(Route("/", Failing), **options), config=config) as server, server.strict_client() as client:
        yield client


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.hostile("P04")
@pytest.mark.parametrize("event", ["fail", "fail plainly", "fail with ctx"])
async def test_a_failure_is_logged_once_and_answered_without_details(event: str, caplog: pytest.LogCaptureFixture) -> None:
    async with open_client() as client:
        assert await client.emit_with_ack(event, "KeyError") == INTERNAL_ERROR
        (record,) = errors(caplog)
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert record.exc_info[1] is ERRORS["KeyError"]
        message = record.getMessage()
        assert repr(event) in message
        assert "Failing.fail" in message
        # The connection lives, and the next event is handled.
        assert await client.emit_with_ack("ok") == "ok"


async def test_a_failure_without_an_ack_is_logged_and_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    async with open_client() as client:
        await client.emit("fail", "KeyError")
        assert await client.emit_with_ack("ok") == "ok"
        assert client.pending == ()
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("event", ["ask", "ask twice"])
@pytest.mark.parametrize("orderly", [True, False])
async def test_a_client_that_leaves_while_it_is_asked_is_nobodys_mistake(
    event: str, orderly: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "trio_sio.routing"):
        async with open_client() as client:
            await client.emit(event)
            await client.once("question")
            await (client.connection.close() if orderly else client.connection.abort())
            await wait_all_tasks_blocked()
    (record,) = [record for record in caplog.records if record.name == "trio_sio.routing"]
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert f"on event {event!r}: the client left" in record.getMessage()


async def test_a_result_that_cannot_be_encoded_is_a_failure_of_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    async with open_client() as client:
        assert await client.emit_with_ack("unencodable") == INTERNAL_ERROR
    assert "Failing.unencodable failed" in errors(caplog)[0].getMessage()


@pytest.mark.parametrize(
    ("event", "args", "answer"),
    [
        ("sum", (1,), {"message": "Event 'sum' takes 2 arguments, but 1 was given"}),
        ("sum", (1, "2"), {"message": "Expected `int`, got `str`", "path": "$[1]"}),
        ("points", ("a", {"n": "x"}), {"message": "Expected `int`, got `str`", "path": "$[1][...]"}),
        ("fail", ("BadMessage",), {"message": "No such room", "path": "$[0]"}),
        ("fail", ("BadMessage in a group",), {"message": "In a group"}),
    ],
)
async def test_a_message_that_does_not_fit_is_explained(
    event: str, args: tuple[object, ...], answer: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_client() as client:
        with caplog.at_level(logging.INFO, "trio_sio.routing"):
            assert await client.emit_with_ack(event, *args) == {"status": "error", **answer}
    (record,) = [record for record in caplog.records if record.name == "trio_sio.routing"]
    assert record.levelno == logging.INFO
    assert record.exc_info is None


async def test_one_argument_too_many_is_dropped() -> None:
    async with open_client() as client:
        assert await client.emit_with_ack("sum", 1, 2, 3) == 3


async def test_an_unknown_event_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with open_client() as client:
        with caplog.at_level(logging.DEBUG, "trio_sio.routing"):
            await client.emit("x" * 200)
            assert await client.emit_with_ack("nobody") == {"status": "error", "message": "Unknown event"}
    first, second = [record for record in caplog.records if record.name == "trio_sio.routing"]
    assert first.levelno == second.levelno == logging.DEBUG
    assert "x" * 70 in first.getMessage()
    assert "x" * 80 not in first.getMessage()


@pytest.mark.hostile("S20", "S26")
async def test_event_names_are_looked_up_among_events_only() -> None:
    async with open_test_server(RoutingTable(Route("/", Failing))) as server, server.strict_client() as client:
        for name in ("fail_plainly", "__class__", "__init__", "__proto__", "toString", ""):
            assert await client.emit_with_ack(name) == {"status": "error", "message": "Unknown event"}
        assert await client.emit_with_ack("5") == "five"
        async with await server.websocket() as websocket:
            await websocket.receive()
            await websocket.send("40")
            await websocket.receive()
            await websocket.send("421[5]")
            assert await websocket.receive() == '431["five"]'


@pytest.mark.parametrize("args", [("fail", "KeyError"), ("sum", 1), ("nobody",), ("unencodable",)])
async def test_error_acks_can_be_switched_off(args: tuple[str, ...], autojump_clock: MockClock) -> None:
    async with open_client(Config(error_acks=False)) as client:
        with pytest.raises(trio.TooSlowError):
            await client.emit_with_ack(*args, timeout=1)
        assert await client.emit_with_ack("ok") == "ok"


def answer_with(value: object) -> ExceptionHandlers:
    return {KeyError: lambda ctx, exc: value}


async def test_the_value_of_an_exception_handler_is_the_ack(caplog: pytest.LogCaptureFixture) -> None:
    async def missing(ctx: Context, exc: KeyError) -> object:
        return {"event": ctx.event, "args": list(ctx.args), "exc": repr(exc)}

    async with open_client(Config(error_acks=False), exception_handlers={KeyError: missing}) as client:
        assert await client.emit_with_ack("fail", "KeyError") == {"event": "fail", "args": ["KeyError"], "exc": "KeyError('secret')"}
        assert await client.emit_with_ack("fail", "CustomError") == {"event": "fail", "args": ["CustomError"], "exc": "CustomError()"}
        await client.emit("fail", "KeyError")
        assert await client.emit_with_ack("ok") == "ok"
        assert client.pending == ()
    assert not errors(caplog)


async def test_a_tuple_from_an_exception_handler_is_several_values() -> None:
    async with open_client(exception_handlers=answer_with((1, 2))) as client:
        assert await client.emit_with_ack("fail", "KeyError") == (1, 2)


async def test_an_exception_handler_that_returns_none_does_not_look_like_success(caplog: pytest.LogCaptureFixture) -> None:
    async with open_client(exception_handlers={KeyError: lambda ctx, exc: None, BadMessage: lambda ctx, exc: None}) as client:
        assert await client.emit_with_ack("fail", "KeyError") == INTERNAL_ERROR
        assert await client.emit_with_ack("fail", "BadMessage") == {"status": "error", "message": "No such room", "path": "$[0]"}
    assert not errors(caplog)


async def test_an_exception_handler_can_leave_the_ack_out(autojump_clock: MockClock) -> None:
    def silent(ctx: Context, exc: KeyError) -> None:
        raise NoAck

    async with open_client(exception_handlers={KeyError: silent}) as client:
        with pytest.raises(trio.TooSlowError):
            await client.emit_with_ack("fail", "KeyError", timeout=1)


@pytest.mark.hostile("P29")
async def test_an_exception_handler_that_fails_is_logged_itself(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    def broken(ctx: Context, exc: KeyError) -> None:
        raise ValueError("broken")

    async with open_client(exception_handlers={KeyError: broken, ValueError: lambda ctx, exc: Unencodable()}) as client:
        assert await client.emit_with_ack("fail", "KeyError") == INTERNAL_ERROR
        assert "The exception handler broken" in errors(caplog)[0].getMessage()
        with pytest.raises(trio.TooSlowError):
            await client.emit_with_ack("fail", "ValueError", timeout=1)
        assert "The answer of an exception handler for Failing.fail failed" in errors(caplog)[1].getMessage()
        assert await client.emit_with_ack("ok") == "ok"


async def test_an_unfit_message_can_be_handled() -> None:
    async with open_client(exception_handlers={BadMessage: lambda ctx, exc: exc.path}) as client:
        assert await client.emit_with_ack("sum", 1, "x") == "$[1]"


class Layered:
    @on_message("event", exception_handlers={KeyError: lambda ctx, exc: "event"})
    async def event(self) -> None:
        raise CustomError

    @on_message("route")
    async def route(self) -> None:
        raise CustomError

    @on_message("table")
    async def table(self) -> None:
        raise ValueError

    @on_message("ack object")
    async def ack_object(self, ack: Ack) -> None:
        raise ValueError


async def test_the_closest_layer_decides_then_the_closest_type() -> None:
    table = RoutingTable(
        Route("/", Layered, exception_handlers={LookupError: lambda ctx, exc: "route far", KeyError: lambda ctx, exc: "route"}),
        exception_handlers={CustomError: lambda ctx, exc: "table", Exception: lambda ctx, exc: "anything"},
    )
    async with open_test_server(table) as server, server.strict_client() as client:
        assert await client.emit_with_ack("event") == "event"
        assert await client.emit_with_ack("route") == "route"
        assert await client.emit_with_ack("table") == "anything"
        assert await client.emit_with_ack("ack object") == "anything"


async def test_middleware_sees_an_exception_before_the_exception_handlers_do() -> None:
    async def translate(ctx: Context, call_next: Next) -> object:
        try:
            return await call_next()
        except ValueError:
            raise KeyError from None

    async with open_client(message_middleware=[translate], exception_handlers=answer_with("translated")) as client:
        assert await client.emit_with_ack("fail", "ValueError") == "translated"


# Groups.


@pytest.mark.hostile("P05")
async def test_exception_handlers_look_through_groups(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    async with open_client(exception_handlers={KeyError: lambda ctx, exc: repr(exc)}) as client:
        assert await client.emit_with_ack("fail", "group of one") == "KeyError('k')"
        assert await client.emit_with_ack("fail", "group of two") == "KeyError('k')"
        assert not errors(caplog)
        assert await client.emit_with_ack("fail", "mixed group") == INTERNAL_ERROR
        assert len(errors(caplog)) == 1
        with pytest.raises(trio.TooSlowError):
            await client.emit_with_ack("fail", "NoAck in a group", timeout=1)


def test_a_group_goes_to_the_handler_that_is_right_for_all_of_it() -> None:
    def for_keys(ctx: Context, exc: Exception) -> None: ...
    def for_all(ctx: Context, exc: Exception) -> None: ...

    failures = ExceptionHandling({KeyError: for_keys}, {Exception: for_all})
    key, group, mixed = KeyError(), ExceptionGroup("", [CustomError(), KeyError()]), ExceptionGroup("", [KeyError(), ValueError()])
    assert failures.find(key) == (for_keys, key)
    assert failures.find(group) == (for_keys, group.exceptions[0])
    assert failures.find(mixed) == (for_all, mixed)
    others = ExceptionGroup("", [ValueError(), OSError()])
    assert failures.find(others) == (for_all, others)
    assert ExceptionHandling().find(group) is None


def test_a_refusal_is_found_in_a_group() -> None:
    refusal = ConnectionRefused("no")
    assert find_refusal(ExceptionGroup("", [ExceptionGroup("", [refusal])])) is refusal
    assert find_refusal(ExceptionGroup("", [refusal, ConnectionRefused("other")])) is refusal
    mixed = ExceptionGroup("", [refusal, ValueError()])
    assert find_refusal(mixed) is mixed


@pytest.mark.hostile("P05")
def test_a_group_is_split_into_what_is_logged_and_what_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    socket: Any = type("StandIn", (), {"id": "sid"})
    stop = KeyboardInterrupt()
    with pytest.RaisesGroup(KeyboardInterrupt) as caught:
        propagate(BaseExceptionGroup("", [ValueError("x"), stop]), Context(socket, "e"), "C.handler")
    assert caught.value.exceptions == (stop,)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ExceptionGroup)


class Interrupted:
    @on_message("group")
    async def group(self) -> None:
        raise BaseExceptionGroup("", [ValueError("x"), KeyboardInterrupt()])

    @on_message("plain")
    def plain(self) -> None:
        raise SystemExit

    @on_disconnection
    async def gone(self) -> None:
        raise BaseExceptionGroup("", [ValueError("x"), KeyboardInterrupt()])


@pytest.mark.hostile("P05")
async def test_the_end_of_the_program_is_nobodys_to_handle(caplog: pytest.LogCaptureFixture) -> None:
    ((_, routes),) = RoutingTable(Route("/", Interrupted()), exception_handlers={Exception: lambda ctx, exc: "handled"}).entries
    socket: Any = SimpleNamespace(id="sid", recovered=False)
    core: Any = SimpleNamespace(socket=socket, namespace=SimpleNamespace(instrument=None), rooms=SimpleNamespace(session=None))
    handler = routes.open(core)
    await handler.connect(lambda: None)
    with pytest.raises(SystemExit):
        await handler.receive(Packet(PacketType.EVENT, "/", ["plain"], None, 0, 0))
    assert not caplog.records
    with pytest.RaisesGroup(KeyboardInterrupt):
        await handler.receive(Packet(PacketType.EVENT, "/", ["group"], 1, 0, 0))
    with pytest.RaisesGroup(KeyboardInterrupt):
        await handler.disconnect("transport close")
    assert [record.getMessage().partition(" failed")[0] for record in caplog.records] == ["Interrupted.group", "Interrupted.gone"]


class Cleanup:
    @on_message("work")
    async def work(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fail_when_cancelled)
            await trio.sleep_forever()

    async def fail_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleanup")


@pytest.mark.hostile("P05")
async def test_an_error_next_to_a_cancellation_is_logged_and_the_cancellation_passes(caplog: pytest.LogCaptureFixture) -> None:
    socket_server = Server(RoutingTable(Route("/", Cleanup), Route("/", Failing)))
    async with open_test_server(socket_server) as server, server.strict_client() as client, server.strict_client() as other:
        await client.emit("work")
        await wait_all_tasks_blocked()
        (socket,) = [socket for socket in socket_server.of("/").sockets.values() if socket.id == client.id]
        await socket.disconnect()
        assert (await client.closed()).disconnected
        assert await other.emit_with_ack("ok") == "ok"
    (record,) = errors(caplog)
    assert "Cleanup.work failed on event 'work'" in record.getMessage()
