"""The time-outs: in order, cancellable, and one that fails does not stop the others."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_sio.engine.timers import Timers


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
