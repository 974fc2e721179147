"""A client whose handlers are slow, or whose server is, reads no further; nothing is lost."""

from __future__ import annotations

from functools import partial

import trio
import trio.testing

from tests.client.connecting import connected, start
from trio_sio.client import events, sending

Clock = trio.testing.MockClock  # every time-out passes at once


async def test_a_slow_handler_stops_the_reading_and_loses_nothing(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        go = trio.Event()
        handled: list[int] = []

        @socket.on("a")
        async def handle(number: int) -> None:
            await go.wait()
            handled.append(number)

        count = events.EVENTS * 3
        session.deliver(*(f'2["a",{number}]' for number in range(count)))
        await trio.testing.wait_all_tasks_blocked()
        # One is being handled.
        assert len(session.unread) == count - events.EVENTS - 1
        go.set()
        await session.wait_read()
        assert handled == list(range(count))


async def test_reading_goes_on_while_somebody_waits_for_what_is_behind(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        answers: list[object] = []

        @socket.on("a")
        async def handle(number: int) -> None:
            if number == 0:
                answers.append(await socket.emit_with_ack("question"))

        session.deliver(*(f'2["a",{number}]' for number in range(events.EVENTS * 2)))
        await trio.testing.wait_all_tasks_blocked()
        session.deliver('30["answer"]')
        await session.wait_read()
        assert answers == ["answer"]
        assert trio.current_time() == 0


async def test_but_not_without_any_bound(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:

        @socket.on("a")
        async def handle() -> None:
            await trio.sleep_forever()

        session.deliver(*['2["a"]'] * (events.EVENTS_WHILE_AWAITING + 100))
        await start(nursery, partial(socket.once, "never"))
        assert len(session.unread) == 99
        nursery.cancel_scope.cancel()


async def test_a_slow_iteration_stops_the_reading_until_it_is_left(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.deliver(*['2["a"]'] * 1_000)
        async for _ in socket:
            await trio.testing.wait_all_tasks_blocked()
            assert len(session.unread) == 1_000 - 1 - events.EVENTS
            assert socket.dropped == 0
            break
        await session.wait_read()
        assert len(socket.pending) == events.EVENTS
        assert socket.dropped == 1_000 - 1 - events.EVENTS
        assert trio.current_time() == 0


async def test_acknowledgements_that_the_server_does_not_take_stop_the_reading(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        taken = 0

        async def take_all() -> None:
            nonlocal taken
            async for _ in socket:
                taken += 1

        count = sending.PACKETS * 3
        session.take_room(0)
        await socket.emit("before")
        nursery.start_soon(take_all)
        session.deliver(*(f'2{number}["a"]' for number in range(count)))
        await trio.testing.wait_all_tasks_blocked()
        assert sending.PACKETS <= taken <= sending.PACKETS + events.EVENTS_WHILE_AWAITING
        assert len(session.unread) == count - taken

        session.take_room(count + 1)
        await trio.testing.wait_all_tasks_blocked()
        assert taken == count
        assert list(session.sent) == ['2["before"]', *(f"3{number}[]" for number in range(count))]
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


async def test_acknowledgements_that_went_with_their_connection_hold_nobody_up(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session), trio.open_nursery() as nursery:

        async def take_all() -> None:
            async for event in socket:
                names.append(event.name)  # noqa: PERF401  # one by one: the test looks before it ends

        names: list[str] = []
        session.take_room(0)
        await socket.emit("before")
        nursery.start_soon(take_all)
        session.deliver(*['27["a"]'] * (sending.PACKETS * 2))
        await trio.testing.wait_all_tasks_blocked()
        server.joins = False
        session.lose()
        again = await server.wait_session(2)
        assert await again.next_sent() == "0"
        # What a recovered socket missed comes before the answer to CONNECT.
        again.deliver('2["missed"]', '2["missed too"]', '0{"sid":"s"}')
        await trio.testing.wait_all_tasks_blocked()
        assert socket.connected
        assert await again.next_sent() == '2["before"]'
        assert names[-2:] == ["missed", "missed too"]
        assert (list(again.sent), trio.current_time()) == ([], 1)
        nursery.cancel_scope.cancel()


async def test_a_full_buffer_does_not_stop_the_reading(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.take_room(0)
        for _ in range(sending.PACKETS):
            socket.emit_nowait("a")
        session.deliver(*['27["b"]'] * 10)
        for _ in range(10):
            await socket.once("b", timeout=1)
