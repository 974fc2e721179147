"""Lines of alarms: they ring in order, at their time, and are set, moved and stopped without leaving anything behind."""

from __future__ import annotations

import gc
import math
import random
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_sio.concurrency.lines import Alarm, Line
from trio_sio.concurrency.timers import CALLS_PER_TURN, Timers


@asynccontextmanager
async def open_timers() -> AsyncIterator[Timers]:
    timers = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        yield timers
        nursery.cancel_scope.cancel()


async def rings_at(alarm: Alarm) -> float:
    with trio.fail_after(1_000):
        await alarm.wait()
    return trio.current_time()


async def test_alarms_ring_when_they_are_due_whoever_comes_first(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        rung = list[tuple[str, float]]()
        start, line, other = trio.current_time(), timers.line(), timers.line()

        async def ring(name: str, seconds: float, line: Line) -> None:
            alarm = Alarm()
            alarm.set(start + seconds, line)
            rung.append((name, await rings_at(alarm) - start))

        async with trio.open_nursery() as nursery:
            for name, seconds, where in [("d", 30, line), ("b", 10, line), ("e", 40, line), ("c", 20, other), ("a", 5, line)]:
                nursery.start_soon(ring, name, seconds, where)
                await trio.testing.wait_all_tasks_blocked()
            assert (timers.alarms, len(line), len(other), len(timers)) == (5, 4, 1, 0)

        assert rung == [("a", 5), ("b", 10), ("c", 20), ("d", 30), ("e", 40)]
        assert timers.alarms == 0


async def test_an_alarm_that_is_set_again_rings_then_and_only_then(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        start, alarm, sooner, later = trio.current_time(), Alarm(), timers.line(), timers.line()
        alarm.set(start + 50, later)
        alarm.set(start + 60, later)
        alarm.set(start + 10, sooner)
        assert (len(sooner), len(later), alarm.is_set, alarm.due) == (1, 0, True, start + 10)

        assert await rings_at(alarm) == start + 10
        assert not alarm.is_set
        with trio.move_on_after(100) as waiting:
            await alarm.wait()
        assert waiting.cancelled_caught


async def test_an_alarm_that_is_stopped_or_never_due_does_not_ring(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        line, stopped, never = timers.line(), Alarm(), Alarm()
        stopped.set(trio.current_time() + 1, line)
        stopped.stop()
        stopped.stop()
        never.set(math.inf, line)
        assert (len(line), stopped.is_set, never.is_set, line.due) == (0, False, False, math.inf)

        for alarm in (stopped, never):
            with trio.move_on_after(100) as waiting:
                await alarm.wait()
            assert waiting.cancelled_caught


async def test_calls_and_alarms_have_their_time_side_by_side(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        start, alarm, line, calls = trio.current_time(), Alarm(), timers.line(), list[float]()
        alarm.set(start + 20, line)
        await trio.testing.wait_all_tasks_blocked()
        for seconds in (10, 30):
            timers.call_after(seconds, lambda: calls.append(trio.current_time() - start))

        assert await rings_at(alarm) == start + 20
        assert calls == [10]
        await trio.sleep(20)
        assert calls == [10, 30]


async def test_many_that_are_due_at_once_leave_turns_to_others(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as timers:
        line, due, alarms = timers.line(), trio.current_time() + 1, [Alarm() for _ in range(8 * CALLS_PER_TURN)]
        for alarm in alarms:
            alarm.set(due, line)
        await trio.sleep_until(due)
        left = set[int]()
        while line:
            left.add(len(line))
            await trio.lowlevel.checkpoint()

    # Who comes first in a turn of the scheduler may come last in the one before.
    assert len(left) >= 4


def test_a_line_is_in_order_whatever_is_set_moved_and_stopped() -> None:
    chance, fronts = random.Random(0), list[float]()
    line, alarms = Line(fronts.append), [Alarm() for _ in range(50)]
    for _ in range(2_000):
        alarm = chance.choice(alarms)
        if chance.random() < 0.6:
            alarm.set(chance.randrange(100), line)
            if min(a.due for a in alarms if a.is_set) == alarm.due and fronts:
                assert line.due == alarm.due
        else:
            alarm.stop()
        assert len(line) == sum(a.is_set for a in alarms)
        assert line.due == min((a.due for a in alarms if a.is_set), default=math.inf)
    expected = sorted(a.due for a in alarms if a.is_set)
    rung = list[float]()
    while line:
        rung.append(line.due)
        line.ring()

    assert rung == expected
    assert fronts == [due for due in fronts if due < 100]


async def test_what_is_in_line_when_the_server_stops_is_let_go_without_the_collector() -> None:
    async with open_timers() as timers:
        line, alarms = timers.line(), [Alarm() for _ in range(3)]
        for alarm in alarms:
            alarm.set(trio.current_time() + 1_000, line)
        await trio.testing.wait_all_tasks_blocked()

    assert (timers.alarms, [alarm.is_set for alarm in alarms]) == (0, [False] * 3)


@pytest.mark.parametrize("place", range(3))
def test_who_has_left_the_line_is_held_by_nobody_in_it(place: int) -> None:
    class Watched(Alarm):
        """One that can be watched."""

    line, alarms = Line(lambda due: None), [Watched() for _ in range(3)]
    for number, alarm in enumerate(alarms):
        alarm.set(number, line)
    alarms[place].stop()
    gc.collect()
    gc.disable()
    try:
        watched = weakref.ref(alarms.pop(place))
        del alarm
        assert watched() is None
    finally:
        gc.enable()
    assert len(line) == 2
