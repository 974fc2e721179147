"""The wake-up: none is lost, and a cancelled wait leaves nothing behind."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio
import trio.testing

from trio_sio.concurrency.wakeup import Wakeup


async def test_waking_lets_the_waiting_task_go_on() -> None:
    wakeup, steps = Wakeup(), list[str]()

    async def wait() -> None:
        await wakeup.wait()
        steps.append("woken")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        waiting = [wakeup.waiting]
        assert steps == []
        wakeup.wake()
        waiting.append(wakeup.waiting)

    assert waiting == [True, False]
    assert steps == ["woken"]


async def test_a_wake_up_while_nobody_waits_is_kept_and_only_one_of_them() -> None:
    wakeup = Wakeup()
    wakeup.wake()
    wakeup.wake()

    await wakeup.wait()
    with trio.move_on_after(0) as scope:
        await wakeup.wait()

    assert scope.cancelled_caught


async def test_work_that_comes_while_a_task_is_busy_or_about_to_run_is_not_missed() -> None:
    wakeup, work, done = Wakeup(), list[int](), list[int]()

    async def worker() -> None:
        while True:
            while work:
                done.append(work.pop(0))
                await trio.lowlevel.checkpoint()
            await wakeup.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker)
        for number in range(20):
            # Sometimes the worker is parked, sometimes it was woken and has not run yet, sometimes it is amid its work.
            for _ in range(number % 4):
                await trio.lowlevel.checkpoint()
            work.append(number)
            wakeup.wake()
        await trio.testing.wait_all_tasks_blocked()
        assert done == list(range(20))
        nursery.cancel_scope.cancel()


async def test_a_cancelled_wait_takes_no_wake_up_with_it() -> None:
    wakeup = Wakeup()
    with trio.move_on_after(0):
        await wakeup.wait()
    assert not wakeup.waiting

    wakeup.wake()

    with trio.fail_after(1):
        await wakeup.wait()


async def test_a_task_that_is_woken_and_cancelled_at_once_was_woken() -> None:
    wakeup, woken = Wakeup(), list[bool]()

    async def wait() -> None:
        await wakeup.wait()
        woken.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        wakeup.wake()
        nursery.cancel_scope.cancel()

    assert woken == [True]


async def test_others_may_wait_where_somebody_has_waited_before() -> None:
    wakeup, woken = Wakeup(), list[int]()

    async def wait(number: int) -> None:
        await wakeup.wait()
        woken.append(number)

    for number in range(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked()
            wakeup.wake()
        with trio.move_on_after(0):
            await wakeup.wait()

    assert woken == [0, 1, 2]


async def test_whoever_is_cancelled_is_told_by_whom() -> None:
    with trio.CancelScope() as scope:
        scope.cancel(reason="enough")
        with pytest.raises(trio.Cancelled, match="enough"):
            await Wakeup().wait()


async def test_a_cancelled_wait_leaves_nothing_for_the_collector() -> None:
    class Witness:
        """Held by the frame that waits."""

    async def wait() -> weakref.ref[Witness]:
        witness = Witness()
        with trio.move_on_after(0):
            await Wakeup().wait()
        return weakref.ref(witness)

    gc.collect()
    gc.disable()
    try:
        witness = await wait()
        await trio.lowlevel.checkpoint()  # until then Trio holds the outcome
        assert witness() is None
    finally:
        gc.enable()
