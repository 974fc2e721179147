"""What becomes of an exception that the application raised in the name of a socket."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, Join, open_namespaces
from trio_sio import Disconnected
from trio_sio.errors import BadMessage
from trio_sio.namespaces.failures import error_object, quote
from trio_sio.namespaces.socket import Socket

Clock = trio.testing.MockClock

INTERNAL_ERROR = {"status": "error", "message": "Internal server error"}


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def fail_when_cancelled() -> None:
    """As a program does whose clean-up has a bug: what comes out is a group of that and the cancellation."""

    async def clean_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleanup")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(clean_up)
        nursery.start_soon(trio.sleep_forever)


async def ask_twice(socket: Socket) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(socket.emit_with_ack, "question")
        nursery.start_soon(socket.once, "answer")


WAYS = ["a task", "a function", "middleware"]


def run_in_the_name_of(socket: Socket, way: str, function: object) -> None:
    """Let ``function(socket)`` run for ``socket``, from the event ``own`` on."""
    assert callable(function)

    async def run(*_: object) -> None:
        await function(socket)

    if way == "a task":
        socket.on("own", lambda: socket.start_soon(run))
    elif way == "a function":
        socket.on("own", run)
    else:
        socket.use(run)


@pytest.mark.hostile("P05")
@pytest.mark.parametrize("way", WAYS)
async def test_an_error_next_to_a_cancellation_ends_this_socket_and_nobody_else(
    way: str, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    async def connect(socket: Socket, join: Join) -> None:
        join()
        run_in_the_name_of(socket, way, lambda _: fail_when_cancelled())

    handler, other = Handler(connect=connect), Handler()
    handler.unhandled = {"own"}
    async with open_namespaces({"/": other, "/own": handler}) as server, server.strict_client() as client:
        socket = await client.connection.join("/own")
        await socket.emit("own")
        await settle()
        await handler.socket.disconnect()
        await settle()

        assert handler.reasons == ["server namespace disconnect"]
        assert other.socket.connected
        assert client.connected
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "trio_sio.namespaces"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ExceptionGroup)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("function", [lambda socket: socket.emit_with_ack("question"), ask_twice], ids=["one question", "a group"])
async def test_that_the_client_left_is_no_error(
    way: str, function: object, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    caplog.set_level(logging.INFO, "trio_sio.namespaces")
    handler = Handler()
    handler.unhandled = {"own"}
    async with open_namespaces(handler) as server, server.strict_client() as client:
        run_in_the_name_of(handler.socket, way, function)
        client.on("question", trio.sleep_forever)
        await client.emit("own")
        await settle()
        await client.disconnect()
        await settle()

        assert handler.reasons == ["client namespace disconnect"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.INFO and record.name.startswith("trio_sio")]
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    assert "the client left meanwhile" in record.getMessage()
    assert handler.socket.id in record.getMessage()


@pytest.mark.parametrize("way", WAYS)
async def test_that_another_client_left_is_one(way: str, caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async def fail(socket: Socket) -> None:
        raise Disconnected("another socket")

    handler = Handler()
    handler.unhandled = {"own"}
    async with open_namespaces(handler) as server, server.strict_client() as client:
        run_in_the_name_of(handler.socket, way, fail)
        await client.emit("own")
        await settle()

        assert client.connected == (way != "a task")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info is not None


def test_what_leaves_the_server_about_an_error() -> None:
    assert error_object(ValueError("secret")) == INTERNAL_ERROR
    assert error_object(BadMessage("m")) == {"status": "error", "message": "m"}
    assert error_object(BadMessage("m", "$[0]")) == {"status": "error", "message": "m", "path": "$[0]"}


def test_what_clients_chose_is_escaped_and_cut() -> None:
    assert quote("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert len(quote("x" * 1_000_000)) == 80
    assert len(quote("\x00" * 100)) == 80
    assert len(quote(10**100)) == 80
