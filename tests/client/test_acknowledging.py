"""Handlers of a client: in order, one at a time, and what they return acknowledges."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from tests.client.connecting import connected, gone
from trio_sio.client import sending
from trio_sio.client.events import Event

Clock = trio.testing.MockClock  # every time-out passes at once


async def test_what_a_handler_returns_acknowledges(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        for result in (None, 0, (1, 2), (), [1, 2], b"x"):
            socket.on("a", lambda result=result: result)
            session.deliver('27["a"]')
            await session.wait_read()
            socket.off("a")
        assert list(session.sent) == ["37[null]", "37[0]", "37[1,2]", "37[]", "37[[1,2]]", '61-7[{"_placeholder":true,"num":0}]', b"x"]


async def test_several_handlers_acknowledge_once(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        seen: list[object] = []
        socket.on_any(lambda *args: seen.append(args))
        socket.on("a", seen.append)
        socket.on("a", lambda x: x)
        socket.on("a", lambda x: -x)
        session.deliver('27["a",5]')
        await session.wait_read()

        assert seen == [("a", 5), 5]
        assert list(session.sent) == ["37[5]"]


async def test_on_is_a_decorator_and_finds_what_came_before(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.deliver('2["welcome",1]', '2["other"]')
        await session.wait_read()
        seen: list[object] = []

        @socket.on("welcome")
        async def welcome(x: int) -> None:
            seen.append(x)

        session.deliver('2["welcome",2]')
        await session.wait_read()
        assert seen == [1, 2]
        assert socket.pending == (Event("other", ()),)


async def test_handlers_run_one_at_a_time_in_order(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        log: list[str] = []

        @socket.on_any
        async def handle(name: str) -> None:
            log.append(f"{name} begins")
            await trio.sleep(1)
            log.append(f"{name} ends")

        session.deliver('2["a"]', '2["b"]')
        await session.wait_read()
        await trio.sleep(2.5)
        assert log == ["a begins", "a ends", "b begins", "b ends"]


async def test_a_handler_may_ask_and_wait(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        results: list[object] = []

        @socket.on("a")
        async def handle() -> None:
            results.append(await socket.emit_with_ack("question"))
            results.append(await socket.once("event"))

        session.deliver('2["a"]')
        assert await session.next_sent() == '20["question"]'
        session.deliver('30["answer"]')
        await session.wait_read()
        session.deliver('2["event",1]')
        await session.wait_read()
        assert results == ["answer", (1,)]


async def test_a_handler_that_fails_is_logged_and_answers_nothing(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        socket.on("a", lambda: 1 / 0)
        socket.on("cannot be sent", object)
        socket.on("b", lambda: "fine")
        session.deliver('21["a"]', '22["cannot be sent"]', '23["b"]')
        await session.wait_read()

        assert list(session.sent) == ['33["fine"]']
        assert [record.getMessage()[:40] for record in caplog.records if record.levelno == logging.ERROR] == [
            "A handler failed on event 'a' in namespa",
            "What a handler of event 'cannot be sent'",
        ]


async def test_another_handler_answers_for_one_that_fails(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        socket.on("a", lambda: 1 / 0)
        socket.on("a", lambda: "fine")
        session.deliver('21["a"]')
        await session.wait_read()
        assert list(session.sent) == ['31["fine"]']


async def test_an_event_is_acknowledged_where_it_came_from_or_not_at_all(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session):

        @socket.on("a")
        async def handle() -> str:
            await trio.sleep(5)
            return "too late"

        session.deliver('27["a"]', '28["kept"]')
        await session.wait_read()
        await gone(socket, server)
        await trio.sleep(10)
        assert await socket.once("kept") == ()
        assert list(server.session.sent) == ["0"]
        assert server.session is not session


async def test_an_event_is_not_acknowledged_by_the_next_life_of_its_socket(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):

        @socket.on("a")
        async def handle() -> str:
            await trio.sleep(5)
            return "too late"

        session.deliver('27["a"]', '28["kept"]')
        await session.wait_read()
        await socket.disconnect()
        await socket.connect()
        await trio.sleep(10)
        assert await socket.once("kept") == ()
        assert list(session.sent) == ["1", "0"]


async def test_an_acknowledgement_that_did_not_leave_in_time_never_does(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session):
        socket.on("a", lambda: "handled")
        session.take_room(0)
        session.deliver('27["a"]', '28["b"]')
        await session.wait_read()
        assert await socket.once("b") == ()
        await socket.emit("c")
        await gone(socket, server)

        again = await server.wait_session(2)
        assert [await again.next_sent() for _ in range(2)] == ["0", '2["c"]']
        await trio.testing.wait_all_tasks_blocked()
        assert not again.sent


async def test_handling_goes_on_while_nothing_can_be_sent(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session):
        handled: list[int] = []
        session.deliver('21["a",1]', '22["a",2]')
        await session.wait_read()
        await gone(socket, server)
        socket.emit_nowait("large", b"x" * sending.BYTES)
        socket.on("a", handled.append)
        await trio.testing.wait_all_tasks_blocked()
        assert handled == [1, 2]


async def test_an_event_without_handlers_any_more_is_kept(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):

        @socket.on("a")
        def handle() -> None:
            socket.off("a")

        session.deliver('2["a"]', '2["a"]')
        await session.wait_read()
        assert socket.pending == (Event("a", ()),)
