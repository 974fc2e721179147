"""Shielded cleanups, and the way to unshield them all."""

from __future__ import annotations

import trio
import trio.testing

from trio_sio.concurrency.cleanup import Cleanups


async def clean_up(cleanups: Cleanups, done: list[str], seconds: float = 1) -> None:
    with trio.move_on_after(cleanups.timeout, shield=True) as scope, cleanups.watch(scope):
        await trio.sleep(seconds)
        done.append("done")


async def test_a_cleanup_ends_although_everything_around_it_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    cleanups, done = Cleanups(10), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clean_up, cleanups, done)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert done == ["done"]


async def test_unshielded_cleanups_are_cancelled_with_what_is_around_them(autojump_clock: trio.testing.MockClock) -> None:
    cleanups, done = Cleanups(10), list[str]()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clean_up, cleanups, done)
        nursery.start_soon(clean_up, cleanups, done)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        cleanups.unshield()
    with trio.CancelScope() as scope:
        scope.cancel()
        await clean_up(cleanups, done)  # one that begins later has no shield either

    assert (done, trio.current_time()) == ([], start)


async def test_unshielding_alone_cancels_nothing(autojump_clock: trio.testing.MockClock) -> None:
    cleanups, done = Cleanups(10), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clean_up, cleanups, done)
        await trio.testing.wait_all_tasks_blocked()
        cleanups.unshield()

    assert done == ["done"]


async def test_a_cleanup_that_is_over_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    cleanups = Cleanups(10)

    await clean_up(cleanups, [])

    assert not cleanups._scopes
