"""The time-outs: in order, cancellable, and one that fails does not stop the others."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_sio.concurrency.timers import Timers


@asynccontextmanager
async def open_timers() -> AsyncIterator[Timers]:
    timers = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        yield timers
        nursery.cancel_scope.cancel()


async def test_calls_come_in_the_order_in_which_they_are_due(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        start, calls = trio.current_time(), list[tuple[str, float]]()

        def call(name: str, seconds: float) -> None:
            timers.call_after(seconds, lambda: calls.append((name, trio.current_time() - start)))

        call("last", 30)
        await trio.testing.wait_all_tasks_blocked()  # it sleeps until then, and must be told of what is due sooner
        call("second", 10)
        call("third", 10)
        call("first", 5)
        await trio.sleep(100)

        assert calls == [("first", 5), ("second", 10), ("third", 10), ("last", 30)]
        assert len(timers) == 0


async def test_a_cancelled_call_does_not_come(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        calls = list[str]()
        cancelled = timers.call_after(1, lambda: calls.append("cancelled"))
        timers.call_after(2, lambda: calls.append("kept"))
        cancelled.cancel()
        cancelled.cancel()
        assert len(timers) == 1
        await trio.sleep(3)

        assert calls == ["kept"]


async def test_an_infinite_time_never_comes_and_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        timer = timers.call_after(math.inf, lambda: pytest.fail("it came"))
        await trio.sleep(80_000)

        assert len(timers) == 0
        timer.cancel()


async def test_a_call_that_raises_is_logged_and_the_next_one_comes(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_timers() as timers:
        calls = list[str]()
        timers.call_after(1, lambda: list[int]().remove(1))
        timers.call_after(1, lambda: calls.append("second"))
        await trio.sleep(2)

    assert calls == ["second"]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "A time-out's action failed; the server goes on.")
    ]


async def test_a_call_may_plan_the_next_one(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        times = list[float]()
        start = trio.current_time()

        def again() -> None:
            times.append(trio.current_time() - start)
            timers.call_after(1, again)

        again()
        await trio.sleep(3.5)

        assert times == [0, 1, 2, 3]


@pytest.mark.hostile("R71")
async def test_cancelled_calls_do_not_pile_up_behind_one_that_is_far_off(autojump_clock: trio.testing.MockClock) -> None:
    class Guarded:
        """What a call holds on to."""

        def call(self) -> None:
            pytest.fail("it was cancelled")

    async with open_timers() as timers:
        calls = list[str]()
        timers.call_after(5_000, lambda: calls.append("last"))
        timers.call_after(1, lambda: calls.append("first"))
        held = []
        for number in range(1_000):
            guarded = Guarded()
            held.append(weakref.ref(guarded))
            timers.call_after(100 + number % 7, guarded.call).cancel()
            del guarded
            assert len(timers) == 2
            assert len(timers._heap) <= 4
        assert not any(reference() for reference in held)
        await trio.sleep(10_000)

        assert calls == ["first", "last"]
        assert (len(timers), timers._heap) == (0, [])


async def test_the_price_of_cancelling_does_not_depend_on_how_many_calls_there_are(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        pending = [timers.call_after(1_000 + number, lambda: pytest.fail("it was cancelled")) for number in range(4_096)]
        rebuilt, heap = 0, timers._heap
        for timer in pending:
            timer.cancel()
            rebuilt, heap = rebuilt + (timers._heap is not heap), timers._heap

        # Each time there is half of it left.
        assert rebuilt == 12
        assert len(timers) == 0


async def test_what_is_pending_when_the_server_stops_is_let_go() -> None:
    async with open_timers() as timers:
        timer = timers.call_after(1_000, lambda: pytest.fail("it came"))
        await trio.testing.wait_all_tasks_blocked()

    assert timer.callback is None
    timer.cancel()
    assert (len(timers), timers._heap) == (0, [])
