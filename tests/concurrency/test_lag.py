"""How late an event loop is: the latest, and the worst of half a minute at least and a minute at most."""

from __future__ import annotations

import trio
import trio.testing

from trio_sio.concurrency.lag import WINDOW, Lag
from trio_sio.concurrency.timers import Timers


async def test_the_worst_is_remembered_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    lag = Lag()
    assert (lag.latest, lag.most) == (0, 0)
    lag.note(2.0)
    lag.note(0.5)
    assert (lag.latest, lag.most) == (0.5, 2.0)
    await trio.sleep(1.5 * WINDOW)
    lag.note(1.0)
    assert (lag.latest, lag.most) == (1.0, 2.0)
    await trio.sleep(WINDOW)
    assert lag.most == 1.0
    await trio.sleep(2 * WINDOW)
    assert (lag.latest, lag.most) == (1.0, 0.0)


async def test_clocks_have_a_grain() -> None:
    lag = Lag()
    lag.note(-0.001)
    assert lag.latest == 0


async def test_timers_note_it(mock_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    timers, called = Timers(), []
    nursery.start_soon(timers.run)
    timers.call_after(1.0, lambda: called.append(trio.current_time()))
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(1.25)
    await trio.testing.wait_all_tasks_blocked()
    assert called
    assert timers.lag.latest == 0.25
    # What is due sooner than it slept for is no measurement.
    timers.call_after(10.0, called.clear)
    await trio.testing.wait_all_tasks_blocked()
    timers.call_after(5.0, called.clear)
    await trio.testing.wait_all_tasks_blocked()
    assert timers.lag.latest == 0.25
