"""A client that takes part and leaves: events that are waited for, the end, and mistakes; on sessions without a wire."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import trio
import trio.testing

from tests.client.connecting import connected, gone, start
from tests.client.fake_session import FakeServer
from trio_sio.client.events import Event
from trio_sio.client.states import Ended
from trio_sio.errors import ConfigurationError, Disconnected

Clock = trio.testing.MockClock  # every time-out passes at once


# Waiting for events.


async def test_once_and_receive(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.deliver('2["a",1]', '27["b",2]', '2["c",3]')
        await session.wait_read()

        assert await socket.once("b") == (2,)
        assert await socket.receive() == Event("a", (1,))
        assert socket.pending == (Event("c", (3,)),)
        await trio.testing.wait_all_tasks_blocked()
        assert list(session.sent) == ["37[]"]
        with pytest.raises(trio.TooSlowError):
            await socket.once("b", timeout=3)
        assert trio.current_time() == 3
        assert await socket.receive(timeout=0) == Event("c", (3,))
        with pytest.raises(trio.TooSlowError):
            await socket.receive(timeout=0)


@pytest.mark.hostile("R52")
async def test_the_handler_answers_what_once_heard(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        waiters = [await start(nursery, partial(socket.once, "a")) for _ in range(2)]
        socket.on("a", lambda number: number + 1)
        session.deliver('27["a",1]')
        await session.wait_read()
        assert [waiter.result for waiter in waiters] == [(1,), (1,)]
        assert list(session.sent) == ["37[2]"]


async def test_once_waits_across_a_reconnection(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, _), trio.open_nursery() as nursery:
        once = await start(nursery, partial(socket.once, "a"))
        await gone(socket, server)
        again = await server.wait_session(2)
        await again.next_sent()
        again.deliver('2["a",1]')
        await once.done.wait()
        assert once.result == (1,)


async def test_iterating_ends_with_the_socket(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        socket.on("handled", print)
        session.deliver('2["a"]', '2["b"]', '2["handled"]', '2["c"]', "1")

        assert [event.name async for event in socket] == ["a", "b", "c"]
        assert not socket.connected


async def test_everybody_who_waits_hears_of_the_end(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        waits = [await start(nursery, call) for call in (partial(socket.once, "a"), socket.receive, partial(socket.emit_with_ack, "a"))]
        closed = await start(nursery, socket.closed)
        session.deliver("1")
        for wait in waits:
            await wait.done.wait()
            assert isinstance(wait.error, Disconnected)
            assert "(io server disconnect)" in str(wait.error)
        await closed.done.wait()
        assert closed.result == Ended("io server disconnect")
        for call in (partial(socket.emit, "a"), partial(socket.once, "a"), socket.receive, partial(socket.volatile().emit, "a")):
            with pytest.raises(Disconnected):
                await call()


async def test_what_came_before_the_end_can_still_be_taken(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        handled: list[int] = []
        socket.on("handled", handled.append)
        session.deliver('2["a",1]', '2["handled",2]', "1")
        await socket.closed()

        assert await socket.once("a") == (1,)
        await trio.testing.wait_all_tasks_blocked()
        assert handled == [2]


async def test_waiting_for_the_end_has_a_limit(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, _session):
        with pytest.raises(trio.TooSlowError):
            await socket.closed(timeout=3)


# Leaving.


async def test_disconnecting_sends_what_waits_then_disconnect(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        session.take_room(0)
        await socket.emit("a")
        await socket.emit("b")
        disconnect = await start(nursery, socket.disconnect)
        with pytest.raises(Disconnected):
            await socket.emit("c")
        assert not socket.connected
        session.take_room(10)
        await disconnect.done.wait()

        assert list(session.sent) == ['2["a"]', '2["b"]', "1"]
        assert await socket.closed() == Ended("io client disconnect")
        await socket.disconnect()
        assert list(session.sent) == ['2["a"]', '2["b"]', "1"]


async def test_leaving_the_block_disconnects(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager:
        async with manager.socket() as socket:
            await socket.emit("a")
        assert list(server.session.sent) == ["0", '2["a"]', "1"]
        assert server.session.closed is None
    assert server.session.closed is not None


async def test_a_server_that_takes_nothing_holds_nobody_up(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.take_room(0)
        await socket.emit("a")
        await socket.disconnect()

        assert trio.current_time() == 5
        assert session.closed is not None


async def test_a_handler_may_disconnect(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        socket.on("bye", socket.disconnect)
        session.deliver('2["bye"]')
        assert await socket.closed() == Ended("io client disconnect")
        assert list(session.sent) == ["1"]


async def test_a_handler_that_is_left_alone_is_no_error(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):

        @socket.on("a")
        async def handle() -> None:
            await trio.sleep(1)
            await socket.emit("b")

        session.deliver('21["a"]')
        await session.wait_read()
        await socket.disconnect()
        await trio.sleep(2)
        assert list(session.sent) == ["1"]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def fail_when_cancelled() -> None:
    """As a function does whose clean-up has a bug: what comes out is a group of that and the cancellation."""

    async def clean_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("the clean-up failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(clean_up)
        nursery.start_soon(trio.sleep_forever)


def errors_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("action", ["emit", "off", "on", "disconnect"])
@pytest.mark.parametrize("way", ["on", "on_any", "once"])
@pytest.mark.hostile("R51")
async def test_whoever_hears_may_call_back(way: str, action: str, caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        calls = list[object]()

        async def hear(*args: object) -> None:
            calls.append(args)
            match action:
                case "emit":
                    socket.emit_nowait("nested")
                case "off":
                    socket.off("a", hear)
                    socket.off(None, hear)
                case "on" if len(calls) == 1:
                    socket.on("a", hear)
                case "disconnect":
                    await socket.disconnect()

        async def wait() -> None:
            await hear(*await socket.once("a"))

        if way == "once":
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
        elif way == "on":
            socket.on("a", hear)
        else:
            socket.on_any(hear)
        session.deliver('2["a"]')
        await session.wait_read()
        session.deliver('2["a"]')
        await session.wait_read()
        stays = way != "once" and action != "off"
        expected = {"emit": 1 + stays, "off": 1, "on": 1 + (2 if stays else 1), "disconnect": 1}[action]
        assert len(calls) == expected
        assert socket.connected == (action != "disconnect")
    assert not errors_of(caplog)


@pytest.mark.hostile("R50")
async def test_a_handler_whose_clean_up_fails_leaves_the_block_as_it_is(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        socket.on("a", fail_when_cancelled)
        session.deliver('2["a"]')
        await session.wait_read()
    (record,) = errors_of(caplog)
    assert record.getMessage() == "A handler failed on event 'a' in namespace '/'"
    assert record.exc_info is not None
    assert "the clean-up failed" in str(record.exc_text)


@pytest.mark.hostile("R50")
async def test_nor_does_the_one_of_a_handler_hide_what_the_block_raises(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    with pytest.raises(KeyError):
        async with connected() as (socket, _, session):
            socket.on("a", fail_when_cancelled)
            session.deliver('2["a"]')
            await session.wait_read()
            raise KeyError
    assert len(errors_of(caplog)) == 1


@pytest.mark.hostile("R50")
async def test_credentials_whose_clean_up_fails_do_no_more_than_time_out(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    server = FakeServer()
    waits = False

    async def credentials() -> dict[str, object]:
        if waits:
            await fail_when_cancelled()
        return {}

    async with server.manager(connect_timeout=3) as manager, manager.socket(auth=credentials) as socket:
        waits = True
        server.session.lose()
        await server.wait_session(2)
        await trio.sleep(2)
        waits = False
        await server.wait_session(3)
        await trio.testing.wait_all_tasks_blocked()
        assert socket.connected
    (record,) = errors_of(caplog)
    assert record.getMessage() == "The function that has the credentials for namespace '/' failed when it was cancelled."


async def test_that_the_socket_is_over_is_no_error_in_a_group_either(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):

        @socket.on("a")
        async def handle() -> None:
            await trio.sleep(1)
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(socket.emit, "b")

        session.deliver('21["a"]')
        await session.wait_read()
        await socket.disconnect()
        await trio.sleep(2)
    assert not errors_of(caplog)


async def test_an_exception_in_the_block_comes_out_as_it_is_and_still_tells_the_server(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager:
        with pytest.raises(KeyError):
            async with manager.socket():
                raise KeyError
        assert list(server.session.sent) == ["0", "1"]
        server.session.sent.clear()
        with trio.move_on_after(1):
            async with manager.socket():
                await trio.sleep_forever()
        assert list(server.session.sent) == ["0", "1"]


async def test_mistakes(autojump_clock: Clock) -> None:
    async with FakeServer().manager() as manager:
        for namespace in ("", "chat", "/a,b"):
            with pytest.raises(ConfigurationError, match="is no namespace"):
                async with manager.socket(namespace):
                    pass
        with pytest.raises(ConfigurationError, match=r"^retries is -1"):
            async with manager.socket(retries=-1):
                pass
        with pytest.raises(ConfigurationError, match=r"^ack_timeout is 0"):
            async with manager.socket(ack_timeout=0):
                pass
        async with manager.socket() as socket:
            assert repr(socket) == "<ClientSocket id1 '/' connected>"
            with pytest.raises(ConfigurationError, match="has a socket on this connection already"):
                async with manager.socket():
                    pass
